"""A run's own activities: each is one transaction, and doing it again changes nothing."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from temporalio import activity

from stackly import clock, db
from stackly.db import Session, Transactions
from stackly.engine import awaiting, expecting, gates, images, loose, teardowns
from stackly.engine.contracts.control import (
    ApplyRecord,
    Asked,
    Boundary,
    Claim,
    Expected,
    GateAnswer,
    ImageAwaited,
    ImageFound,
    PlanRecord,
    RunActivities,
    RunEnd,
    RunPlan,
    TestBoard,
    Verified,
    VerifyAnswer,
)
from stackly.engine.failures import tell_all
from stackly.engine.policies import PolicyBook
from stackly.engine.telling import tell
from stackly.events import store as events
from stackly.events.model import Bell, EventName
from stackly.runs import store
from stackly.runs import tests as tests_store
from stackly.runs.model import TRANSITIONS, Run, RunEvent, TestRecord
from stackly.spec.runs import TEST_ENDED, RunKind, RunStatus, TestStatus
from stackly.stacks import lifecycle
from stackly.stacks.transitions import StateEvent
from stackly.suites import gates as suite_gates
from stackly.suites import store as suites
from stackly.teardown import store as obligations
from stackly.temporal.timings import IMAGE_PATIENCE, IMAGE_PULL

_BEGINS: Mapping[RunKind, RunEvent] = {
    RunKind.BENCHMARK: RunEvent.LOAD,
    RunKind.DEPLOY: RunEvent.PLAN,
    RunKind.PREVIEW: RunEvent.PLAN,
    RunKind.DESTROY: RunEvent.TEAR_DOWN,
}
DEFAULT_TIMEOUT_S = 4 * 3600.0
# A benchmark's deadline leaves room for teardown after its own timeout.
TEARDOWN_ROOM = timedelta(hours=3)


@tell_all
class Runs(RunActivities):
    def __init__(
        self, transactions: Transactions, book: PolicyBook, image_patience: timedelta = IMAGE_PATIENCE
    ) -> None:
        self._transactions = transactions
        self._book = book
        self._image_patience = image_patience

    @activity.defn(name="run.begin")
    async def begin(self, claim: Claim) -> RunPlan:
        async with self._transactions() as session:
            run = await store.get_run(session, claim.run, lock=True)
            mine = await store.claim_execution(session, claim.run, claim.execution)
            if run.is_terminal or mine is None or mine.epoch is None:
                return RunPlan(carry=False)
            if mine.status is RunStatus.STARTING:
                at = await db.now(session)
                deadline = timedelta(seconds=_timeout_s(mine)) + TEARDOWN_ROOM + self._image_room(mine)
                mine = await store.transition(session, mine, _BEGINS[mine.kind], at=at, deadline=deadline)
                if mine.status is RunStatus.PLANNING:
                    await tell(session, mine, EventName.PLAN_INITIATED)
            return await _plan_of(session, mine, self._image_patience)

    def _image_room(self, run: Run) -> timedelta:
        """A run's own time begins when its images are here."""
        wanted = images.of_spec(run.spec)
        return self._image_patience + len(wanted) * IMAGE_PULL if wanted else timedelta(0)

    @activity.defn(name="run.image_awaited")
    async def image_awaited(self, given: ImageAwaited) -> None:
        async with self._transactions() as session:
            await awaiting.tell(session, given)

    @activity.defn(name="run.image_found")
    async def image_found(self, given: ImageFound) -> str:
        async with self._transactions() as session:
            return await awaiting.keep(session, given)

    @activity.defn(name="run.images_here")
    async def images_here(self, run: str) -> None:
        async with self._transactions() as session:
            await awaiting.over(session, run)

    @activity.defn(name="run.board")
    async def board(self, run: str) -> TestBoard:
        async with self._transactions() as session:
            found = await store.get_run(session, run, lock=True)
            tests = await tests_store.list_tests(session, run)
            tests = await _skip_unstarted(session, found, tests)
            busy = [t for t in tests if t.status not in TEST_ENDED and t.status is not TestStatus.WAITING]
            waiting = [t.test for t in tests if t.status is TestStatus.WAITING]
            loading = [t for t in busy if t.status is TestStatus.RUNNING]
            room = max(0, int(found.spec["suite"]["parallel"]) - len(loading))
            if not waiting and busy and not loading and found.status is RunStatus.RUNNING:
                await store.transition(session, found, RunEvent.TEAR_DOWN, at=await db.now(session))
            # A test that was started and whose row does not say so yet is asked for again; its workflow id is its own.
            return TestBoard(waiting[:room], len(waiting) + len(busy), found.cancel_requested)

    @activity.defn(name="run.boundary")
    async def boundary(self, given: Boundary) -> None:
        at = clock.parse(given.at)
        async with self._transactions() as session:
            run = await store.get_run(session, given.run, lock=True)
            if given.end:
                ended = (given.run, given.test, given.end, at, given.status, given.detail or None)
                await tests_store.end_phase(session, *ended)
            if given.start:
                await tests_store.start_phase(session, given.run, given.test, given.start, at)
            if given.end == "apply":
                how = {"activity": "apply", "status": given.status, "detail": given.detail or None}
                await tell(session, run, EventName.ACTIVITY_COMPLETED, "", how)
            if given.start == "apply":
                await _move(session, run, RunEvent.APPLY)
                await tell(session, run, EventName.ACTIVITY_STARTED, "", {"activity": "apply"})
            if given.start == "teardown":
                await _tearing_down(session, given.run, given.test)

    @activity.defn(name="run.expect")
    async def expect(self, asked: Asked) -> Expected:
        async with self._transactions() as session:
            return await expecting.expect(session, asked)

    @activity.defn(name="run.record_plan")
    async def record_plan(self, given: PlanRecord) -> GateAnswer:
        async with self._transactions() as session:
            return await gates.record_plan(session, given, self._book)

    @activity.defn(name="run.gate")
    async def gate(self, given: Boundary) -> GateAnswer:
        async with self._transactions() as session:
            return await gates.pass_gate(session, given.run, self._book)

    @activity.defn(name="run.record_apply")
    async def record_apply(self, given: ApplyRecord) -> None:
        async with self._transactions() as session:
            run = await store.get_run(session, given.run)
            await lifecycle.move_state(session, run.state, StateEvent.DEPLOYED, commit=run.commit, agent=run.agent)
            payload = {"outputs": sorted(given.outputs), "commit": run.commit}
            await tell(session, run, EventName.DEPLOY_COMPLETED, "", payload)

    @activity.defn(name="run.verify")
    async def verify(self, given: Verified) -> VerifyAnswer:
        async with self._transactions() as session:
            run = await store.get_run(session, given.run, lock=True)
            return await teardowns.verify(session, run, given.inventory)

    @activity.defn(name="run.finish")
    async def finish(self, end: RunEnd) -> None:
        async with self._transactions() as session:
            if (await store.get_run(session, end.run)).kind is RunKind.PREVIEW:
                await loose.finish_preview(session, end)
                return
            run = await store.get_run(session, end.run, lock=True)
            if run.is_terminal:
                return
            at = clock.parse(end.at)
            status = "failed" if end.error else "succeeded"
            await tests_store.end_open_phases(session, run.id, "", at, status, end.error or None)
            if run.kind is RunKind.BENCHMARK:
                await _finish_benchmark(session, run, end)
            else:
                await _finish_plain(session, run, end)


def _timeout_s(run: Run) -> float:
    suite = run.spec.get("suite")
    if suite:
        return float(suite["timeout_s"])
    return float((run.spec.get("budget") or {}).get("max_duration_s") or DEFAULT_TIMEOUT_S)


async def _plan_of(session: Session, run: Run, image_patience: timedelta) -> RunPlan:
    removes = False
    if run.kind is RunKind.DESTROY:
        owed = await obligations.find_open(session, run.state)
        removes = bool((owed.kit if owed else run.spec).get("owner_run"))
    return RunPlan(
        carry=True,
        kind=run.kind.value,
        removes=removes,
        timeout_s=_timeout_s(run),
        plans=int(run.spec.get("plans", 1)),
        images=images.of_spec(run.spec) if run.kind is RunKind.BENCHMARK else {},
        image_patience_s=image_patience.total_seconds(),
        started=clock.iso(run.started_at) if run.started_at else "",
    )


async def _skip_unstarted(session: Session, run: Run, tests: list[TestRecord]) -> list[TestRecord]:
    """After a cancel, tests that have not begun end here: there is nothing to undo."""
    if not run.cancel_requested:
        return tests
    for test in tests:
        if test.status is TestStatus.WAITING:
            await tests_store.update_test(session, run.id, test.test, status="cancelled", reasons=["cancelled"])
    return await tests_store.list_tests(session, run.id)


async def _move(session: Session, run: Run, event: RunEvent, reason: str | None = None) -> Run:
    """A transition that a repeated activity may have made already."""
    if event not in TRANSITIONS[run.status]:
        return run
    return await store.transition(session, run, event, at=await db.now(session), reason=reason)


async def _tearing_down(session: Session, run: str, test: str) -> None:
    found = await tests_store.get_test(session, run, test, lock=True)
    if found.status is TestStatus.RUNNING:
        await tests_store.update_test(session, run, test, status="tearing_down")
        await events.ring(session, Bell.RUN_RING, run)


async def _finish_benchmark(session: Session, run: Run, end: RunEnd) -> None:
    """Succeeded when every test has a valid result, whatever its verdict; the gate decides what that means."""
    at: datetime = clock.parse(end.at)
    await _end_unstarted(session, run, end)
    tests = await tests_store.list_tests(session, run.id)
    samples = await suites.results_of(session, run.id)
    measured = {s.test for s in samples if s.valid} - {s.test for s in samples if not s.valid}
    verdicts = {t.test: t.verdict for t in tests}
    verdict = suite_gates.verdict_of_run(verdicts.values())
    if end.cancelled or run.cancel_requested:
        values: dict[str, Any] = {"verdict": verdict}
        await store.transition(session, run, RunEvent.CANCEL, at=at, reason="cancelled", **values)
        return
    gate = suite_gates.gate(verdicts)
    lost = [t for t in tests if t.test not in measured or t.status is not TestStatus.SUCCEEDED]
    reasons = "; ".join(f"{t.test}: {', '.join(t.reasons) or t.status}" for t in lost)
    event = RunEvent.FAIL if lost or end.error else RunEvent.SUCCEED
    reason = end.error or reasons or None
    await store.transition(session, run, event, at=at, reason=reason, verdict=verdict, gate=gate, changed=True)


async def _end_unstarted(session: Session, run: Run, end: RunEnd) -> None:
    """What kept the run from its first test ends the tests with it; there is nothing to undo."""
    is_cancelled = end.cancelled or run.cancel_requested
    status, why = ("cancelled", "cancelled") if is_cancelled else ("failed", "not started")
    for test in await tests_store.list_tests(session, run.id):
        if test.status is TestStatus.WAITING:
            await tests_store.update_test(session, run.id, test.test, status=status, reasons=[why])


async def _finish_plain(session: Session, run: Run, end: RunEnd) -> None:
    at = clock.parse(end.at)
    if run.kind is RunKind.DESTROY:
        await teardowns.ended(session, run, error=end.error, at=at)
    if end.cancelled:
        await store.transition(session, run, RunEvent.CANCEL, at=at, reason="cancelled")
        return
    event = RunEvent.FAIL if end.error else RunEvent.SUCCEED
    await store.transition(session, run, event, at=at, reason=end.error or None, changed=end.changed)
