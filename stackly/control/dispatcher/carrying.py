"""Who carries a row out, as Temporal has it, and whose doing it is when nobody does."""

from datetime import timedelta
from enum import StrEnum

from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from stackly.temporal.sealed import UNSEALED
from stackly.temporal.steps import CONTROL_QUEUE


class Carrier(StrEnum):
    CARRIES = "carries"
    STRANGER = "stranger"  # holds the id with a workflow of another kind, and carries nothing
    ENDED = "ended"  # failed or timed out by itself
    LOST = "lost"  # ended by somebody else, or unknown to Temporal


async def carrier(client: Client, workflow_id: str, kind: str, *, timeout: timedelta) -> Carrier:
    """Anybody on this machine may start, end, answer and delete workflows (TRUST: ids carry no authority).

    Raises: RPCError when Temporal does not answer.
    """
    handle = client.get_workflow_handle(workflow_id)
    try:
        found = await handle.describe(rpc_timeout=timeout)
    except RPCError as e:
        if e.status is RPCStatusCode.NOT_FOUND:
            return Carrier.LOST
        raise
    if found.close_time is None:
        ours = (found.workflow_type, found.task_queue) == (kind, CONTROL_QUEUE)
        return Carrier.CARRIES if ours else Carrier.STRANGER
    if found.status is WorkflowExecutionStatus.TIMED_OUT:
        return Carrier.ENDED
    if found.status is WorkflowExecutionStatus.FAILED:
        return await _failed(handle, timeout)
    return Carrier.LOST  # a workflow of ours ends its row before it completes


async def _failed(handle: WorkflowHandle[object, object], timeout: timedelta) -> Carrier:
    """By its own failure, which it sealed; or by one that a stranger wrote, or caused by what it sent."""
    try:
        await handle.result(follow_runs=False, rpc_timeout=timeout)
    except WorkflowFailureError as e:
        unsealed = isinstance(e.cause, ApplicationError) and e.cause.type == UNSEALED
        return Carrier.LOST if unsealed else Carrier.ENDED
    return Carrier.LOST
