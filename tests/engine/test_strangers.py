"""A run, and a client of Temporal's port that has no key and ends, squats or starts its workflow: it costs time."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from sqlalchemy import text
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.client import Client
from temporalio.service import RPCError

from stackly.control.dispatcher import bells
from stackly.engine.contracts.sweep import look_workflow_id
from stackly.runs.model import Run
from stackly.spec.runs import RunStatus
from stackly.temporal.steps import CONTROL_QUEUE, run_workflow_id, sync_workflow_id
from tests.engine.world import World, agents, control, dispatching


@pytest.fixture
async def platform(world: World) -> AsyncIterator[World]:
    async with control(world), agents(world), dispatching(world, reconcile_every=0.2):
        yield world


@pytest.fixture
async def stranger(world: World) -> Client:
    return await Client.connect(world.client.service_client.config.target_host, namespace=world.client.namespace)


@pytest.mark.parametrize("queue", ["nobody", CONTROL_QUEUE])
@pytest.mark.parametrize(
    ("ring", "workflow_id"),
    [
        (bells.sync_repo, sync_workflow_id("r1")),
        (bells.look_at_repo, look_workflow_id("repo/r1")),
        (bells.look_at_installation, look_workflow_id("installation/r1")),
    ],
)
async def test_a_ring_that_a_squatter_heard_starts_ours(
    world: World, stranger: Client, ring: bells.Act, workflow_id: str, queue: str
) -> None:
    kind = "RepoSync" if queue == "nobody" else "Evil"
    await stranger.start_workflow(kind, "evil", id=workflow_id, task_queue=queue)
    await ring(world.client, "r1")
    found = await world.client.get_workflow_handle(workflow_id).describe()
    try:
        assert found.close_time is None
        assert (found.workflow_type, found.task_queue) != (kind, queue)
        assert found.task_queue == CONTROL_QUEUE
    finally:
        await world.client.get_workflow_handle(workflow_id).terminate()


_AGED = text("UPDATE operations SET since = since - make_interval(mins => 1) WHERE id = :r")
Attack = Callable[[Client, str], Awaitable[None]]


async def _terminates(stranger: Client, workflow_id: str) -> None:
    await stranger.get_workflow_handle(workflow_id).terminate("evil")


async def _cancels(stranger: Client, workflow_id: str) -> None:
    await stranger.get_workflow_handle(workflow_id).cancel()


async def _deletes(stranger: Client, workflow_id: str) -> None:
    await stranger.workflow_service.delete_workflow_execution(
        DeleteWorkflowExecutionRequest(
            namespace=stranger.namespace, workflow_execution=WorkflowExecution(workflow_id=workflow_id)
        )
    )


async def _squats(stranger: Client, workflow_id: str) -> None:
    """Its id, held by a workflow that nobody serves."""
    await _terminates(stranger, workflow_id)
    with contextlib.suppress(RPCError):
        await stranger.start_workflow("Run", "evil", id=workflow_id, task_queue="nobody")


async def _starts_plainly(stranger: Client, workflow_id: str) -> None:
    await _terminates(stranger, workflow_id)
    with contextlib.suppress(RPCError):
        await stranger.start_workflow("Run", "evil", id=workflow_id, task_queue=CONTROL_QUEUE)


async def _executions(world: World, run: Run) -> str | None:
    """The workflow run that carries it now, as the row says."""
    found: str | None = await world.scalar("SELECT execution FROM operations WHERE id = :r", r=run.id)
    return found


@pytest.mark.parametrize("attack", [_terminates, _cancels, _deletes, _squats, _starts_plainly])
async def test_whatever_ends_its_workflow_a_run_is_carried_on_uncounted(
    platform: World, stranger: Client, attack: Attack
) -> None:
    platform.agent.faults.hold["measure 1"] = gate = asyncio.Event()
    run = await platform.asked(1)

    async def measuring() -> bool:
        return bool(
            await platform.scalar("SELECT count(*) FROM steps WHERE status <> 'expected' AND step = 'measure 1'")
        )

    await platform.until(measuring)
    async with platform.transactions() as session:  # old enough for the reconciler
        await session.execute(_AGED, {"r": run.id})
    for _ in range(5):
        before = await _executions(platform, run)

        async def carried_anew(before: str | None = before) -> bool:
            return await _executions(platform, run) not in {None, before}

        await attack(stranger, run_workflow_id(run.id))
        await platform.until(carried_anew)
    gate.set()
    ended = await platform.ended(run.id)
    assert (ended.status, ended.reason, ended.restarts) == (RunStatus.SUCCEEDED, None, 0)
