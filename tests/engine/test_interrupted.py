"""`cancelled` means that somebody cancelled: an agent that is stopped, cut off or refused ends nothing by that."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from stackly.engine.contracts.timings import RECOVERIES
from stackly.runs.model import Run, RunKind, RunStatus
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
