"""R8 and R9: Temporal loses its last two seconds, or stands still; the rows in Postgres say what was done."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from temporalio.api.enums.v1 import EventType

from stackly.control import reconciler
from stackly.control.dispatcher.carrying import Carrier, carrier
from stackly.db import Transactions
from stackly.engine.workflows import stepping
from stackly.ids import RunId
from stackly.runs.model import Run
from stackly.spec.runs import RunKind, RunStatus
from stackly.temporal.steps import HEARTBEAT_TIMEOUT, StepKey, run_workflow_id
from tests.engine import world as worlds
from tests.engine.devserver import DevServer
from tests.engine.rows import NIGHTLY
from tests.engine.world import World, agents, build, control, dispatching

pytestmark = pytest.mark.chaos

RUNS = 40 if NIGHTLY else 10
LOST_S = 2.0
SOON = 90


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[DevServer]:
    made = DevServer(tmp_path).start()
    yield made
    made.kill()


@pytest.fixture
async def own(server: DevServer, transactions: Transactions, monkeypatch: pytest.MonkeyPatch) -> World:
    """A world on a Temporal of its own, whose reconciler looks at rows that are a second old."""
    monkeypatch.setattr(reconciler, "YOUNG_S", 1.0)
    return await build(transactions, await server.client())


async def _load(world: World) -> list[Run]:
    """Deploys on states of their own, one every 0.3 s, and a benchmark in the middle."""
    world.agent.faults.takes["apply"] = 0.3
    made = []
    for n in range(RUNS):
        made.append(await world.asked(1, RunKind.DEPLOY, state=f"s{n}"))
        if n == RUNS // 2:
            made.append(await world.asked(1, RunKind.BENCHMARK))
        await asyncio.sleep(0.3)
    return made


async def _roll_back(server: DevServer) -> None:
    """What Temporal learns in the next two seconds is gone."""
    earlier = await asyncio.to_thread(server.copy)
    await asyncio.sleep(LOST_S)
    server.kill()
    server.put_back(earlier)
    server.start()
    await server.client()


async def _loaded_and_rolled_back(world: World, server: DevServer) -> list[Run]:
    loading = asyncio.create_task(_load(world))
    await asyncio.sleep(RUNS * 0.3 - LOST_S)
    await _roll_back(server)
    return await loading


def _twice(world: World) -> dict[StepKey, int]:
    return {key: count for key, count in world.agent.executed.items() if count > 1}


async def _lost(world: World, runs: list[Run]) -> list[RunId]:
    """Runs that are open in Postgres while Temporal has nothing that carries them out."""
    lost = []
    for run in runs:
        found = await carrier(world.client, run_workflow_id(run.id), "Run", timeout=HEARTBEAT_TIMEOUT)
        if found is not Carrier.CARRIES and not (await world.run(run.id)).is_terminal:
            lost.append(run.id)
    return lost


async def test_a_rolled_back_temporal_loses_no_run_and_applies_none_twice(own: World, server: DevServer) -> None:
    async with control(own), agents(own), dispatching(own):
        runs = await _loaded_and_rolled_back(own, server)
        ended = [await own.ended(run.id, seconds=SOON) for run in runs]
    assert Counter(run.status for run in ended) == {RunStatus.SUCCEEDED: RUNS + 1}
    assert _twice(own) == {}
    applied = Counter((key.run, key.test) for key in own.agent.executed if key.step == "apply")
    assert set(applied.values()) == {1}
    assert await own.scalar("SELECT count(*) FROM obligations WHERE status = 'open'") == 0


async def test_without_the_reconciler_runs_are_lost(own: World, server: DevServer) -> None:
    """Negative control."""
    async with control(own), agents(own), dispatching(own, reconciles=False):
        runs = await _loaded_and_rolled_back(own, server)

        async def nothing_rings() -> bool:
            return not await own.scalar("SELECT count(*) FROM outbox")

        await own.until(nothing_rings)
        assert await _lost(own, runs)


async def _back_to_the_first_sample(
    world: World, server: DevServer, monkeypatch: pytest.MonkeyPatch, *forgotten: Callable[[], Awaitable[None]]
) -> Run:
    """Temporal forgets that the first sample ended; the second is under way, and its phase is the same."""
    monkeypatch.setattr(worlds, "SUITE", worlds.SUITE.replace("repeats: 1", "repeats: 3"))
    faults, goes_on = world.agent.faults, asyncio.Event()
    faults.takes["measure 1"], faults.hold["measure 2"] = 1.0, goes_on
    run = await world.asked(1, RunKind.BENCHMARK)
    await world.until(lambda: world.begun("measure 1", run.id), seconds=SOON)
    earlier = await asyncio.to_thread(server.copy)
    await world.until(lambda: world.begun("measure 2", run.id), seconds=SOON)
    server.kill()
    for forget in forgotten:
        await forget()
    server.put_back(earlier)
    server.start()
    await server.client()
    goes_on.set()
    return run


async def test_a_sample_that_temporal_forgot_is_not_taken_twice(
    own: World, server: DevServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with control(own), agents(own), dispatching(own):
        run = await _back_to_the_first_sample(own, server, monkeypatch)
        ended = await own.ended(run.id, seconds=SOON)
    assert ended.status is RunStatus.SUCCEEDED
    assert _twice(own) == {}


async def test_without_step_rows_a_sample_is_taken_twice(
    own: World, server: DevServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: rows that know no more than Temporal does."""

    async def rows() -> None:
        async with own.transactions() as session:
            await session.execute(text("DELETE FROM steps"))

    async def again() -> bool:
        return any(key.step.startswith("measure") for key in _twice(own))

    async with control(own), agents(own), dispatching(own):
        await _back_to_the_first_sample(own, server, monkeypatch, rows)
        await own.until(again, seconds=SOON)


async def _timed_out(world: World, run: Run) -> bool:
    history: Any = await world.client.get_workflow_handle(run_workflow_id(run.id)).fetch_history()
    return any(event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT for event in history.events)


async def test_a_temporal_that_stood_still_has_nothing_applied_twice(
    own: World, server: DevServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The heartbeat is lost while the apply goes on; the outcome comes from the step's row."""
    patience = HEARTBEAT_TIMEOUT if NIGHTLY else HEARTBEAT_TIMEOUT / 6
    monkeypatch.setattr(stepping, "HEARTBEAT_TIMEOUT", patience)
    frozen = patience.total_seconds() * 2
    own.agent.faults.takes["apply"] = frozen * 1.5
    own.agent.faults.unheard.add("apply")
    async with control(own), agents(own), dispatching(own):
        run = await own.asked(1, RunKind.DEPLOY)

        async def applying() -> bool:
            return bool(await own.scalar("SELECT count(*) FROM steps WHERE status <> 'expected' AND step = 'apply'"))

        await own.until(applying)
        server.freeze()
        await asyncio.sleep(frozen)
        server.thaw()
        ended = await own.ended(run.id, seconds=SOON)
        timed_out = await _timed_out(own, run)
    assert ended.status is RunStatus.SUCCEEDED
    assert own.agent.done == ["plan 1#1", "apply#1"]
    assert timed_out, "Temporal never noticed that nobody beat"
