"""A sweep: what no webhook told. Started by a schedule; what is due stands in rows."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from stackly.engine.contracts.sweep import SweepActivities, Swept
    from stackly.engine.workflows.results import remote_result
    from stackly.temporal.timings import SWEEP_RETRY, SWEEP_TIMEOUT

# The next tick goes on where this one stopped: a history must not grow with the number of repositories.
_SLOTS_MOST = 50


@workflow.defn(name="Sweep")
class SweepWorkflow:
    @workflow.run
    async def run(self, account: str) -> None:
        for _ in range(_SLOTS_MOST):
            swept: Swept = await remote_result(SweepActivities.slot, account, timeout=SWEEP_TIMEOUT, retry=SWEEP_RETRY)
            if not swept.more:
                return
