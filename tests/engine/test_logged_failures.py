"""What Temporal's own library logs of a failed attempt: one line where it was foreseen, a trace where it was not."""

import asyncio
import errno
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from temporalio import activity
from temporalio.client import Client
from temporalio.worker import Worker

from stackly import ids
from stackly.control.worker import runner
from stackly.engine import process
from stackly.engine.contracts.control import SyncPlan
from stackly.engine.failures import tell_all
from stackly.engine.workflows.sync import RepoSyncWorkflow
from stackly.errors import Denied, Unavailable
from stackly.settings import Settings


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[io.StringIO]:
    """Logging as a process of the engine sets it up."""
    root, said = logging.getLogger(), io.StringIO()
    handlers, level, shape = root.handlers[:], root.level, structlog.get_config()
    monkeypatch.setenv("STACKLY_HOME", str(tmp_path))
    monkeypatch.setattr(Settings, "load", lambda _: SimpleNamespace(log_level="INFO"))
    monkeypatch.setattr("sys.stderr", said)
    process.settings_of("control")
    yield said
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**shape)
    structlog.contextvars.clear_contextvars()


def _line(logged: io.StringIO) -> dict[str, Any]:
    (line,) = [json.loads(said) for said in logged.getvalue().splitlines() if "as failed" in said]
    return dict(line)


async def _failing_once(client: Client, error: Exception) -> None:
    queue = ids.new_id()

    @tell_all
    class Syncs:
        @activity.defn(name="sync.fetch")
        async def fetch(self, _repo: str) -> SyncPlan:
            if activity.info().attempt == 1:
                raise error
            return SyncPlan([])

    worker = Worker(
        client, task_queue=queue, workflows=[RepoSyncWorkflow], activities=[Syncs().fetch], workflow_runner=runner()
    )
    async with asyncio.timeout(60), worker:
        await client.execute_workflow("RepoSync", "r", id=queue, task_queue=queue)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Unavailable("Postgres is away;\nit is tried again."), "Postgres is away; it is tried again."),
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
    ],
)
async def test_a_foreseen_failure_is_one_line(
    client: Client, logged: io.StringIO, error: Exception, reason: str
) -> None:
    await _failing_once(client, error)
    line = _line(logged)
    assert reason in line["event"]
    assert "exception" not in line


@pytest.mark.parametrize("made_of", [None, Denied("no")])
async def test_what_nobody_foresaw_keeps_its_trace(
    client: Client, logged: io.StringIO, made_of: Exception | None
) -> None:
    """Also where one of ours led to it."""
    error = KeyError("x")
    error.__cause__ = made_of
    await _failing_once(client, error)
    line = _line(logged)
    assert "KeyError" in line["exception"]
