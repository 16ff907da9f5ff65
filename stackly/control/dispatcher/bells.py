"""Acting on doorbells: start or signal the workflow whose id is the noun's id. Never anything else."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta

from temporalio.client import Client
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from stackly.control.dispatcher.carrying import Carrier, carrier
from stackly.engine.contracts.sweep import look_workflow_id
from stackly.events.model import Bell
from stackly.temporal.steps import CONTROL_QUEUE, run_workflow_id, sync_workflow_id, test_workflow_id

# Starts and signals only, and none may block the others (engine rule 20).
DEADLINE = timedelta(seconds=2)

Act = Callable[[Client, str], Awaitable[None]]


async def sync_repo(client: Client, repo: str) -> None:
    await _ring_or_start(client, "RepoSync", repo, sync_workflow_id(repo))


async def look_at(client: Client, about: str) -> None:
    await _ring_or_start(client, "Look", about, look_workflow_id(about))


async def _ring_or_start(client: Client, kind: str, about: str, workflow_id: str) -> None:
    """No row is behind it for a reconciler to compare: a stranger's workflow of that id, which heard it, gives way."""
    await _start_ringing(client, kind, about, workflow_id)
    if await carrier(client, workflow_id, kind, timeout=DEADLINE) is Carrier.STRANGER:
        await terminate(client, workflow_id)
        await _start_ringing(client, kind, about, workflow_id)


async def _start_ringing(client: Client, kind: str, about: str, workflow_id: str) -> None:
    await client.start_workflow(
        kind, about, id=workflow_id, task_queue=CONTROL_QUEUE, start_signal="ring", rpc_timeout=DEADLINE
    )


async def terminate(client: Client, workflow_id: str) -> None:
    try:
        await client.get_workflow_handle(workflow_id).terminate("its row asks for another", rpc_timeout=DEADLINE)
    except RPCError as e:
        if e.status is not RPCStatusCode.NOT_FOUND:
            raise


async def look_at_repo(client: Client, repo: str) -> None:
    await look_at(client, f"repo/{repo}")


async def look_at_installation(client: Client, key: str) -> None:
    await look_at(client, f"installation/{key}")


async def start_run(client: Client, run: str, *, again: bool = False) -> None:
    """Only the reconciler may reuse a closed id (engine rule 3)."""
    policy = WorkflowIDReusePolicy.ALLOW_DUPLICATE if again else WorkflowIDReusePolicy.REJECT_DUPLICATE
    try:
        await client.start_workflow(
            "Run",
            run,
            id=run_workflow_id(run),
            task_queue=CONTROL_QUEUE,
            id_reuse_policy=policy,
            rpc_timeout=DEADLINE,
        )
    except WorkflowAlreadyStartedError:
        return


async def start_test(client: Client, run: str, test: str) -> None:
    """For the reconciler: a test whose workflow Temporal lost."""
    try:
        await client.start_workflow(
            "TestRun",
            args=[run, test],
            id=test_workflow_id(run, test),
            task_queue=CONTROL_QUEUE,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            rpc_timeout=DEADLINE,
        )
    except WorkflowAlreadyStartedError:
        return


async def ring_run(client: Client, run: str) -> None:
    await _signal(client, run_workflow_id(run))


async def ring_test(client: Client, key: str) -> None:
    run, _, test = key.partition("/")
    await _signal(client, test_workflow_id(run, test))


async def _signal(client: Client, workflow_id: str) -> None:
    """Nobody there to hear is fine: whoever is started from the row reads the row."""
    try:
        await client.get_workflow_handle(workflow_id).signal("ring", rpc_timeout=DEADLINE)
    except RPCError as e:
        if e.status is not RPCStatusCode.NOT_FOUND:
            raise


ACTS: Mapping[str, Act] = {
    Bell.REPO_SYNC: sync_repo,
    Bell.RUN_START: start_run,
    Bell.RUN_RING: ring_run,
    Bell.TEST_RING: ring_test,
    Bell.REPO_LOOK: look_at_repo,
    Bell.INSTALLATION_LOOK: look_at_installation,
}
