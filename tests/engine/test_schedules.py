"""The sweep's schedule: one, whoever makes it; as the settings say; and it starts the sweep."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from stackly import ids
from stackly.control.dispatcher.schedules import TICK_LONGEST, ensure_sweep, sweep_schedule
from stackly.control.worker import runner
from stackly.engine.contracts.sweep import sweep_schedule_id
from stackly.engine.workflows.sweep import SweepWorkflow
from stackly.temporal.steps import CONTROL_QUEUE
from tests.engine.test_replay import PretendSweeps


@pytest.fixture
def account() -> str:
    return ids.new_id()


@pytest.mark.parametrize(
    ("every", "tick"), [(300.0, TICK_LONGEST), (50.0, timedelta(seconds=10)), (0.5, timedelta(seconds=1))]
)
def test_a_tick_is_short_beside_the_time_between_two_looks(every: float, tick: timedelta) -> None:
    spec = sweep_schedule("a", timedelta(seconds=every)).spec
    assert spec.intervals[0].every == tick
    assert spec.jitter == tick / 4


async def test_dispatchers_that_start_together_make_one_schedule_and_a_changed_setting_changes_it(
    client: Client, account: str
) -> None:
    handle = client.get_schedule_handle(sweep_schedule_id(account))
    try:
        await asyncio.gather(*(ensure_sweep(client, account, timedelta(hours=10)) for _ in range(4)))
        assert (await handle.describe()).schedule.spec.intervals[0].every == TICK_LONGEST
        await ensure_sweep(client, account, timedelta(seconds=100))
        assert (await handle.describe()).schedule.spec.intervals[0].every == timedelta(seconds=20)
        await handle.delete()  # as if Temporal had lost it
        await ensure_sweep(client, account, timedelta(seconds=100))
        assert (await handle.describe()).schedule.spec.intervals[0].every == timedelta(seconds=20)
    finally:
        await handle.delete()
    with pytest.raises(RPCError):
        await handle.describe()


def _evil(schedule: Schedule) -> None:
    schedule.action = ScheduleActionStartWorkflow("Evil", id="evil", task_queue="nobody")


def _never(schedule: Schedule) -> None:
    schedule.spec = ScheduleSpec()


def _paused(schedule: Schedule) -> None:
    schedule.state.paused = True


def _used_up(schedule: Schedule) -> None:
    schedule.state.limited_actions, schedule.state.remaining_actions = True, 0


@pytest.mark.parametrize("spoil", [_evil, _never, _paused, _used_up])
async def test_a_schedule_that_sweeps_nothing_is_put_right(
    client: Client, account: str, spoil: Callable[[Schedule], None]
) -> None:
    every, handle = timedelta(hours=10), client.get_schedule_handle(sweep_schedule_id(account))
    await ensure_sweep(client, account, every)
    try:
        good = (await handle.describe()).schedule

        def change(given: ScheduleUpdateInput) -> ScheduleUpdate:
            spoil(given.description.schedule)
            return ScheduleUpdate(given.description.schedule)

        await handle.update(change)
        spoilt = (await handle.describe()).schedule
        await ensure_sweep(client, account, every)
        right = (await handle.describe()).schedule
    finally:
        await handle.delete()
    for one in (good, spoilt, right):  # sealed anew each time
        if isinstance(one.action, ScheduleActionStartWorkflow):
            one.action.args = []
    assert right == good != spoilt


async def test_the_schedule_starts_sweeps(temporal: WorkflowEnvironment, client: Client, account: str) -> None:
    sweeps = PretendSweeps()
    handle = client.get_schedule_handle(sweep_schedule_id(account))
    with temporal.with_time_skipping_disabled():
        await ensure_sweep(client, account, timedelta(seconds=1))
        try:
            async with Worker(
                client,
                task_queue=CONTROL_QUEUE,
                workflows=[SweepWorkflow],
                activities=[sweeps.slot],
                workflow_runner=runner(),
            ):
                async with asyncio.timeout(60):
                    while sweeps.slots < 4:  # noqa: ASYNC110 - a plain counter; three of the first sweep, then another
                        await asyncio.sleep(0.1)
        finally:
            await handle.delete()
