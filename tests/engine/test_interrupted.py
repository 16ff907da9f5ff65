"""`cancelled` means that somebody cancelled: an agent that is stopped, cut off or refused ends nothing by that."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from temporalio.api.failure.v1 import CanceledFailureInfo, Failure
from temporalio.api.workflowservice.v1 import RespondActivityTaskFailedByIdRequest

from stackly.runs.model import Run
from stackly.spec.runs import RunKind, RunStatus
from stackly.temporal.steps import run_workflow_id
from stackly.temporal.timings import RECOVERIES
from tests.engine.world import World, agents, control, dispatching


@pytest.fixture
async def platform(world: World) -> AsyncIterator[World]:
    async with control(world), agents(world), dispatching(world):
        yield world


async def _deployed(world: World) -> Run:
    run = await world.asked(1, RunKind.DEPLOY)
    return await world.ended(run.id)


@pytest.mark.parametrize("step", ["plan 1", "apply"])
async def test_a_deploy_outlives_more_polite_stops_than_deaths(platform: World, step: str) -> None:
    stops = RECOVERIES + 1
    platform.agent.faults.stopped[step] = stops
    ended = await _deployed(platform)
    assert (ended.status, ended.reason) == (RunStatus.SUCCEEDED, None)
    assert f"{step}#{stops + 1}" in platform.agent.done


@pytest.mark.parametrize("step", ["apply", "boot", "remove", "destroy", "inventory 1"])
async def test_a_benchmark_outlives_them_in_every_site_step(platform: World, step: str) -> None:
    platform.agent.faults.stopped[step] = RECOVERIES + 1
    run = await platform.asked(1)
    ended = await platform.ended(run.id)
    assert (ended.status, ended.verdict) == (RunStatus.SUCCEEDED, "pass")
    assert await platform.scalar("SELECT count(*) FROM operations WHERE status IN ('failed', 'cancelled')") == 0


async def test_deaths_are_still_counted(platform: World) -> None:
    """Negative control."""
    platform.agent.faults.gone["plan 1"] = RECOVERIES
    ended = await _deployed(platform)
    assert ended.status is RunStatus.FAILED
    assert f"{RECOVERIES} times" in (ended.reason or "")


async def test_a_run_whose_state_was_handed_over_fails_and_is_not_cancelled(platform: World) -> None:
    platform.agent.faults.hold["plan 1"] = gate = asyncio.Event()
    run = await platform.asked(1, RunKind.DEPLOY)

    async def planning() -> bool:
        return bool(await platform.scalar("SELECT count(*) FROM steps WHERE status <> 'expected' AND step = 'plan 1'"))

    await platform.until(planning)
    async with platform.transactions() as session:
        await session.execute(text("UPDATE stack_states SET epoch = epoch + 1 WHERE id = :s"), {"s": run.state})
    gate.set()
    ended = await platform.ended(run.id)
    assert ended.status is RunStatus.FAILED
    assert "epoch" in (ended.reason or "")


async def test_an_activity_that_a_stranger_calls_cancelled_cancels_nothing(platform: World) -> None:
    """Temporal's own kinds of failure need no seal, and mean nothing: the row says what became of the step."""
    platform.agent.faults.hold["plan 1"] = gate = asyncio.Event()
    run = await platform.asked(1, RunKind.DEPLOY)

    async def planning() -> bool:
        return await platform.begun("plan 1")

    await platform.until(planning)
    handle = platform.client.get_workflow_handle(run_workflow_id(run.id))
    [pending] = (await handle.describe()).raw_description.pending_activities
    await platform.client.workflow_service.respond_activity_task_failed_by_id(
        RespondActivityTaskFailedByIdRequest(
            namespace=platform.client.namespace,
            workflow_id=run_workflow_id(run.id),
            activity_id=pending.activity_id,
            failure=Failure(message="cancelled", canceled_failure_info=CanceledFailureInfo()),
        )
    )
    gate.set()
    ended = await platform.ended(run.id)
    assert (ended.status, ended.restarts) == (RunStatus.SUCCEEDED, 0)
    assert platform.agent.done == ["plan 1#1", "apply#1"]
