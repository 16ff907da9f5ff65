"""A sweep: what no webhook told. Started by a schedule; what is due stands in rows."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from stackly.engine.contracts.sweep import SweepActivities, Swept
    from stackly.engine.contracts.timings import SWEEP_RETRY, SWEEP_TIMEOUT

# The next tick goes on where this one stopped: a history must not grow with the number of repositories.
_SLOTS_MOST = 50


@workflow.defn(name="Sweep")
class SweepWorkflow:
    @workflow.run
    async def run(self, account: str) -> None:
        for _ in range(_SLOTS_MOST):
            swept: Swept = await workflow.execute_activity_method(
                SweepActivities.slot, account, start_to_close_timeout=SWEEP_TIMEOUT, retry_policy=SWEEP_RETRY
            )
            if not swept.more:
                return
