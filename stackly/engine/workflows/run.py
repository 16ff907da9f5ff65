"""A run, from its row to its end. What it is stands in the row; this carries it out."""

from datetime import datetime, timedelta
from typing import TypeVar

from temporalio import workflow
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

with workflow.unsafe.imports_passed_through():
    from stackly.engine.contracts.control import (
        ApplyRecord,
        Asked,
        Boundary,
        Claim,
        GateAnswer,
        ImageAwaited,
        ImageFound,
        PlanRecord,
        RunActivities,
        RunEnd,
        RunPlan,
        Verified,
        VerifyAnswer,
    )
    from stackly.engine.contracts.site import (
        ApplyOutcome,
        DestroyOutcome,
        ImageOutcome,
        InventoryOutcome,
        PlanOutcome,
        PullOutcome,
        RemoveOutcome,
    )
    from stackly.engine.workflows.board import Phases, at, local
    from stackly.engine.workflows.images import ImageWait
    from stackly.engine.workflows.stepping import Place, StepCancelled, StepFailed, run_step
    from stackly.errors import StacklyError
    from stackly.temporal.steps import test_workflow_id
    from stackly.temporal.timings import (
        IMAGE_LOOK,
        IMAGE_PULL,
        IMAGE_PULL_ROOM,
        LOOK_EVERY,
        SITE_PATIENCE,
        SITE_PICKUP,
        VERIFY_PAUSE,
        VERIFY_TRIES,
        within,
    )

T = TypeVar("T")


@workflow.defn(name="Run")
class RunWorkflow:
    """Carries out a benchmark, a deploy, a preview or a destroy."""

    def __init__(self) -> None:
        self.rung = False
        self.plan = RunPlan(carry=False)
        self.plans = 0

    @workflow.signal
    def ring(self) -> None:
        self.rung = True

    @workflow.run
    async def run(self, run: str) -> None:
        self.id = run
        self.plan = await local(RunActivities.begin, Claim(run, workflow.info().run_id))
        if not self.plan.carry:
            return
        self.phases = Phases(run)
        end = RunEnd(run, at())
        try:
            end = await self._carried_out()
        except StepCancelled as e:
            await self.phases.fail(e.detail)
            end = RunEnd(run, at(), error="cancelled", cancelled=True)
        except StacklyError as e:
            await self.phases.fail(e.detail)
            end = RunEnd(run, at(), error=e.detail)
        await local(RunActivities.finish, end)

    async def _carried_out(self) -> RunEnd:
        if self.plan.kind == "benchmark":
            return await self._benchmark()
        if self.plan.kind == "deploy":
            return await self._deploy()
        if self.plan.kind == "preview":
            return await self._preview()
        return await self._destroy()

    # -- benchmark ------------------------------------------------------------------------------------------------

    async def _benchmark(self) -> RunEnd:
        """Fan the tests out, a few at a time; their rows say which are open."""
        if self.plan.images:
            await self._images()
        while True:
            board = await local(RunActivities.board, self.id)
            for test in board.start:
                await self._start_test(test)
            if board.open == 0:
                return RunEnd(self.id, at(), cancelled=board.cancelled)
            await self._rung_or(LOOK_EVERY)

    async def _start_test(self, test: str) -> None:
        try:
            await workflow.start_child_workflow(
                "TestRun",
                args=[self.id, test],
                id=test_workflow_id(self.id, test),
                parent_close_policy=workflow.ParentClosePolicy.ABANDON,
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            )
        except WorkflowAlreadyStartedError:
            workflow.logger.info("the test is carried out already", extra={"test": test})

    async def _images(self) -> None:
        """What each image means is found once, and the image brought to the machine, before anything is made."""
        await self.phases.go("image")
        named = sorted(self.plan.images)
        found = [self.plan.images[image] or await self._appeared(n, image) for n, image in enumerate(named, 1)]
        for n, pinned in enumerate(found, 1):
            await self._pulled(n, pinned)
        await local(RunActivities.images_here, self.id)
        await self.phases.go("", "; ".join(f"{image} is {pinned}" for image, pinned in zip(named, found, strict=True)))

    async def _appeared(self, n: int, image: str) -> str:
        """Look until it is there. Raises: StepFailed past its time, or when the registry refuses; StepCancelled."""
        patience = within(self.plan.image_patience_s)
        wait = ImageWait(image, datetime.fromisoformat(self.plan.started), patience)
        seen: ImageOutcome | None = None
        looks = 0
        while True:
            await local(RunActivities.image_awaited, ImageAwaited(self.id, wait.said(seen, workflow.now())))
            # A look of another time is another look.
            seen = await self._step(f"image {n} {at()}", ImageOutcome, IMAGE_LOOK)
            if seen.status == "there":
                return await local(RunActivities.image_found, ImageFound(self.id, image, seen.pinned))
            wait.check(seen, workflow.now())
            looks += 1
            await self._rung_or(wait.pause(looks, workflow.now()))

    async def _pulled(self, n: int, pinned: str) -> None:
        await local(RunActivities.image_awaited, ImageAwaited(self.id, f"getting {pinned}"))
        await self._step(f"pull {n}", PullOutcome, IMAGE_PULL + IMAGE_PULL_ROOM)

    # -- deploy ---------------------------------------------------------------------------------------------------

    async def _deploy(self) -> RunEnd:
        self.plans = self.plan.plans - 1
        while True:
            await self.phases.go("plan")
            # A plan that is made anew is another step: asking for the same one would return the old outcome.
            self.plans += 1
            made = await self._step(f"plan {self.plans}", PlanOutcome)
            answer = await local(RunActivities.record_plan, PlanRecord(self.id, at(), made))
            if answer.answer == "unchanged":
                await self.phases.go("")
                return RunEnd(self.id, at(), changed=False)
            answer = await self._approved(answer)
            if answer.answer == "stop":
                raise StepCancelled(answer.reason)
            if answer.answer == "apply":
                return await self._applied()

    async def _approved(self, answer: GateAnswer) -> GateAnswer:
        """One gate transaction decides; while it says wait, a vote, a window or a cancel rings."""
        if answer.answer == "wait":
            await self.phases.go("approve")
        while answer.answer == "wait":
            await self._rung_or(within(answer.wait_s))
            answer = await local(RunActivities.gate, Boundary(self.id, "", at()))
        return answer

    async def _applied(self) -> RunEnd:
        await self.phases.go("apply")
        outcome = await self._step("apply", ApplyOutcome)
        await self.phases.go("outputs")
        await local(RunActivities.record_apply, ApplyRecord(self.id, at(), outcome.outputs))
        if outcome.fault:
            raise StepFailed(outcome.fault)
        await self.phases.go("")
        return RunEnd(self.id, at(), changed=True)

    async def _preview(self) -> RunEnd:
        """A plan, and nothing after it: what it says is judged when the run ends."""
        await self.phases.go("plan")
        self.plans = self.plan.plans
        made = await self._step(f"plan {self.plans}", PlanOutcome)
        answer = await local(RunActivities.record_plan, PlanRecord(self.id, at(), made))
        if answer.answer == "stop":
            raise StepCancelled(answer.reason)
        await self.phases.go("")
        return RunEnd(self.id, at(), changed=answer.answer != "unchanged")

    # -- destroy --------------------------------------------------------------------------------------------------

    async def _destroy(self) -> RunEnd:
        """Remove, destroy, verify. Remove comes first and needs no Terraform state."""
        if self.plan.removes:
            await self.phases.go("remove")
            await self._step("remove", RemoveOutcome)
        await self.phases.go("destroy")
        await self._step("destroy", DestroyOutcome)
        await self.phases.go("verify")
        answer = await self._verified()
        if not answer.empty:
            raise StepFailed("still there: " + ", ".join(answer.left[:10]))
        await self.phases.go("")
        return RunEnd(self.id, at(), changed=True)

    async def _verified(self) -> VerifyAnswer:
        answer = VerifyAnswer(empty=False, left=[])
        for look in range(1, VERIFY_TRIES + 1):
            seen = await self._step(f"inventory {look}", InventoryOutcome)
            answer = await local(RunActivities.verify, Verified(self.id, seen, destroyed=True))
            if answer.empty:
                return answer
            await workflow.sleep(VERIFY_PAUSE)
        return answer

    # -- steps ----------------------------------------------------------------------------------------------------

    async def _step(self, step: str, outcome: type[T], timeout: timedelta | None = None) -> T:
        """A step of the site agent, in the status that the run's row has."""
        place = Place(SITE_PICKUP, SITE_PATIENCE)
        timeout = timeout or within(self.plan.timeout_s)
        return await run_step(Asked(self.id, "", step), outcome, place=place, timeout=timeout)

    async def _rung_or(self, timeout: timedelta) -> None:
        try:
            await workflow.wait_condition(lambda: self.rung, timeout=timeout)
        except TimeoutError:
            return
        finally:
            self.rung = False
