"""One test of a benchmark: a saga whose undo is asked for by a row before anything is created."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import TypeVar

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from stackly.engine.contracts.control import (
        Asked,
        Claim,
        Invalidated,
        NetworkTaken,
        Reserved,
        Sampled,
        TeardownAsked,
        TestActivities,
        TestEnd,
        TestPlan,
    )
    from stackly.engine.contracts.edge import (
        CollectOutcome,
        DatabaseOutcome,
        InstallOutcome,
        MeasureOutcome,
        PrepareOutcome,
        WarmupOutcome,
    )
    from stackly.engine.contracts.site import ApplyOutcome, BootOutcome, ProbeOutcome
    from stackly.engine.workflows.board import Phases, at, local
    from stackly.engine.workflows.stepping import AgentLost, Place, StepCancelled, StepFailed, StepGone, run_step
    from stackly.errors import StacklyError
    from stackly.temporal.timings import (
        APPLY_TIMEOUT,
        BOOT_TIMEOUT,
        EDGE_PATIENCE,
        EDGE_PICKUP,
        EDGE_TIMEOUT,
        ENROL_LOOK,
        ENROL_PATIENCE,
        INSTALL_TIMEOUT,
        LOOK_EVERY,
        PREPARE_TIMEOUT,
        PROBE_TIMEOUT,
        SITE_PATIENCE,
        SITE_PICKUP,
        TEARDOWN_PATIENCE,
        load_timeout,
        within,
    )

T = TypeVar("T")


@workflow.defn(name="TestRun")
class TestRunWorkflow:
    """Reserve, provision, enrol, database, install, prepare, warm up, measure, collect, compare, tear down, verify.

    Started anew from its row it walks the same way: steps that are done answer with their stored outcomes.
    """

    __test__ = False

    def __init__(self) -> None:
        self.rung = False
        self.plan = TestPlan(carry=False)
        self.held = Reserved(ready=False)
        self.install: InstallOutcome | None = None
        self.database: DatabaseOutcome | None = None

    @workflow.signal
    def ring(self) -> None:
        self.rung = True

    @workflow.run
    async def run(self, run: str, test: str) -> None:
        self.claim = Claim(run, workflow.info().run_id, test)
        self.plan = await local(TestActivities.begin_test, self.claim)
        if not self.plan.carry:
            return
        self.phases = Phases(run, test)
        error, cancelled = await self._measured()
        teardown = await self._torn_down(error or ("cancelled" if cancelled else ""))
        await local(TestActivities.finish_test, TestEnd(run, test, at(), error or teardown, cancelled))

    async def _measured(self) -> tuple[str, bool]:
        """Everything up to compare. Shape: (error or '', cancelled)."""
        work = asyncio.create_task(self._work())
        done, _ = await workflow.wait([work], timeout=self.plan.timeout_s)
        if not done:
            work.cancel()
            await workflow.wait([work])
            return await self._failed(f"timeout: {self.plan.timeout_s:.0f} s have passed"), False
        try:
            work.result()
        except StepCancelled:
            return await self._failed("cancelled"), True
        except StacklyError as e:
            return await self._failed(e.detail), False
        await self.phases.go("teardown")
        return "", False

    async def _failed(self, why: str) -> str:
        await self.phases.fail(why, then="teardown")
        return why

    async def _work(self) -> None:
        await self.phases.go("reserve")
        await self._reserve()
        await self.phases.go("provision")
        await self._provision()
        await self.phases.go("enrol")
        await self._enrolled()
        await self.phases.go("database")
        self.database = await self._edge("database", DatabaseOutcome)
        await self.phases.go("install")
        self.install = await self._edge("install", InstallOutcome, INSTALL_TIMEOUT)
        await self.phases.go("prepare")
        await self._edge("prepare", PrepareOutcome, PREPARE_TIMEOUT)
        await self._samples()
        await self.phases.go("collect")
        await self._edge("collect", CollectOutcome)
        await self.phases.go("compare")
        await local(TestActivities.judge, self.claim)

    # -- reserve ------------------------------------------------------------------------------------------------

    async def _reserve(self) -> None:
        self.held = await self._reserved()
        while True:
            cidr = self.held.network_cidr
            probe = await self._site(f"probe {cidr}", ProbeOutcome, PROBE_TIMEOUT)
            if probe.free:
                return
            taken = NetworkTaken(self.claim.run, self.claim.test, cidr, probe.reason)
            self.held = await local(TestActivities.network_taken, taken)

    async def _reserved(self) -> Reserved:
        """Resources come all at once or not at all; until then nothing is held."""
        while True:
            held = await local(TestActivities.reserve, self.claim)
            if held.ready:
                return held
            await self._rung_or(within(held.wait_s))

    # -- provision, boot, enrol -----------------------------------------------------------------------------------

    async def _provision(self) -> None:
        applied = await self._site("apply", ApplyOutcome, APPLY_TIMEOUT)
        if applied.fault:
            raise StepFailed(applied.fault)
        await self._site("boot", BootOutcome, BOOT_TIMEOUT)

    async def _enrolled(self) -> None:
        deadline = workflow.now() + ENROL_PATIENCE
        while True:
            absent = await local(TestActivities.absent, self.claim)
            if absent.cancelled:
                raise StepCancelled("cancelled")
            if absent.lost:
                raise AgentLost(_sentences(absent.lost))
            if not absent.machines:
                return
            if workflow.now() > deadline:
                names = ", ".join(absent.machines)
                raise AgentLost(f"no edge agent enrolled within {ENROL_PATIENCE.seconds} s on: {names}")
            await self._rung_or(ENROL_LOOK)

    # -- load -----------------------------------------------------------------------------------------------------

    async def _samples(self) -> None:
        """Samples after the first warm up inside the measure phase, which counts its iterations."""
        await self.phases.go("warmup")
        await self._warmup(1)
        await self.phases.go("measure")
        await self._measure(1)
        for n in range(2, self.plan.samples + 1):
            await self._warmup(n)
            await self._measure(n)

    async def _warmup(self, n: int) -> None:
        await self._edge(f"warmup {n}", WarmupOutcome, load_timeout(self.plan.warmup_s))

    async def _measure(self, n: int) -> None:
        """A measurement is never repeated silently: a lost one is invalid, and says so (B15)."""
        try:
            outcome = await self._edge(f"measure {n}", MeasureOutcome, load_timeout(self.plan.duration_s))
        except StepCancelled:
            raise
        except StacklyError as e:
            why = e.detail if isinstance(e, AgentLost) else f"the measurement was lost: {e.detail}"
            await local(TestActivities.invalidated, Invalidated(self.claim.run, self.claim.test, n, why))
            raise StepFailed(why) from e
        sampled = Sampled(self.claim.run, self.claim.test, n, outcome, self.install, self.database)
        await local(TestActivities.sampled, sampled)

    # -- teardown -------------------------------------------------------------------------------------------------

    async def _torn_down(self, why: str) -> str:
        """Ask for the destroy of the test's state, and wait until its obligation is closed. '' or what stayed."""
        asked = TeardownAsked(self.claim.run, self.claim.test, why or "the test is over")
        await local(TestActivities.ask_teardown, asked)
        deadline = workflow.now() + TEARDOWN_PATIENCE
        verifying = False
        while workflow.now() < deadline:
            look = await local(TestActivities.look_teardown, self.claim)
            if look.status == "verifying" and not verifying:
                verifying = True
                await self.phases.go("verify")
            if look.status in {"met", "waived"}:
                if not verifying:
                    await self.phases.go("verify")
                await self.phases.go("")
                return ""
            await self._rung_or(LOOK_EVERY)
        await self.phases.fail("teardown did not finish; its obligation stays open")
        return "teardown did not finish; its obligation stays open and is tried again"

    # -- steps ----------------------------------------------------------------------------------------------------

    async def _site(self, step: str, outcome: type[T], timeout: timedelta) -> T:
        return await self._step(step, outcome, Place(SITE_PICKUP, SITE_PATIENCE), timeout)

    async def _edge(self, step: str, outcome: type[T], timeout: timedelta = EDGE_TIMEOUT) -> T:
        carried = asyncio.create_task(self._step(step, outcome, Place(EDGE_PICKUP, EDGE_PATIENCE), timeout))
        loss = asyncio.create_task(self._loss())
        try:
            await workflow.wait([carried, loss], return_when=asyncio.FIRST_COMPLETED)
            if not carried.done():
                raise AgentLost(loss.result())
            return carried.result()
        except StepGone as e:
            # Its heartbeats may have run out before anybody rang: why it went is known all the same.
            raise (AgentLost(why) if (why := await self._known_loss()) else e) from e
        finally:
            for task in (carried, loss):
                task.cancel()
            await asyncio.gather(carried, loss, return_exceptions=True)

    async def _loss(self) -> str:
        """Until an agent of this test is known to have ended: why. A step need not wait for its silence to tell."""
        while True:
            await workflow.wait_condition(lambda: self.rung)
            self.rung = False
            if why := await self._known_loss():
                return why

    async def _known_loss(self) -> str:
        return _sentences((await local(TestActivities.absent, self.claim)).lost)

    async def _step(self, step: str, outcome: type[T], place: Place, timeout: timedelta) -> T:
        return await run_step(Asked(self.claim.run, self.claim.test, step), outcome, place=place, timeout=timeout)

    async def _rung_or(self, timeout: timedelta) -> None:
        try:
            await workflow.wait_condition(lambda: self.rung, timeout=timeout)
        except TimeoutError:
            return
        finally:
            self.rung = False


def _sentences(lost: Mapping[str, str]) -> str:
    """Each reason once: machines that ended together ended for one."""
    return "; ".join(dict.fromkeys(lost[machine] for machine in sorted(lost)))
