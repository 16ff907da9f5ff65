"""A step is executed once, its lease ends it, its outcome outlives the gateway's absence."""

import asyncio
import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from agent.context import Cancelled, StepContext
from agent.gateway import Begun, Enrolment
from agent.outbox import Outbox
from agent.settings import Timings
from agent.steps import Steps, capped
from stackly.engine.contracts.steps import (
    RESULT_CAP_BYTES,
    STEP_CANCELLED,
    STEP_FAILED,
    STEP_GONE,
    STEP_INTERRUPTED,
    STEP_REFUSED,
    StepKey,
)
from stackly.errors import Conflict, Unavailable

KEY = StepKey("r", "t", "apply", 1, 1)
QUICK = Timings(renew_s=0.02, ttl_s=0.15, grace_s=1, call_s=0.1)


@dataclass(frozen=True)
class Out:
    n: int


@dataclass
class FakeGateway:
    """A gateway with one step's row in memory, which can go away."""

    away: bool = False
    row: dict[str, Any] = field(default_factory=dict)
    cancel: bool = False
    held: bool = True
    refuse: str = ""  # the name of the wire's Refusal
    lost_answers: int = 0
    stores: bool = True

    def _check(self) -> None:
        if self.away:
            raise Unavailable

    async def begin_step(self, key: StepKey, incarnation: str) -> Begun:
        self._check()
        await asyncio.sleep(0)
        if self.refuse:
            return Begun("REFUSED", None, "a sentence", self.refuse)
        if not self.row:
            self.row = {"process": incarnation}
            if self.lost_answers:
                self.lost_answers -= 1
                raise Unavailable
            return Begun("GRANTED", None, "")
        if "outcome" in self.row:
            return Begun("DONE", json.loads(self.row["outcome"]), "")
        return Begun("ATTACH" if self.row["process"] == incarnation else "GONE", None, "")

    async def renew_step(self, key: StepKey, incarnation: str, *, timeout: float | None = None) -> tuple[bool, bool]:
        self._check()
        return self.held, self.cancel

    async def end_step(self, key: StepKey, incarnation: str, outcome_json: str) -> bool:
        self._check()
        if self.stores:
            self.row["outcome"] = outcome_json
        return self.stores

    async def issue_enrolment(self, key: StepKey, machine: str) -> Enrolment:
        raise NotImplementedError

    async def read_tree(self, key: StepKey) -> bytes:
        self._check()
        return b"tree"

    async def read_state(self, key: StepKey) -> bytes:
        return b""

    async def write_state(self, run: str, test: str, epoch: int, state: bytes) -> tuple[bool, bool, str]:
        self._check()
        return True, False, ""

    async def put_artifact(self, run: str, test: str, name: str, path: Path, media_type: str) -> str:
        return "key"


@dataclass
class Heard:
    lines: list[str] = field(default_factory=list)

    def line(self, place: tuple[str, str, str], n: int, at: str, level: str, text: str) -> None:
        assert n == len(self.lines) + 1
        self.lines.append(text)

    def point(self, place: tuple[str, str, str], **point: Any) -> None:
        pass


@pytest.fixture
def gateway() -> FakeGateway:
    return FakeGateway()


@pytest.fixture
def make(gateway: FakeGateway, tmp_path: Path) -> Callable[..., Steps]:
    def steps(incarnation: str = "life-1") -> Steps:
        return Steps(gateway, Heard(), Outbox(tmp_path / "outbox"), incarnation, QUICK)

    return steps


@dataclass
class Work:
    """Counts how often it is executed; ends when `go` is set, or when it is cancelled."""

    executed: int = 0
    go: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, context: StepContext) -> Out:
        self.executed += 1
        ends = [asyncio.ensure_future(self.go.wait()), asyncio.ensure_future(context.cancelled.wait())]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.cancel()
        if context.cancelled.is_set():
            raise Cancelled
        return Out(self.executed)


async def test_many_calls_execute_once(make: Callable[..., Steps]) -> None:
    steps, work = make(), Work()
    calls = [asyncio.create_task(steps.execute(KEY, work, Out)) for _ in range(10)]
    await asyncio.sleep(0.05)
    work.go.set()
    assert await asyncio.gather(*calls) == [Out(1)] * 10
    assert await steps.execute(KEY, work, Out) == Out(1)
    assert work.executed == 1


async def test_a_lost_answer_to_begin_still_executes_once(make: Callable[..., Steps], gateway: FakeGateway) -> None:
    gateway.lost_answers, work = 1, Work()
    work.go.set()
    assert await make().execute(KEY, work, Out) == Out(1)


async def test_a_later_life_gets_the_outcome_or_gone(make: Callable[..., Steps], gateway: FakeGateway) -> None:
    work = Work()
    work.go.set()
    await make("life-1").execute(KEY, work, Out)
    assert await make("life-2").execute(KEY, work, Out) == Out(1)
    del gateway.row["outcome"]
    with pytest.raises(ApplicationError) as gone:
        await make("life-2").execute(KEY, work, Out)
    assert (gone.value.type, gone.value.non_retryable, work.executed) == (STEP_GONE, True, 1)


async def test_what_waits_may_leave_and_the_work_goes_on(make: Callable[..., Steps]) -> None:
    """Temporal away for longer than the heartbeat timeout: the activity ends, the next one attaches."""
    steps, work = make(), Work()
    first = asyncio.create_task(steps.execute(KEY, work, Out))
    await asyncio.sleep(0.05)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert steps.running == [KEY]
    second = asyncio.create_task(steps.execute(KEY, work, Out))
    work.go.set()
    assert await second == Out(1)


@pytest.mark.parametrize("reason", ["CANCELLED", "OVER", "STALE_EPOCH", "UNEXPECTED", "LOST_LEASE"])
async def test_a_refusal_says_which(make: Callable[..., Steps], gateway: FakeGateway, reason: str) -> None:
    kind = STEP_CANCELLED if reason == "CANCELLED" else STEP_REFUSED
    gateway.refuse, work = reason, Work()
    with pytest.raises(ApplicationError) as refused:
        await make().execute(KEY, work, Out)
    assert (refused.value.type, refused.value.non_retryable, work.executed) == (kind, True, 0)


async def test_a_cancel_column_ends_the_work(make: Callable[..., Steps], gateway: FakeGateway) -> None:
    gateway.cancel = True
    with pytest.raises(ApplicationError) as cancelled:
        await make().execute(KEY, Work(), Out)
    assert cancelled.value.type == STEP_CANCELLED
    assert json.loads(gateway.row["outcome"])["slug"] == "cancelled"


async def test_a_lease_that_cannot_be_renewed_interrupts_the_work(
    make: Callable[..., Steps], gateway: FakeGateway
) -> None:
    steps, work = make(), Work()
    call = asyncio.create_task(steps.execute(KEY, work, Out))
    await asyncio.sleep(0.03)
    gateway.away = True
    await asyncio.sleep(0.05)
    assert not steps._steps[KEY].cancelled.is_set()
    await asyncio.wait_for(steps._steps[KEY].cancelled.wait(), 5)
    gateway.away = False
    with pytest.raises(ApplicationError) as interrupted:
        await call
    assert interrupted.value.type == STEP_INTERRUPTED
    assert json.loads(gateway.row["outcome"])["interruption"] == "CUT_OFF"


async def test_a_measurement_outlives_the_gateway(make: Callable[..., Steps], gateway: FakeGateway) -> None:
    key = StepKey("r", "t", "measure-1", 1, 1)
    steps, work = make(), Work()
    call = asyncio.create_task(steps.execute(key, work, Out))
    await asyncio.sleep(0.03)
    gateway.away = True
    await asyncio.sleep(0.4)
    assert not steps._steps[key].cancelled.is_set()
    work.go.set()
    await asyncio.sleep(0.05)
    assert "outcome" not in gateway.row
    gateway.away = False
    assert await call == Out(1)


async def test_an_outcome_that_was_not_sent_is_sent_by_the_next_life(
    make: Callable[..., Steps], gateway: FakeGateway, tmp_path: Path
) -> None:
    steps, work = make("life-1"), Work()
    call = asyncio.create_task(steps.execute(KEY, work, Out))
    await asyncio.sleep(0.03)
    gateway.away = True
    work.go.set()
    await asyncio.sleep(0.05)
    call.cancel()
    for task in steps._tasks.values():
        task.cancel()
    await asyncio.sleep(0)
    gateway.away = False
    await Outbox(tmp_path / "outbox").send_leftovers(gateway)
    assert json.loads(gateway.row["outcome"]) == {"ok": True, "value": {"n": 1}}
    assert list((tmp_path / "outbox").iterdir()) == []


async def test_a_failure_is_stored_and_told(make: Callable[..., Steps], gateway: FakeGateway) -> None:
    class PlanStale(Conflict):
        title = "Stale."

    async def work(context: StepContext) -> Out:
        raise PlanStale("postgres://u:hunter2@h/ moved", serial=4)

    for _ in range(2):  # the second time it is read back
        with pytest.raises(ApplicationError) as failed:
            await make().execute(KEY, work, Out)
        assert failed.value.type == STEP_FAILED
        told = failed.value.details[0]
        assert (told["kind"], told["slug"], told["fields"]) == ("Conflict", "plan-stale", {"serial": 4})
        assert "hunter2" not in failed.value.message


async def test_an_outcome_nobody_stores_is_gone(make: Callable[..., Steps], gateway: FakeGateway) -> None:
    gateway.stores, work = False, Work()
    work.go.set()
    with pytest.raises(ApplicationError) as gone:
        await make().execute(KEY, work, Out)
    assert gone.value.type == STEP_GONE


def test_a_result_that_is_too_large_fails_its_step() -> None:
    text = capped({"ok": True, "value": {"text": "x" * RESULT_CAP_BYTES}})
    assert len(text) < 1000
    assert json.loads(text)["slug"] == "result-too-large"


async def test_closing_interrupts_what_runs(make: Callable[..., Steps], gateway: FakeGateway) -> None:
    steps, work = make(), Work()
    call = asyncio.create_task(steps.execute(KEY, work, Out))
    await asyncio.sleep(0.03)
    await steps.close()
    assert steps.running == []
    assert json.loads(gateway.row["outcome"])["interruption"] == "STOPPED"
    with pytest.raises(ApplicationError) as interrupted:
        await call
    assert interrupted.value.type == STEP_INTERRUPTED


async def test_what_is_ended_may_fail_in_any_way(make: Callable[..., Steps], gateway: FakeGateway) -> None:
    """A child that got the signal itself fails its step with an error of its own."""

    async def work(context: StepContext) -> Out:
        await context.cancelled.wait()
        raise Conflict("terraform was interrupted")

    steps = make()
    call = asyncio.create_task(steps.execute(KEY, work, Out))
    await asyncio.sleep(0.03)
    await steps.close()
    with pytest.raises(ApplicationError) as interrupted:
        await call
    assert interrupted.value.type == STEP_INTERRUPTED


async def test_an_agent_that_stops_begins_nothing(make: Callable[..., Steps], gateway: FakeGateway) -> None:
    steps, work = make(), Work()
    await steps.close()
    with pytest.raises(ApplicationError) as refused:
        await steps.execute(KEY, work, Out)
    assert (refused.value.non_retryable, work.executed, gateway.row) == (False, 0, {})


async def test_another_attempt_begins_when_the_one_before_it_has_ended_here(
    make: Callable[..., Steps], gateway: FakeGateway
) -> None:
    """A life that slept through its lease is asked for the next attempt before it noticed."""
    steps, first, second = make(), Work(), Work()
    before = asyncio.create_task(steps.execute(KEY, first, Out))
    await asyncio.sleep(0.03)
    gateway.row, gateway.stores = {}, False
    ended: list[bool] = []

    async def begin(context: StepContext) -> Out:
        ended.append(KEY not in steps.running)
        return await second(context)

    second.go.set()
    call = asyncio.create_task(steps.execute(StepKey("r", "t", "apply", 2, 1), begin, Out))
    with pytest.raises(ApplicationError):
        await before
    gateway.stores = True
    with contextlib.suppress(ApplicationError):
        await call
    assert ended == [True]
