"""A step is executed once, its lease ends it, its outcome outlives the gateway's absence."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from agent.context import Cancelled, StepContext
from agent.gateway import Begun, Enrolment
from agent.outbox import Outbox
from agent.settings import Timings
from agent.steps import Steps, capped
from stackly.errors import Conflict, Unavailable
from stackly.temporal.steps import RESULT_CAP_BYTES, StepKey

KEY = StepKey("r", "t", "apply", 1, 1)
GIVEN = {"n": 7}
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
    asked: int = 0  # how often it was asked to renew

    @property
    def outcome(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.row["outcome"])
        return told

    @property
    def interruption(self) -> str:
        return str(self.outcome["interruption"])

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
            return Begun("GRANTED", GIVEN, "")
        if "outcome" in self.row:
            return Begun("DONE", None, "")
        return Begun("ATTACH", GIVEN, "") if self.row["process"] == incarnation else Begun("GONE", None, "")

    async def renew_step(self, key: StepKey, incarnation: str, *, timeout: float | None = None) -> tuple[bool, bool]:
        self.asked += 1
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
    began: asyncio.Event = field(default_factory=asyncio.Event)
    given: list[Mapping[str, Any]] = field(default_factory=list)

    async def __call__(self, given: Mapping[str, Any], context: StepContext) -> Out:
        self.executed += 1
        self.given.append(given)
        self.began.set()
        ends = [asyncio.ensure_future(self.go.wait()), asyncio.ensure_future(context.cancelled.wait())]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.cancel()
        if context.cancelled.is_set():
            raise Cancelled
        return Out(self.executed)

    def ready(self) -> "Work":
        self.go.set()
        return self


async def begun(steps: Steps, work: Work, key: StepKey = KEY) -> "asyncio.Task[None]":
    call = asyncio.create_task(steps.execute(key, work))
    await work.began.wait()
    return call


OK = {"ok": True, "value": {"n": 1}}


async def test_many_calls_execute_once(make: Callable[..., Steps], gateway: FakeGateway) -> None:
    steps, work = make(), Work()
    calls = [asyncio.create_task(steps.execute(KEY, work)) for _ in range(10)]
    await work.began.wait()
    work.go.set()
    await asyncio.gather(*calls)
    await steps.execute(KEY, work)
    assert (gateway.outcome, work.executed) == (OK, 1)


async def test_what_is_carried_out_comes_from_the_gateway(make: Callable[..., Steps]) -> None:
    work = Work().ready()
    await make().execute(KEY, work)
    assert work.given == [GIVEN]


async def test_a_lost_answer_to_begin_still_executes_once(make: Callable[..., Steps], gateway: FakeGateway) -> None:
    gateway.lost_answers, work = 1, Work().ready()
    await make().execute(KEY, work)
    assert (gateway.outcome, work.given) == (OK, [GIVEN])


async def test_a_later_life_executes_nothing_again(make: Callable[..., Steps], gateway: FakeGateway) -> None:
    work = Work().ready()
    await make("life-1").execute(KEY, work)
    await make("life-2").execute(KEY, work)
    del gateway.row["outcome"]
    await make("life-2").execute(KEY, work)
    assert work.executed == 1


async def test_what_waits_may_leave_and_the_work_goes_on(make: Callable[..., Steps], gateway: FakeGateway) -> None:
    """Temporal away for longer than the heartbeat timeout: the activity ends, the next one attaches."""
    steps, work = make(), Work()
    first = await begun(steps, work)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert steps.running == [KEY]
    second = asyncio.create_task(steps.execute(KEY, work))
    work.go.set()
    await second
    assert gateway.outcome == OK


@pytest.mark.parametrize("reason", ["CANCELLED", "OVER", "STALE_EPOCH", "UNEXPECTED", "LOST_LEASE"])
async def test_what_is_refused_is_not_executed(make: Callable[..., Steps], gateway: FakeGateway, reason: str) -> None:
    gateway.refuse, work = reason, Work()
    await make().execute(KEY, work)
    assert (work.executed, gateway.row) == (0, {})


async def test_a_cancel_column_ends_the_work(make: Callable[..., Steps], gateway: FakeGateway) -> None:
    gateway.cancel = True
    await make().execute(KEY, Work())
    assert gateway.outcome["slug"] == "cancelled"
    assert "interruption" not in gateway.outcome


async def test_a_lease_that_cannot_be_renewed_interrupts_the_work(
    make: Callable[..., Steps], gateway: FakeGateway
) -> None:
    steps = make()
    call = await begun(steps, Work())
    gateway.away = True
    await asyncio.wait_for(steps._steps[KEY].cancelled.wait(), 5)
    gateway.away = False
    await call
    assert (gateway.interruption, gateway.outcome["slug"]) == ("CUT_OFF", "interrupted")


async def test_a_lease_that_is_anothers_interrupts_also_a_measurement(
    make: Callable[..., Steps], gateway: FakeGateway
) -> None:
    key = StepKey("r", "t", "measure 1", 1, 1)
    call = await begun(make(), Work(), key)
    gateway.held = False
    await call
    assert gateway.interruption == "CUT_OFF"


async def test_a_measurement_outlives_the_gateway(make: Callable[..., Steps], gateway: FakeGateway) -> None:
    key = StepKey("r", "t", "measure 1", 1, 1)
    steps, work = make(), Work()
    call = await begun(steps, work, key)
    gateway.away = True
    asked = gateway.asked
    async with asyncio.timeout(20):
        while gateway.asked < asked + 2 * QUICK.ttl_s / QUICK.renew_s:  # noqa: ASYNC110 - another task counts
            await asyncio.sleep(QUICK.renew_s)
    assert not steps._steps[key].cancelled.is_set()
    work.go.set()
    await asyncio.sleep(0.05)
    assert "outcome" not in gateway.row
    gateway.away = False
    await call
    assert gateway.outcome == OK


async def test_an_outcome_that_was_not_sent_is_sent_by_the_next_life(
    make: Callable[..., Steps], gateway: FakeGateway, tmp_path: Path
) -> None:
    steps, work = make("life-1"), Work()
    call = await begun(steps, work)
    gateway.away = True
    work.go.set()
    await asyncio.sleep(0.05)
    call.cancel()
    for task in steps._tasks.values():
        task.cancel()
    await asyncio.sleep(0)
    gateway.away = False
    await Outbox(tmp_path / "outbox").send_leftovers(gateway)
    assert gateway.outcome == OK
    assert list((tmp_path / "outbox").iterdir()) == []


async def test_a_failure_is_stored(make: Callable[..., Steps], gateway: FakeGateway) -> None:
    class PlanStale(Conflict):
        title = "Stale."

    async def work(given: Mapping[str, Any], context: StepContext) -> Out:
        raise PlanStale("postgres://u:hunter2@h/ moved", serial=4)

    await make().execute(KEY, work)
    told = gateway.outcome
    assert (told["ok"], told["kind"], told["slug"], told["fields"]) == (False, "Conflict", "plan-stale", {"serial": 4})
    assert "hunter2" not in told["detail"]


def test_a_result_that_is_too_large_fails_its_step() -> None:
    text = capped({"ok": True, "value": {"text": "x" * RESULT_CAP_BYTES}})
    assert len(text) < 1000
    assert json.loads(text)["slug"] == "result-too-large"


async def test_closing_interrupts_what_runs(make: Callable[..., Steps], gateway: FakeGateway) -> None:
    steps = make()
    call = await begun(steps, Work())
    await steps.close()
    assert steps.running == []
    assert (gateway.interruption, gateway.outcome["slug"]) == ("STOPPED", "interrupted")
    await call


async def test_what_is_ended_may_fail_in_any_way(make: Callable[..., Steps], gateway: FakeGateway) -> None:
    """A child that got the signal itself fails its step with an error of its own."""
    began = asyncio.Event()

    async def work(given: Mapping[str, Any], context: StepContext) -> Out:
        began.set()
        await context.cancelled.wait()
        raise Conflict("terraform was interrupted")

    steps = make()
    call = asyncio.create_task(steps.execute(KEY, work))
    await began.wait()
    await steps.close()
    await call
    assert gateway.interruption == "STOPPED"


async def test_an_agent_that_stops_begins_nothing(make: Callable[..., Steps], gateway: FakeGateway) -> None:
    steps, work = make(), Work()
    await steps.close()
    with pytest.raises(ApplicationError) as refused:
        await steps.execute(KEY, work)
    assert (refused.value.non_retryable, work.executed, gateway.row) == (False, 0, {})


async def test_another_attempt_works_when_the_one_before_it_has_ended_here(
    make: Callable[..., Steps], gateway: FakeGateway
) -> None:
    """A life that slept through its lease is granted the next attempt before it noticed."""
    steps, first, second = make(), Work(), Work().ready()
    before = await begun(steps, first)
    gateway.row = {}
    ended: list[bool] = []

    async def work(given: Mapping[str, Any], context: StepContext) -> Out:
        ended.append(KEY not in steps.running)
        return await second(given, context)

    await steps.execute(replace(KEY, attempt=2), work)
    await before
    assert ended == [True]


async def test_a_message_for_another_attempt_ends_nothing(make: Callable[..., Steps], gateway: FakeGateway) -> None:
    """Whoever can send messages names any attempt; only a row ends the one that runs."""
    steps, first, second = make(), Work(), Work()
    call = await begun(steps, first)
    gateway.refuse = "UNEXPECTED"
    await steps.execute(replace(KEY, attempt=2), second)
    assert not steps._steps[KEY].cancelled.is_set()
    assert second.executed == 0
    gateway.refuse = ""
    first.go.set()
    await call
    assert gateway.outcome == OK
