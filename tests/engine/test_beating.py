"""A control worker that was killed under a sync or a sweep costs seconds; one that is slow is not given up."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from temporalio import activity
from temporalio.client import Client
from temporalio.worker import Worker

from stackly import ids
from stackly.control.worker import runner
from stackly.engine import beating as beats
from stackly.engine.activities.sweep import Sweeps
from stackly.engine.activities.sync import Sync
from stackly.engine.beating import beating
from stackly.engine.contracts.control import SyncPlan
from stackly.engine.workflows import results
from stackly.engine.workflows.sync import RepoSyncWorkflow

TIMEOUT = timedelta(seconds=2)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "BEAT_TIMEOUT", TIMEOUT)
    monkeypatch.setattr(beats, "BEAT_EVERY", timedelta(seconds=0.2))


async def _synced(client: Client, fetch: Any) -> None:
    queue = ids.new_id()
    worker = Worker(
        client, task_queue=queue, workflows=[RepoSyncWorkflow], activities=[fetch], workflow_runner=runner()
    )
    async with asyncio.timeout(60), worker:
        await client.execute_workflow("RepoSync", "r", id=queue, task_queue=queue)


async def test_an_attempt_whose_worker_died_is_tried_again_in_seconds(client: Client) -> None:
    attempts: list[int] = []

    @activity.defn(name="sync.fetch")
    async def fetch(_repo: str) -> SyncPlan:
        attempts.append(activity.info().attempt)
        if len(attempts) == 1:
            await asyncio.Event().wait()  # nothing is heard of it any more, as of a killed one
        return SyncPlan([])

    await _synced(client, fetch)
    assert attempts == [1, 2]


async def test_an_attempt_that_is_slow_is_not_given_up(client: Client) -> None:
    attempts: list[int] = []

    @activity.defn(name="sync.fetch")
    @beating
    async def fetch(_repo: str) -> SyncPlan:
        attempts.append(activity.info().attempt)
        await asyncio.sleep(TIMEOUT.total_seconds() * 2)  # what is tested is how long it takes
        return SyncPlan([])

    await _synced(client, fetch)
    assert attempts == [1]


@pytest.mark.parametrize("method", [Sync.fetch, Sync.process, Sweeps.slot, Sweeps.look])
async def test_every_activity_that_takes_long_beats(method: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = asyncio.Event()
    monkeypatch.setattr(activity, "in_activity", lambda: True)
    monkeypatch.setattr(activity, "heartbeat", heard.set)
    call = asyncio.ensure_future(method(_Hangs(), "repo/x"))
    try:
        await asyncio.wait_for(heard.wait(), 20)
    finally:
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)


class _Hangs:
    """Whatever is asked of it never comes back."""

    def __getattr__(self, _: str) -> Any:
        return self

    def __call__(self, *_: Any, **__: Any) -> Any:
        return self

    async def __aenter__(self) -> None:
        await asyncio.Event().wait()

    async def __aexit__(self, *_: object) -> None:
        """It is never entered."""

    def __await__(self) -> Any:
        return asyncio.Event().wait().__await__()
