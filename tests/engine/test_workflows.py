"""Runs carried out for real by the dispatcher, the control worker and Temporal; only the agents pretend."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from sqlalchemy import text

from stackly.engine.contracts.site import InventoryItem
from stackly.runs import service
from stackly.spec.runs import RunKind, RunStatus
from tests.engine.world import World, agents, control, dispatching


@pytest.fixture
async def platform(world: World) -> AsyncIterator[World]:
    async with control(world), agents(world), dispatching(world):
        yield world


async def test_a_benchmark_reaches_its_verdict_and_leaves_nothing(platform: World) -> None:
    run = await platform.ask(1)
    assert run is not None
    ended = await platform.ended(run.id)
    assert (ended.status, ended.verdict, ended.reason) == (RunStatus.SUCCEEDED, "pass", None)
    phases = await platform.scalar(
        "SELECT array_agg(name ORDER BY started_at, name) FROM phases WHERE operation = :r AND test = 'tpcb'", r=run.id
    )
    assert set(phases) >= {"reserve", "provision", "enrol", "database", "install", "prepare", "warmup", "measure"}
    assert {"collect", "compare", "teardown", "verify"} <= set(phases)
    assert await platform.scalar("SELECT count(*) FROM phases WHERE status <> 'succeeded'") == 0
    assert await platform.scalar("SELECT count(*) FROM leases WHERE released_at IS NULL") == 0
    assert await platform.scalar("SELECT count(*) FROM obligations WHERE status = 'open'") == 0


async def test_a_failing_step_fails_the_test_and_tears_down(platform: World) -> None:
    platform.agent.faults.fail["prepare"] = "disk full"
    run = await platform.ask(1)
    assert run is not None
    ended = await platform.ended(run.id)
    assert ended.status is RunStatus.FAILED
    assert "disk full" in (ended.reason or "")
    assert await platform.scalar("SELECT status FROM phases WHERE test = 'tpcb' AND name = 'prepare'") == "failed"
    assert "destroy#1" in platform.agent.done
    assert await platform.scalar("SELECT count(*) FROM obligations WHERE status = 'open'") == 0


async def test_a_lost_measurement_is_invalid_and_never_repeated(platform: World) -> None:
    platform.agent.faults.gone["measure 1"] = 1
    run = await platform.ask(1)
    assert run is not None
    ended = await platform.ended(run.id)
    assert (ended.status, ended.verdict) == (RunStatus.FAILED, "invalid")
    assert await platform.scalar("SELECT count(*) FROM steps WHERE step LIKE 'measure%'") == 1
    assert await platform.scalar("SELECT count(*) FROM obligations WHERE status = 'open'") == 0


async def test_a_site_agent_that_died_in_apply_is_recovered(platform: World) -> None:
    platform.agent.faults.gone["apply"] = 2
    run = await platform.ask(1)
    assert run is not None
    ended = await platform.ended(run.id)
    assert ended.status is RunStatus.SUCCEEDED
    assert platform.agent.done.count("apply#3") == 1


async def test_cancel_in_the_middle_of_the_load_tears_down(platform: World) -> None:
    platform.agent.faults.hold["measure 1"] = gate = asyncio.Event()
    run = await platform.ask(1)
    assert run is not None

    async def measuring() -> bool:
        return bool(
            await platform.scalar("SELECT count(*) FROM steps WHERE status <> 'expected' AND step = 'measure 1'")
        )

    await platform.until(measuring)
    async with platform.transactions() as session:
        await service.cancel(session, platform.account, run.id, actor="ada")
    platform.agent.faults.fail["measure 1"] = "stopped"
    gate.set()
    ended = await platform.ended(run.id)
    assert ended.status is RunStatus.CANCELLED
    assert await platform.scalar("SELECT count(*) FROM obligations WHERE status = 'open'") == 0


async def test_leftovers_keep_the_obligation_open_until_they_are_gone(
    platform: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stackly.engine.workflows.run.VERIFY_PAUSE", timedelta(milliseconds=50))
    platform.agent.faults.left.append(InventoryItem("process", "4711", "r", "tpcb"))
    run = await platform.ask(1)
    assert run is not None

    async def stuck() -> bool:
        return bool(await platform.scalar("SELECT count(*) FROM obligations WHERE ladder > 0"))

    await platform.until(stuck)
    assert not (await platform.run(run.id)).is_terminal
    platform.agent.faults.left.clear()
    async with platform.transactions() as session:
        await session.execute(text("UPDATE obligations SET due_at = clock_timestamp()"))
    ended = await platform.ended(run.id)
    assert (ended.status, ended.verdict) == (RunStatus.SUCCEEDED, "pass")


async def test_a_deploy_goes_through_its_gate_and_a_destroy_undoes_it(platform: World) -> None:
    run = await platform.ask(1, RunKind.DEPLOY)
    assert run is not None
    ended = await platform.ended(run.id)
    assert ended.status is RunStatus.SUCCEEDED
    names = await platform.scalar(
        "SELECT array_agg(name ORDER BY started_at) FROM phases WHERE operation = :r", r=run.id
    )
    assert names == ["plan", "apply", "outputs"]
    assert await platform.scalar("SELECT status FROM stack_states WHERE name = 'default'") == "active"


async def test_a_newer_push_supersedes_the_waiting_one(platform: World) -> None:
    platform.agent.faults.hold["apply"] = gate = asyncio.Event()
    first = await platform.ask(1)
    assert first is not None

    async def applying() -> bool:
        return bool(await platform.scalar("SELECT count(*) FROM steps WHERE status <> 'expected' AND step = 'apply'"))

    await platform.until(applying)
    second, third = await platform.ask(2), await platform.ask(3)
    assert second is not None
    assert third is not None
    gate.set()
    assert (await platform.ended(third.id)).status is RunStatus.SUCCEEDED
    assert (await platform.run(first.id)).status is RunStatus.SUCCEEDED
    assert (await platform.run(second.id)).status is RunStatus.SUPERSEDED
    assert await platform.ask(3) is None, "the same cause makes no second run"
