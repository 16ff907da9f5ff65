"""One test of a benchmark: a saga whose undo is asked for by a row before anything is created."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import TypeVar

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from stackly.engine.contracts.control import (
        AgentsWanted,
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
        CollectInput,
        CollectOutcome,
        DatabaseInput,
        DatabaseOutcome,
        EdgeActivities,
        InstallInput,
        InstallOutcome,
        MeasureInput,
        MeasureOutcome,
        PrepareInput,
        PrepareOutcome,
        WarmupInput,
        WarmupOutcome,
    )
    from stackly.engine.contracts.site import (
        ApplyInput,
        ApplyOutcome,
        BootInput,
        BootOutcome,
        ModuleInput,
        ProbeInput,
        ProbeOutcome,
        SiteActivities,
        bundle_sha256,
    )
    from stackly.engine.contracts.steps import StepKey, edge_queue, site_queue
    from stackly.engine.contracts.timings import (
        EDGE_PICKUP,
        ENROL_PATIENCE,
        LOOK_EVERY,
        RECOVERIES,
        SITE_PATIENCE,
        SITE_PICKUP,
        TEARDOWN_PATIENCE,
    )
    from stackly.engine.workflows.board import Phases, at, local
    from stackly.engine.workflows.stepping import AgentLost, Place, StepCancelled, StepFailed, StepGone, run_step
    from stackly.errors import StacklyError

P = TypeVar("P")
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
        self.agents: dict[str, str] = {}
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
        self.database = await self._edge(EdgeActivities.start_database, self._database(), DatabaseOutcome)
        await self.phases.go("install")
        await self._install()
        await self.phases.go("prepare")
        await self._edge(EdgeActivities.prepare, self._prepare(), PrepareOutcome, timedelta(hours=2))
        await self._samples()
        await self.phases.go("collect")
        await self._edge(EdgeActivities.collect, CollectInput(self._key("collect")), CollectOutcome, side="database")
        await self.phases.go("compare")
        await local(TestActivities.judge, self.claim)

    # -- reserve ------------------------------------------------------------------------------------------------

    async def _reserve(self) -> None:
        self.held = await self._reserved()
        while True:
            probe = await self._site(SiteActivities.probe, self._probe, ProbeOutcome, timedelta(minutes=1))
            if probe.free:
                return
            taken = NetworkTaken(self.plan.run, self.plan.test, self.held.network_cidr, probe.reason)
            self.held = await local(TestActivities.network_taken, taken)

    def _probe(self, attempt: int) -> ProbeInput:
        cidr = self.held.network_cidr
        return ProbeInput(self._key(f"probe {cidr}", attempt), self.plan.target, cidr)

    async def _reserved(self) -> Reserved:
        """Resources come all at once or not at all; until then nothing is held."""
        while True:
            held = await local(TestActivities.reserve, self.claim)
            if held.ready:
                return held
            await self._rung_or(timedelta(seconds=held.wait_s))

    # -- provision, boot, enrol -----------------------------------------------------------------------------------

    async def _provision(self) -> None:
        applied = await self._site(
            SiteActivities.apply,
            lambda attempt: ApplyInput(self._module(self._key("apply", attempt))),
            ApplyOutcome,
            timedelta(hours=2),
        )
        if applied.fault:
            raise StepFailed(applied.fault)
        booted = await self._site(
            SiteActivities.boot,
            lambda attempt: BootInput(
                self._key("boot", attempt),
                self.plan.target,
                self.held.network_cidr,
                self.held.machines,
                self.plan.ends_at,
            ),
            BootOutcome,
            timedelta(minutes=15),
        )
        self.agents = booted.agents

    def _module(self, key: StepKey) -> ModuleInput:
        return ModuleInput(
            key=key,
            target=self.plan.target,
            path=self.plan.path,
            variables=self.plan.variables,
            network_cidr=self.held.network_cidr,
            machines=self.held.machines,
            labels=self.held.labels,
            environment=self.plan.environment,
            creates_only=True,
            bundle_sha256=bundle_sha256(self.plan.bundle),
        )

    async def _enrolled(self) -> None:
        deadline = workflow.now() + ENROL_PATIENCE
        wanted = AgentsWanted(self.plan.run, self.plan.test, self.agents)
        while True:
            absent = await local(TestActivities.absent, wanted)
            if absent.cancelled:
                raise StepCancelled("cancelled")
            if absent.lost:
                raise AgentLost(_sentences(absent.lost))
            if not absent.machines:
                return
            if workflow.now() > deadline:
                names = ", ".join(absent.machines)
                raise AgentLost(f"no edge agent enrolled within {ENROL_PATIENCE.seconds} s on: {names}")
            await self._rung_or(timedelta(seconds=2))

    # -- database, load -----------------------------------------------------------------------------------------

    def _database(self) -> DatabaseInput:
        spec = next(m for m in self.held.machines if m.name == self.held.database_machine)
        return DatabaseInput(
            key=self._key("database"),
            engine=self.plan.engine,
            version=self.plan.version,
            listen=spec.internal_ip,
            port=self.held.port,
            admit=self.held.admit,
            settings=self.plan.settings,
            image=self.plan.image,
        )

    def _prepare(self) -> PrepareInput:
        assert self.plan.workload is not None
        assert self.held.endpoint is not None
        return PrepareInput(self._key("prepare"), self.plan.workload, self.held.endpoint)

    async def _install(self) -> None:
        assert self.plan.workload is not None
        assert self.held.endpoint is not None
        given = InstallInput(self._key("install"), self.plan.workload, self.held.endpoint)
        self.install = await self._edge(EdgeActivities.install, given, InstallOutcome, timedelta(minutes=20))

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
        assert self.plan.workload is not None
        assert self.held.endpoint is not None
        given = WarmupInput(self._key(f"warmup {n}"), self.plan.workload, self.held.endpoint, self.plan.warmup_s, n)
        await self._edge(EdgeActivities.warmup, given, WarmupOutcome, timedelta(seconds=self.plan.warmup_s * 2 + 600))

    async def _measure(self, n: int) -> None:
        """A measurement is never repeated silently: a lost one is invalid, and says so (B15)."""
        assert self.plan.workload is not None
        assert self.held.endpoint is not None
        given = MeasureInput(self._key(f"measure {n}"), self.plan.workload, self.held.endpoint, self.plan.duration_s, n)
        timeout = timedelta(seconds=self.plan.duration_s * 2 + 600)
        try:
            outcome = await self._edge(EdgeActivities.measure, given, MeasureOutcome, timeout)
        except StepCancelled:
            raise
        except StacklyError as e:
            why = e.detail if isinstance(e, AgentLost) else f"the measurement was lost: {e.detail}"
            await local(TestActivities.invalidated, Invalidated(self.plan.run, self.plan.test, n, why))
            raise StepFailed(why) from e
        sampled = Sampled(self.plan.run, self.plan.test, n, outcome, self.install, self.database)
        await local(TestActivities.sampled, sampled)

    # -- teardown -------------------------------------------------------------------------------------------------

    async def _torn_down(self, why: str) -> str:
        """Ask for the destroy of the test's state, and wait until its obligation is closed. '' or what stayed."""
        asked = TeardownAsked(self.plan.run, self.plan.test, why or "the test is over")
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

    def _key(self, step: str, attempt: int = 1) -> StepKey:
        return StepKey(self.plan.run, self.plan.test, step, attempt, self.held.epoch)

    async def _site(
        self,
        method: Callable[[SiteActivities, P], Awaitable[T]],
        given: Callable[[int], P],
        outcome: type[T],
        timeout: timedelta,
    ) -> T:
        """A site step. When the agent died in it, the next attempt recovers: it looks before it creates."""
        place = Place(site_queue(self.plan.agent), SITE_PICKUP, SITE_PATIENCE)
        attempt = lost = 0
        while lost < RECOVERIES:
            attempt += 1
            try:
                return await run_step(method, given(attempt), outcome, place=place, timeout=timeout)
            except StepGone as e:
                lost += e.counts
                workflow.logger.warning("the site agent died in a step; recovering", extra={"attempt": attempt})
        raise StepFailed(f"the site agent died {RECOVERIES} times in the same step")

    async def _edge(
        self,
        method: Callable[[EdgeActivities, P], Awaitable[T]],
        given: P,
        outcome: type[T],
        timeout: timedelta = timedelta(minutes=15),
        *,
        side: str = "",
    ) -> T:
        on_database = side == "database" or isinstance(given, DatabaseInput)
        machine = self.held.database_machine if on_database else self.held.load_machine
        place = Place(edge_queue(self.agents[machine]), EDGE_PICKUP, EDGE_PICKUP)
        step = asyncio.create_task(run_step(method, given, outcome, place=place, timeout=timeout))
        loss = asyncio.create_task(self._loss())
        try:
            await workflow.wait([step, loss], return_when=asyncio.FIRST_COMPLETED)
            if not step.done():
                raise AgentLost(loss.result())
            return step.result()
        except StepGone as e:
            # Its heartbeats may have run out before anybody rang: why it went is known all the same.
            raise (AgentLost(why) if (why := await self._known_loss()) else e) from e
        finally:
            for task in (step, loss):
                task.cancel()
            await asyncio.gather(step, loss, return_exceptions=True)

    async def _loss(self) -> str:
        """Until an agent of this test is known to have ended: why. A step need not wait for its silence to tell."""
        while True:
            await workflow.wait_condition(lambda: self.rung)
            self.rung = False
            if why := await self._known_loss():
                return why

    async def _known_loss(self) -> str:
        absent = await local(TestActivities.absent, AgentsWanted(self.plan.run, self.plan.test, self.agents))
        return _sentences(absent.lost)

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
