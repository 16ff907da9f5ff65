"""A test's own activities: each is one transaction, and doing it again changes nothing."""

from datetime import timedelta
from typing import Any

from temporalio import activity

from stackly import clock, db
from stackly.agents import store as agents
from stackly.agents.model import AgentStatus
from stackly.db import Session, Transactions
from stackly.engine import reserving
from stackly.engine.contracts.control import (
    Absent,
    Claim,
    Invalidated,
    Judgement,
    NetworkTaken,
    Reserved,
    Sampled,
    TeardownAsked,
    TeardownLook,
    TestActivities,
    TestEnd,
    TestPlan,
)
from stackly.engine.failures import tell_all
from stackly.engine.measuring import judge_test, sample_of
from stackly.events import store as events
from stackly.events.model import Bell
from stackly.runs import store
from stackly.runs import tests as tests_store
from stackly.runs.model import Run, TestRecord
from stackly.spec.runs import TEST_ENDED, RunStatus
from stackly.suites import jsonform
from stackly.suites import store as suites
from stackly.suites.model import ResolvedTest, Sample
from stackly.teardown import service as teardown
from stackly.teardown import store as obligations

# A test's own deadline: what it is given for load, and room for teardown.
TEARDOWN_ROOM = timedelta(hours=2)


@tell_all
class Tests(TestActivities):
    __test__ = False

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    @activity.defn(name="test.begin")
    async def begin_test(self, claim: Claim) -> TestPlan:
        async with self._transactions() as session:
            run = await store.get_run(session, claim.run, lock=True)
            test = await tests_store.claim_execution(session, claim.run, claim.test, claim.execution)
            if test is None:
                return TestPlan(carry=False)
            timeout = timedelta(seconds=float(run.spec["suite"]["timeout_s"]))
            deadline = await db.now(session) + timeout + TEARDOWN_ROOM
            await tests_store.update_test(session, claim.run, claim.test, deadline=deadline)
            return _plan_of(run, test)

    @activity.defn(name="test.reserve")
    async def reserve(self, claim: Claim) -> Reserved:
        async with self._transactions() as session:
            return await reserving.reserve(session, claim.run, claim.test)

    @activity.defn(name="test.network_taken")
    async def network_taken(self, given: NetworkTaken) -> Reserved:
        async with self._transactions() as session:
            return await reserving.draw_again(session, given.run, given.test, given.network_cidr)

    @activity.defn(name="test.absent")
    async def absent(self, claim: Claim) -> Absent:
        async with self._transactions() as session:
            run = await store.get_run(session, claim.run)
            test = await tests_store.get_test(session, claim.run, claim.test)
            held = await reserving.held_by(session, run, test)
            missing, lost = [], {}
            for machine in sorted(m.name for m in held.machines) if held else ():
                agent = await agents.find_edge(session, claim.run, claim.test, machine)
                if agent is None or agent.status is not AgentStatus.ONLINE:
                    missing.append(machine)
                if agent is not None and agent.status is AgentStatus.GONE and agent.reason:
                    lost[machine] = agent.reason
            return Absent(missing, run.cancel_requested, lost)

    @activity.defn(name="test.sampled")
    async def sampled(self, given: Sampled) -> None:
        async with self._transactions() as session:
            test = await tests_store.get_test(session, given.run, given.test, lock=True)
            sample, warnings = sample_of(test, given)
            await suites.put_result(session, test.run, sample)
            if given.n > 1:
                await tests_store.again_phase(session, given.run, given.test, "measure")
            await tests_store.update_test(session, given.run, given.test, warnings=warnings)

    @activity.defn(name="test.invalidated")
    async def invalidated(self, given: Invalidated) -> None:
        async with self._transactions() as session:
            test = await tests_store.get_test(session, given.run, given.test, lock=True)
            lost = Sample(given.test, "candidate", given.n, given.n, valid=False, reason=given.reason, result={})
            await suites.put_result(session, test.run, lost)
            await tests_store.update_test(session, given.run, given.test, verdict="invalid", reasons=[given.reason])

    @activity.defn(name="test.judge")
    async def judge(self, claim: Claim) -> Judgement:
        async with self._transactions() as session:
            run = await store.get_run(session, claim.run, lock=True)
            test = await tests_store.get_test(session, claim.run, claim.test, lock=True)
            return await judge_test(session, run, test)

    @activity.defn(name="test.ask_teardown")
    async def ask_teardown(self, given: TeardownAsked) -> None:
        async with self._transactions() as session:
            test = await tests_store.get_test(session, given.run, given.test)
            obligation = await obligations.find_open(session, test.state) if test.state else None
            if obligation is not None:
                await teardown.request_destroy(session, obligation, cause="test", reason=given.reason)

    @activity.defn(name="test.look_teardown")
    async def look_teardown(self, claim: Claim) -> TeardownLook:
        async with self._transactions() as session:
            test = await tests_store.get_test(session, claim.run, claim.test)
            obligation = await obligations.find_open(session, test.state) if test.state else None
            if obligation is None:
                return TeardownLook("met")
            destroying = await store.open_destroy(session, obligation.state)
            verifying = destroying is not None and await _verifies(session, destroying)
            return TeardownLook("verifying" if verifying else "open", obligation.reason or "")

    @activity.defn(name="test.finish")
    async def finish_test(self, end: TestEnd) -> None:
        async with self._transactions() as session:
            await store.get_run(session, end.run, lock=True)
            test = await tests_store.get_test(session, end.run, end.test, lock=True)
            if test.status in TEST_ENDED:
                return
            at = clock.parse(end.at)
            status = "cancelled" if end.cancelled else "failed" if end.error else "succeeded"
            await tests_store.end_open_phases(
                session, end.run, end.test, at, "failed" if end.error else "succeeded", end.error or None
            )
            samples = [s for s in await suites.results_of(session, test.run) if s.test == end.test]
            if status == "succeeded" and not all(s.valid for s in samples):
                status = "failed"
            values: dict[str, Any] = {"status": status, "deadline": None}
            if end.error and not test.reasons:
                values["reasons"] = [end.error]
            if end.error and not end.cancelled and test.verdict is None:
                values["verdict"] = "invalid"
            await tests_store.update_test(session, end.run, end.test, **values)
            await events.ring(session, Bell.RUN_RING, end.run)


async def _verifies(session: Session, destroying: Run) -> bool:
    if destroying.status is not RunStatus.TEARING_DOWN:
        return False
    return await tests_store.phase_is_open(session, destroying.id, "", "verify")


def _plan_of(run: Run, test: TestRecord) -> TestPlan:
    measure = jsonform.from_json(ResolvedTest, test.spec).measure
    return TestPlan(
        carry=True,
        warmup_s=float(measure.warmup_s),
        duration_s=float(measure.duration_s),
        samples=measure.repeats_min,
        timeout_s=float(run.spec["suite"]["timeout_s"]),
    )
