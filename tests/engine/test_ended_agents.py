"""An agent that is known to have ended costs its test seconds: nobody waits for its silence."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from stackly.events import store as events
from stackly.events.model import Bell
from stackly.runs.model import Run
from stackly.spec.runs import RunStatus
from tests.engine.world import World, agents, control, dispatching

WHY = "stopped by stackly down"


@pytest.fixture
async def platform(world: World) -> AsyncIterator[World]:
    async with control(world), agents(world), dispatching(world):
        yield world


async def _ends_in(platform: World, step: str) -> Run:
    """The machines' agent ends while the step runs; it never answers again."""
    platform.agent.faults.hold[step] = gate = asyncio.Event()
    run = await platform.asked(1)

    async def began() -> bool:
        return bool(
            await platform.scalar("SELECT count(*) FROM steps WHERE status <> 'expected' AND step = :step", step=step)
        )

    async def noticed() -> bool:
        return bool(await platform.scalar("SELECT count(*) FROM phases WHERE name = 'teardown'"))

    await platform.until(began)
    async with platform.transactions() as session:
        await session.execute(text("UPDATE agents SET status = 'gone', reason = :why"), {"why": WHY})
        await events.ring(session, Bell.TEST_RING, f"{run.id}/tpcb")
    await platform.until(noticed, seconds=30)
    gate.set()
    async with platform.transactions() as session:
        await session.execute(text("UPDATE agents SET status = 'online', reason = NULL"))
    return await platform.ended(run.id)


@pytest.mark.parametrize("step", ["database", "prepare", "warmup 1"])
async def test_a_test_whose_machines_ended_fails_with_that_reason_and_is_torn_down(platform: World, step: str) -> None:
    ended = await _ends_in(platform, step)
    assert ended.status is RunStatus.FAILED
    assert await platform.scalar("SELECT reasons FROM tests") == [WHY]
    assert await platform.scalar("SELECT status FROM tests") == "failed"
    assert await platform.scalar("SELECT count(*) FROM obligations WHERE status = 'open'") == 0


async def test_a_sample_that_ran_is_invalid_with_that_reason(platform: World) -> None:
    ended = await _ends_in(platform, "measure 1")
    assert (ended.status, ended.verdict) == (RunStatus.FAILED, "invalid")
    assert await platform.scalar("SELECT reasons FROM tests") == [WHY]
    assert await platform.scalar("SELECT reason FROM results WHERE NOT valid") == WHY
    assert await platform.scalar("SELECT count(*) FROM obligations WHERE status = 'open'") == 0
