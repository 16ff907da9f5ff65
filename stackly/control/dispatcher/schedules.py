"""Temporal's schedules: made when they are missing, changed when the settings changed, by any number of dispatchers."""

from datetime import timedelta

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.service import RPCError, RPCStatusCode

from stackly import log
from stackly.control.dispatcher import bells
from stackly.engine.contracts.sweep import sweep_schedule_id
from stackly.temporal.steps import CONTROL_QUEUE

_log = log.get("engine")

# A tick takes what is due by its row: it is short beside the time between two looks at one repository.
TICKS = 5
TICK_LONGEST = timedelta(seconds=60)
TICK_SHORTEST = timedelta(seconds=1)


def sweep_schedule(account: str, every: timedelta) -> Schedule:
    """One schedule for all repositories. Units: `every` between two looks at one of them."""
    tick = max(min(every / TICKS, TICK_LONGEST), TICK_SHORTEST)
    return Schedule(
        action=ScheduleActionStartWorkflow(
            "Sweep", account, id=sweep_schedule_id(account), task_queue=CONTROL_QUEUE, run_timeout=timedelta(hours=1)
        ),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=tick)], jitter=tick / 4),
        # A sweep that takes long is not joined by another; ticks that were missed are worth one look, not many.
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=timedelta(seconds=10)),
    )


async def ensure_sweep(client: Client, account: str, every: timedelta) -> None:
    """The schedule as it should be, also after Temporal lost it. Raises: RPCError when Temporal does not answer."""
    wanted = sweep_schedule(account, every)
    handle = client.get_schedule_handle(sweep_schedule_id(account))
    try:
        found = await handle.describe(rpc_timeout=bells.DEADLINE)
    except RPCError as e:
        if e.status is not RPCStatusCode.NOT_FOUND:
            raise
        await _create(client, account, wanted)
        return
    if _does(found.schedule) == _does(wanted):
        return

    def change(_: ScheduleUpdateInput) -> ScheduleUpdate:
        return ScheduleUpdate(wanted)

    await handle.update(change, rpc_timeout=bells.DEADLINE)
    _log.info("schedule.changed", schedule=sweep_schedule_id(account))


def _does(schedule: Schedule) -> list[object]:
    """What a stranger on Temporal's port, or an earlier release, may have made another: a pause stops all sweeps."""
    action, spec, state = schedule.action, schedule.spec, schedule.state
    starts = [getattr(action, name, None) for name in ("workflow", "id", "task_queue", "run_timeout")]
    return [*starts, spec.intervals, spec.jitter, schedule.policy, state.paused, state.limited_actions]


async def _create(client: Client, account: str, wanted: Schedule) -> None:
    try:
        await client.create_schedule(sweep_schedule_id(account), wanted, rpc_timeout=bells.DEADLINE)
    except ScheduleAlreadyRunningError:  # another dispatcher was first
        return
    _log.info("schedule.created", schedule=sweep_schedule_id(account))
