"""One workflow per repository: pushes are rings, git is the truth."""

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, CancelledError

with workflow.unsafe.imports_passed_through():
    from stackly.engine.contracts.control import RefChange, SyncActivities, SyncPlan
    from stackly.engine.workflows.results import remote_result
    from stackly.temporal.timings import SYNC_RETRY, SYNC_TIMEOUT


@workflow.defn(name="RepoSync")
class RepoSyncWorkflow:
    """Serialises and coalesces: however many rings arrive while a sync runs, one more sync follows."""

    def __init__(self) -> None:
        self.rung = False

    @workflow.signal
    def ring(self) -> None:
        self.rung = True

    @workflow.run
    async def run(self, repo: str) -> None:
        while True:
            self.rung = False
            plan: SyncPlan = await remote_result(SyncActivities.fetch, repo, timeout=SYNC_TIMEOUT, retry=SYNC_RETRY)
            for change in plan.changes:
                await self._process(change)
            if not self.rung:
                return

    async def _process(self, change: RefChange) -> None:
        """A ref that cannot be processed now stops no other; the next round finds it where it was."""
        try:
            await remote_result(SyncActivities.process, change, timeout=SYNC_TIMEOUT, retry=SYNC_RETRY)
        except (ActivityError, ApplicationError) as e:
            if isinstance(e.cause, CancelledError):
                raise
            workflow.logger.warning("A ref of repository %s is left for the next round: %s", change.repo, e.cause or e)
