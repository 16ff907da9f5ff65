"""A home of the earlier release, with a run in flight: its open workflows are started anew from their rows."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from temporalio import workflow
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from stackly.control import reconciler
from stackly.engine.activities.runs import Runs
from stackly.engine.contracts.control import Claim
from stackly.runs.model import Run
from stackly.spec.runs import RunKind, RunStatus
from stackly.temporal.steps import CONTROL_QUEUE, run_workflow_id, site_queue
from tests.engine.pretending import AGENT
from tests.engine.world import World, agents, control, dispatching

with workflow.unsafe.imports_passed_through():
    from temporalio.common import RetryPolicy


@workflow.defn(name="Run")
class Earlier:
    """As the earlier release began: its step was a message with everything in it."""

    @workflow.run
    async def run(self, run: str) -> None:
        claim = Claim(run, workflow.info().run_id)
        soon = timedelta(seconds=20)
        await workflow.execute_local_activity("run.begin", claim, start_to_close_timeout=soon)
        await workflow.execute_activity(
            "site.plan",
            {"key": {"run": run}},
            task_queue=site_queue(AGENT),
            start_to_close_timeout=timedelta(hours=1),
            retry_policy=RetryPolicy(maximum_attempts=1),
        )

    @workflow.signal
    def ring(self) -> None:
        return


@asynccontextmanager
async def earlier_control(world: World) -> AsyncIterator[None]:
    runs = Runs(world.transactions, world.dispatch.book)
    worker = Worker(
        world.client,
        task_queue=CONTROL_QUEUE,
        workflows=[Earlier],
        activities=[runs.begin],
        workflow_runner=UnsandboxedWorkflowRunner(),
    )
    async with worker:
        yield


async def _earlier(world: World, *changes: str) -> Run:
    """A deploy that the earlier release took on, and what else it had written."""
    async with earlier_control(world), dispatching(world, reconciles=False):
        run = await world.asked(1, RunKind.DEPLOY)

        async def planning() -> bool:
            return (await world.run(run.id)).status is RunStatus.PLANNING

        await world.until(planning)
    async with world.transactions() as session:
        for change in ("UPDATE operations SET ways = 1", *changes):
            await session.execute(text(change), {"r": run.id, "a": AGENT} if ":r" in change else {})
    return await world.run(run.id)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciler, "YOUNG_S", 0.0)


async def _ended(world: World, run: Run) -> Run:
    async with control(world), agents(world), dispatching(world):
        return await world.ended(run.id)


BEGUN = (
    "INSERT INTO steps (operation, test, step, attempt, epoch, agent, process, status)"
    " SELECT id, '', 'plan 1', 1, epoch, :a, 'of the earlier release', 'running' FROM operations WHERE id = :r"
)
LET_THROUGH = (
    "UPDATE operations SET status = 'applying', spec = spec || jsonb_build_object('plan', jsonb_build_object("
    "'plan_sha256', repeat('p', 64), 'serial', 0, 'lineage', 'l', 'summary', jsonb_build_array())) WHERE id = :r"
)
PLANNED = (
    "INSERT INTO steps (operation, test, step, attempt, epoch, agent, process, status, outcome)"
    " SELECT id, '', 'plan 1', 1, epoch, :a, 'x', 'done', jsonb_build_object('ok', true, 'value', jsonb_build_object("
    "'create', 1, 'update', 0, 'delete', 0, 'changed', true, 'plan_sha256', repeat('p', 64), 'lock_sha256', '',"
    " 'serial', 0, 'lineage', 'l', 'summary', jsonb_build_array(), 'terraform_version', '1.11.4'))"
    " FROM operations WHERE id = :r"
)


async def test_an_open_workflow_is_started_anew_and_that_is_not_counted(world: World) -> None:
    ended = await _ended(world, await _earlier(world))
    assert (ended.status, ended.restarts) == (RunStatus.SUCCEEDED, 0)
    assert world.agent.done == ["plan 1#1", "apply#1"]


async def test_a_step_that_was_begun_without_an_input_is_recovered(world: World) -> None:
    """Its agent went with the release: the next life says so."""
    run = await _earlier(world, BEGUN)
    await world.agent.die(AGENT)
    ended = await _ended(world, run)
    assert (ended.status, ended.restarts) == (RunStatus.SUCCEEDED, 0)
    assert world.agent.done == ["plan 1#2", "apply#1"]


async def test_a_plan_that_was_let_through_before_is_applied(world: World) -> None:
    ended = await _ended(world, await _earlier(world, PLANNED, LET_THROUGH))
    assert (ended.status, ended.restarts) == (RunStatus.SUCCEEDED, 0)
    assert world.agent.done == ["apply#1"]


async def test_without_the_dispatchers_look_it_ends_by_itself_and_does_not_hang(world: World) -> None:
    """engine rule 19: its next task fails it, and its row may be started anew."""
    run = await _earlier(world)
    handle: Any = world.client.get_workflow_handle(run_workflow_id(run.id))

    async def failed() -> bool:
        return bool((await handle.describe()).status.name == "FAILED")

    async with control(world):
        await handle.signal("ring")
        await world.until(failed)
