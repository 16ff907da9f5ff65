"""E3: kill -9 of a real dispatcher between the commit and the dispatch: another starts exactly one workflow each."""

import asyncio
import os
import sys
from collections import Counter
from pathlib import Path

import pytest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from stackly import ids
from stackly.db import Transactions
from stackly.events import store as events
from stackly.events.model import Bell
from stackly.events.reads import rows
from stackly.temporal.steps import run_workflow_id
from tests.engine.dispatcher_process import HOLD

ROOT = Path(__file__).resolve().parents[2]
RUNS = 12


class Dispatcher:
    def __init__(self, database: str, temporal: Client, home: Path) -> None:
        self._environment = os.environ | {
            "STACKLY_HOME": str(home),
            "OWN_DATABASE": database,
            "OWN_TEMPORAL": temporal.service_client.config.target_host,
            "PYTHONPATH": str(ROOT),
        }

    async def start(self, kill_at: str = "") -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "tests.engine.dispatcher_process"),
            cwd=ROOT,
            env=self._environment | {"KILL_AT": kill_at},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )


async def _rung(transactions: Transactions) -> int:
    async with transactions() as session:
        [found] = await rows(session, "SELECT count(*) AS n FROM outbox WHERE kind = 'run-start'")
    return int(found["n"])


async def _started(client: Client, mark: str) -> Counter[str]:
    """How many executions each of our runs has, in all."""
    query = f"WorkflowId BETWEEN 'run/{mark}-' AND 'run/{mark}-z'"
    return Counter([w.id async for w in client.list_workflows(query)])


@pytest.mark.parametrize("kill_at", ["before", "after"])
async def test_killed_between_commit_and_dispatch_exactly_one_workflow(
    temporal: WorkflowEnvironment,
    client: Client,
    transactions: Transactions,
    database: str,
    tmp_path: Path,
    kill_at: str,
) -> None:
    mark = ids.new_id()
    runs = [f"{mark}-{n}" for n in range(RUNS)]
    dispatcher = Dispatcher(database, client, tmp_path)
    async with transactions() as session:
        for run in runs:
            await events.ring(session, Bell.RUN_START, run)
    victim = await dispatcher.start(kill_at)
    assert await asyncio.wait_for(victim.wait(), 120) == -9
    assert await _rung(transactions) == RUNS, "nothing was deleted that was not acted upon to its end"
    heirs = [await dispatcher.start() for _ in range(2)]
    try:
        async with asyncio.timeout(120):
            while await _rung(transactions):  # noqa: ASYNC110 - another process is awaited
                await asyncio.sleep(0.2)
        await asyncio.sleep(HOLD.total_seconds())  # whoever would start one twice does it now
        wanted = Counter([run_workflow_id(run) for run in runs])
        async with asyncio.timeout(30):  # visibility lags behind
            while await _started(client, mark) != wanted:  # noqa: ASYNC110 - another process is awaited
                await asyncio.sleep(0.2)
    finally:
        for heir in heirs:
            heir.kill()
            await heir.wait()
        for run in runs:
            await client.get_workflow_handle(run_workflow_id(run)).terminate()
