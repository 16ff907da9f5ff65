"""Execute each step once: the gateway grants it, a lease keeps it, its outcome is stored before Temporal hears it.

engine rules 1, 9, 11, 12. The work lives in a task of its own: an activity that Temporal gave up on leaves it running,
and the next attempt attaches to it.
"""

import asyncio
import contextlib
import json
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, TypeVar

from temporalio import activity
from temporalio.exceptions import ApplicationError

from agent.context import Cancelled, Enrolment, StepContext
from agent.gateway import Begun
from agent.outbox import Outbox, patiently, store
from agent.settings import Timings
from stackly import clock, log
from stackly.errors import StacklyError, Unavailable, kind_of, of_os, reason_of
from stackly.temporal.steps import (
    RESULT_CAP_BYTES,
    StepKey,
)

_log = log.get("agent.steps")
T = TypeVar("T")
# What carries a step out: its input as the row keeps it, and what it sees of the agent. Shape: a dataclass comes back.
Work = Callable[[Mapping[str, Any], StepContext], Awaitable[Any]]
_REMEMBERED = 512  # ended steps, so that a late ATTACH never executes again
_LAST_WORDS_S = 2.0


class StepGateway(Protocol):
    """The part of agent.gateway.Gateway that steps need."""

    async def begin_step(self, key: StepKey, incarnation: str) -> Begun: ...
    async def renew_step(
        self, key: StepKey, incarnation: str, *, timeout: float | None = None
    ) -> tuple[bool, bool]: ...
    async def end_step(self, key: StepKey, incarnation: str, outcome_json: str) -> bool: ...
    async def issue_enrolment(self, key: StepKey, machine: str) -> Enrolment: ...
    async def read_tree(self, key: StepKey) -> bytes: ...
    async def read_state(self, key: StepKey) -> bytes: ...
    async def write_state(self, run: str, test: str, epoch: int, state: bytes) -> tuple[bool, bool, str]: ...
    async def put_artifact(self, run: str, test: str, name: str, path: Path, media_type: str) -> str: ...


class LiveData(Protocol):
    """The part of agent.spool.Spool that steps need."""

    def line(self, place: tuple[str, str, str], n: int, at: str, level: str, text: str) -> None: ...
    def point(self, place: tuple[str, str, str], **point: Any) -> None: ...


class Ended(StrEnum):
    """Why work is ended before its time. Only the first is a cancel; the others' names are the wire's Interruption."""

    CANCELLED = "CANCELLED"
    STOPPED = "STOPPED"
    CUT_OFF = "CUT_OFF"

    @property
    def said(self) -> str:
        return {
            Ended.CANCELLED: "cancelled",
            Ended.STOPPED: "interrupted: the agent is stopping",
            Ended.CUT_OFF: "interrupted: its lease could not be renewed",
        }[self]


@dataclass(eq=False)
class Step:
    """One running step; what its work sees of the agent (StepContext)."""

    key: StepKey
    gateway: StepGateway
    spool: LiveData
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    ended: Ended | None = None
    look: asyncio.Event = field(default_factory=asyncio.Event)  # ask the gateway now whether it may go on
    _lines: int = 0

    def end(self, why: Ended) -> None:
        if self.ended is None:
            self.ended = why
            self.cancelled.set()
            self.log(why.said, "warning")

    @property
    def _place(self) -> tuple[str, str, str]:
        # An attempt is executed by one process at most, so `n` counts within it from 1.
        return self.key.run, self.key.test, f"{self.key.step}.{self.key.attempt}"

    def log(self, text: str, level: str = "info") -> None:
        self._lines += 1
        self.spool.line(self._place, self._lines, clock.iso(clock.now()), level, log.redact_text(text))

    def point(
        self,
        *,
        sample: int,
        second: int,
        tps: float,
        latency_ms: float | None = None,
        p95_ms: float | None = None,
        errors: int = 0,
    ) -> None:
        told = {"sample": sample, "second": second, "tps": tps, "errors": errors}
        known = {k: v for k, v in (("latency_ms", latency_ms), ("p95_ms", p95_ms)) if v is not None}
        self.spool.point(self._place, **told, **known)

    async def read_tree(self) -> bytes:
        return await patiently(lambda: self.gateway.read_tree(self.key), self.cancelled)

    async def read_state(self) -> bytes:
        return await patiently(lambda: self.gateway.read_state(self.key), self.cancelled)

    async def write_state(self, state: bytes) -> tuple[bool, str]:
        """Not ended by a cancel: what was created must be known."""
        key = self.key
        accepted, _, reason = await patiently(lambda: self.gateway.write_state(key.run, key.test, key.epoch, state))
        return accepted, reason

    async def put_artifact(self, name: str, path: Path, media_type: str = "application/octet-stream") -> str:
        key = self.key
        return await patiently(
            lambda: self.gateway.put_artifact(key.run, key.test, name, path, media_type), self.cancelled
        )

    async def issue_enrolment(self, machine: str) -> Enrolment:
        return await patiently(lambda: self.gateway.issue_enrolment(self.key, machine), self.cancelled)


def success(value: Any) -> dict[str, Any]:
    return {"ok": True, "value": asdict(value)}


def failure(error: BaseException, step: Step) -> dict[str, Any]:
    """What is stored of a failure: kind, slug, sentence, fields; never a stack.

    Work that was ended may fail in any way: what was begun to end it is the reason.
    """
    if step.ended is None and isinstance(error, Cancelled | asyncio.CancelledError):
        step.ended = Ended.STOPPED
    if step.ended is Ended.CANCELLED:
        return {"ok": False, "kind": "Conflict", "slug": "cancelled", "detail": step.ended.said, "fields": {}}
    if step.ended is not None:
        told = {"kind": "Unavailable", "slug": "interrupted", "detail": step.ended.said, "fields": {}}
        return {"ok": False, **told, "interruption": step.ended.value}
    if isinstance(error, StacklyError):
        fields = json.loads(json.dumps(error.fields, default=str))
        told = {"kind": kind_of(error).__name__, "slug": error.slug(), "detail": error.detail, "fields": fields}
        return {"ok": False, **told, "detail": log.redact_text(error.detail)[:4000]}
    if isinstance(error, OSError) and (known := of_os(error)) is not None:
        told = {"kind": kind_of(known).__name__, "slug": known.slug(), "detail": log.redact_text(known.detail)[:4000]}
        return {"ok": False, **told, "fields": {}}
    detail = log.redact_text(f"{type(error).__name__}: {error}")[:4000]
    return {"ok": False, "kind": "Faulty", "slug": "step-broke", "detail": detail, "fields": {}}


def capped(outcome: dict[str, Any]) -> str:
    """Shape: JSON of at most RESULT_CAP_BYTES; a result that is larger fails its step."""
    text = json.dumps(outcome)
    if len(text.encode()) <= RESULT_CAP_BYTES:
        return text
    detail = f"The step's outcome has {len(text)} bytes, more than {RESULT_CAP_BYTES}; large things go into artifacts."
    if not outcome["ok"]:
        return json.dumps(outcome | {"fields": {}})
    return json.dumps({"ok": False, "kind": "Faulty", "slug": "result-too-large", "detail": detail, "fields": {}})


class Steps:
    """All steps of this life of the agent. Shape: `incarnation` names that life."""

    def __init__(
        self, gateway: StepGateway, spool: LiveData, outbox: Outbox, incarnation: str, timings: Timings | None = None
    ) -> None:
        self._gateway = gateway
        self._spool = spool
        self._outbox = outbox
        self._incarnation = incarnation
        self._timings = timings or Timings()
        self._tasks: OrderedDict[StepKey, asyncio.Task[None]] = OrderedDict()
        self._steps: dict[StepKey, Step] = {}
        self._begins: dict[StepKey, asyncio.Lock] = {}
        self._closing = False

    @property
    def running(self) -> list[StepKey]:
        return [key for key, task in self._tasks.items() if not task.done()]

    async def execute(self, key: StepKey, work: Work) -> None:
        """Begin or attach, and wait until the outcome is in its row: whoever asked reads it there.

        The message that brought `key` carries no authority: what a row does not expect of this agent is not done.
        Raises: ApplicationError, to be asked again, when the agent is stopping.
        """
        beats = asyncio.create_task(self._beat_temporal())
        try:
            # One after another, so that an ATTACH finds the task that the GRANTED before it made.
            async with self._begins.setdefault(key, asyncio.Lock()):
                task = await self._begin(key, work)
            if task is not None:
                await self._attend(key, task)
        finally:
            beats.cancel()

    async def _begin(self, key: StepKey, work: Work) -> "asyncio.Task[None] | None":
        """None where there is nothing to wait for: the step is done, gone, or refused."""
        if self._closing:
            raise ApplicationError("the agent is stopping; its next life takes the step")
        sent = clock.monotonic()

        async def ask() -> Begun:
            nonlocal sent
            sent = clock.monotonic()
            return await self._gateway.begin_step(key, self._incarnation)

        try:
            begun = await patiently(ask)
        except StacklyError as e:
            _log.warning("step.refused", run=key.run, test=key.test, step=key.step, reason=e.detail)
            return None
        if begun.verdict in {"GRANTED", "ATTACH"}:
            # ATTACH without a task: the answer to our own first Begin was lost. No other life could have begun it.
            return self._tasks.get(key) or self._spawn(key, work, begun.given or {}, sent)
        if begun.verdict != "DONE":
            told = {"verdict": begun.verdict, "refusal": begun.refusal, "reason": begun.reason}
            _log.warning("step.refused", run=key.run, test=key.test, step=key.step, **told)
        return None

    def _spawn(self, key: StepKey, work: Work, given: Mapping[str, Any], sent: float) -> "asyncio.Task[None]":
        step = Step(key, self._gateway, self._spool)
        task = asyncio.create_task(self._carry_out(step, work, given, sent), name=f"step {key.step}")
        self._tasks[key] = task
        self._steps[key] = step
        while len(self._tasks) > _REMEMBERED and next(iter(self._tasks.values())).done():
            old, _ = self._tasks.popitem(last=False)
            self._begins.pop(old, None)
        return task

    async def _carry_out(self, step: Step, work: Work, given: Mapping[str, Any], sent: float) -> None:
        """The step itself: work beside its lease, then the outcome to the gateway."""
        _log.info("step.began", run=step.key.run, test=step.key.test, step=step.key.step, attempt=step.key.attempt)
        lease = asyncio.create_task(self._keep(step, sent))
        try:
            try:
                await self._settled(step.key)
                outcome = success(await work(given, step))
            except (Exception, asyncio.CancelledError) as e:  # noqa: BLE001 - whatever it is, it is the outcome
                outcome = failure(e, step)
                if outcome["slug"] == "step-broke":
                    _log.exception("step.broke", run=step.key.run, step=step.key.step)
            await self._finish(step, outcome)
        finally:
            lease.cancel()
            self._steps.pop(step.key, None)

    async def _settled(self, key: StepKey) -> None:
        """Another attempt was granted, so the one before is gone: it ends here before this one works."""
        earlier = [k for k in self._steps if (k.run, k.test, k.step) == (key.run, key.test, key.step) and k != key]
        for each in earlier:
            self._steps[each].end(Ended.CUT_OFF)
        if earlier:
            await asyncio.wait([self._tasks[each] for each in earlier])

    async def _finish(self, step: Step, outcome: dict[str, Any]) -> None:
        outcome_json = capped(outcome)
        kept = self._kept(step.key, outcome_json)
        stored = await store(self._gateway, step.key, self._incarnation, outcome_json)
        if kept is not None:
            kept.unlink(missing_ok=True)
        _log.info("step.ended", run=step.key.run, step=step.key.step, ok=outcome["ok"], stored=stored)

    def _kept(self, key: StepKey, outcome_json: str) -> Path | None:
        """None on a full disk: the gateway gets the outcome all the same, only our own death must not come first."""
        try:
            return self._outbox.put(key, self._incarnation, outcome_json)
        except OSError as e:
            _log.warning("outcome.not_kept", run=key.run, step=key.step, reason=reason_of(e))
            return None

    async def _keep(self, step: Step, acknowledged: float) -> None:
        """Renew until the work ends; end it when the cancel column is set, or the lease is or may be another's."""
        measures = step.key.step.startswith("measure")  # ends at its own duration while the gateway is away
        while True:
            await self._renewal_due(step)
            sent = clock.monotonic()
            try:
                held, cancel = await self._gateway.renew_step(step.key, self._incarnation, timeout=self._timings.call_s)
            except Unavailable:
                held, cancel = measures or clock.monotonic() - acknowledged < self._timings.ttl_s, False
            except StacklyError as e:
                _log.warning("lease.refused", run=step.key.run, step=step.key.step, reason=e.detail)
                held, cancel = False, False
            else:
                acknowledged = sent
            if cancel:
                step.end(Ended.CANCELLED)
            elif not held:
                step.end(Ended.CUT_OFF)

    async def _renewal_due(self, step: Step) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._timings.renew_s):
                await step.look.wait()
        step.look.clear()

    async def _attend(self, key: StepKey, task: "asyncio.Task[None]") -> None:
        """Wait for a step. Temporal may lose patience: that ends this waiting, never the work (rule 11)."""
        while not task.done():
            try:
                await asyncio.shield(task)
            except asyncio.CancelledError:
                if task.done() or not self._is_cancel(key):
                    raise
                # The row says whether that is so; the outcome is worth waiting for.
                if (own := asyncio.current_task()) is not None:
                    own.uncancel()

    def _is_cancel(self, key: StepKey) -> bool:
        """Whether Temporal was asked to cancel: a doorbell, upon which the row is asked.

        Timed out, not found, a worker that stops: the work goes on.
        """
        details = activity.cancellation_details() if activity.in_activity() else None
        if details is None or not details.cancel_requested:
            return False
        if (step := self._steps.get(key)) is not None:
            step.look.set()
        return True

    async def _beat_temporal(self) -> None:
        if not activity.in_activity():
            return
        with contextlib.suppress(RuntimeError):  # the activity is over
            while True:
                activity.heartbeat()
                await asyncio.sleep(self._timings.renew_s)

    async def close(self) -> None:
        """End what runs, and wait until it ended and that is stored, or on disk. Nobody cancelled it."""
        self._closing = True
        for step in list(self._steps.values()):
            step.end(Ended.STOPPED)
        running = [t for t in self._tasks.values() if not t.done()]
        if running:
            await asyncio.wait(running, timeout=self._timings.grace_s)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=_LAST_WORDS_S)
