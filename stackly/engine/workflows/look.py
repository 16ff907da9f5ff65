"""One look at a repository or an installation, because a webhook said that it changed."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from stackly.engine.contracts.sweep import SweepActivities
    from stackly.engine.workflows.results import remote_result
    from stackly.temporal.timings import SYNC_RETRY, SYNC_TIMEOUT


@workflow.defn(name="Look")
class LookWorkflow:
    """Serialises and coalesces, as a repository's sync does: however many rings come, one more look follows."""

    def __init__(self) -> None:
        self.rung = False

    @workflow.signal
    def ring(self) -> None:
        self.rung = True

    @workflow.run
    async def run(self, about: str) -> None:
        while True:
            self.rung = False
            await remote_result(SweepActivities.look, about, timeout=SYNC_TIMEOUT, retry=SYNC_RETRY)
            if not self.rung:
                return
