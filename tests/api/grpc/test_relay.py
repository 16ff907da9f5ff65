"""Temporal's calls through the gateway: what an agent may not do by them."""

import asyncio
from typing import Any

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import TaskQueueKind
from temporalio.api.workflowservice.v1 import request_response_pb2 as messages
from temporalio.client import Client, WorkflowExecutionStatus

from agent.gateway import Identity
from stackly.api.grpc.relay import SERVICE
from stackly.api.grpc.tokens import TaskTokens
from stackly.ids import new_id
from stackly.temporal.steps import CONTROL_QUEUE, edge_queue, site_queue, teardown_queue
from tests.api.grpc.conftest import Doors
from tests.api.grpc.relaying import Line, line, poll, until
from tests.api.grpc.rows import World, make_world, sql

DENIED = "PERMISSION_DENIED"
NAMESPACE = "default"


async def _polls(relayed: Doors, opened: Line, request: messages.PollActivityTaskQueueRequest) -> bool:
    """Whether the poll is passed on; then it is hung up."""
    call = asyncio.create_task(opened.code("PollActivityTaskQueue", request))
    open_polls = relayed.servers.polls
    await until(lambda: open_polls.count > 0 or call.done())
    call.cancel()
    await asyncio.wait([call])
    await until(lambda: open_polls.count == 0)
    return call.cancelled()


async def _open_workflow(direct: Client) -> Any:
    """Nobody works on its queue: it stays open until somebody ends it."""
    return await direct.start_workflow("Nothing", id=new_id(), task_queue=new_id())


async def test_queues_of_others_are_not_polled(relayed: Doors, world: World, edge: Identity) -> None:
    other = await relayed.edge(await make_world(relayed.transactions, name="other"))
    own = edge_queue(edge.agent_id)
    sticky = poll(own, kind=TaskQueueKind.TASK_QUEUE_KIND_STICKY, normal_name=edge_queue(other.agent_id))
    async with line(edge) as opened:
        for queue in (
            *(edge_queue(other.agent_id), site_queue(world.site), teardown_queue(world.site), CONTROL_QUEUE, ""),
            *(f"/_sys/{own}/1", f"/_sys/{edge_queue(other.agent_id)}/1", own + "/", own.upper(), f"{own}\0"),
            *(site_queue(edge.agent_id), teardown_queue(edge.agent_id)),
        ):
            assert await opened.code("PollActivityTaskQueue", poll(queue)) == DENIED, queue
        assert await opened.code("PollActivityTaskQueue", poll(own, "temporal-system")) == DENIED
        assert await opened.code("PollActivityTaskQueue", poll(own, "")) == DENIED
        # Its own queue is polled as what it is, whatever the request calls it.
        assert await _polls(relayed, opened, sticky)
        assert await opened.code("PollActivityTaskQueue", b"\xff\xff") == "INVALID_ARGUMENT"
        shutdown = messages.ShutdownWorkerRequest(namespace=NAMESPACE, task_queue=edge_queue(other.agent_id))
        assert await opened.code("ShutdownWorker", shutdown) == DENIED
        elsewhere = messages.DescribeNamespaceRequest(namespace="temporal-system")
        assert await opened.code("DescribeNamespace", elsewhere) == DENIED


async def test_a_site_agent_polls_its_two_queues(relayed: Doors, world: World, edge: Identity) -> None:
    async with line(await relayed.enrol(world.site_token)) as opened:
        for queue in (site_queue(world.site), teardown_queue(world.site)):
            assert await _polls(relayed, opened, poll(queue))
        assert await opened.code("PollActivityTaskQueue", poll(edge_queue(edge.agent_id))) == DENIED
        assert await opened.code("PollActivityTaskQueue", poll(edge_queue(world.site))) == DENIED


async def test_no_workflow_is_started_ended_or_read(edge: Identity, direct: Client) -> None:
    """Every request is one that Temporal itself would carry out."""
    flow = await _open_workflow(direct)
    execution = WorkflowExecution(workflow_id=flow.id)
    start: dict[str, Any] = {"namespace": NAMESPACE, "workflow_id": new_id(), "request_id": new_id()}
    about: dict[str, Any] = {"namespace": NAMESPACE, "workflow_execution": execution}
    named: dict[str, Any] = {"namespace": NAMESPACE, "execution": execution}
    requests = {
        "StartWorkflowExecution": messages.StartWorkflowExecutionRequest(**start),
        "SignalWithStartWorkflowExecution": messages.SignalWithStartWorkflowExecutionRequest(**start, signal_name="s"),
        "SignalWorkflowExecution": messages.SignalWorkflowExecutionRequest(**about, signal_name="s"),
        "TerminateWorkflowExecution": messages.TerminateWorkflowExecutionRequest(**about),
        "RequestCancelWorkflowExecution": messages.RequestCancelWorkflowExecutionRequest(**about),
        "ResetWorkflowExecution": messages.ResetWorkflowExecutionRequest(**about),
        "UpdateWorkflowExecution": messages.UpdateWorkflowExecutionRequest(**about),
        "DeleteWorkflowExecution": messages.DeleteWorkflowExecutionRequest(**about),
        "DescribeWorkflowExecution": messages.DescribeWorkflowExecutionRequest(**named),
        "QueryWorkflow": messages.QueryWorkflowRequest(**named),
        "GetWorkflowExecutionHistory": messages.GetWorkflowExecutionHistoryRequest(**named),
        "ListWorkflowExecutions": messages.ListWorkflowExecutionsRequest(namespace=NAMESPACE),
        "CountWorkflowExecutions": messages.CountWorkflowExecutionsRequest(namespace=NAMESPACE),
        "ListNamespaces": messages.ListNamespacesRequest(),
        "ListSchedules": messages.ListSchedulesRequest(namespace=NAMESPACE),
        "GetClusterInfo": messages.GetClusterInfoRequest(),
    }
    async with line(edge) as opened:
        said = {method: await opened.code(method, request) for method, request in requests.items()}
    assert set(said.values()) == {DENIED}, said
    described = await flow.describe()
    assert (described.status, described.history_length) == (WorkflowExecutionStatus.RUNNING, 2)
    await flow.terminate()


async def test_other_workers_calls_and_other_services_are_refused(edge: Identity) -> None:
    worker = (
        "PollWorkflowTaskQueue",
        "PollNexusTaskQueue",
        "RespondWorkflowTaskCompleted",
        "RespondQueryTaskCompleted",
    )
    by_id = [f"{n}ById" for n in ("RespondActivityTaskCompleted", "RespondActivityTaskFailed")]
    by_id += ["RespondActivityTaskCanceledById", "RecordActivityTaskHeartbeatById"]
    others = (
        "/temporal.api.operatorservice.v1.OperatorService/DeleteNamespace",
        "/temporal.server.api.adminservice.v1.AdminService/DescribeHistoryHost",
        "/grpc.health.v1.Health/Watch",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/temporal.api.workflowservice.v1.WorkflowService/",
        "/stackly.gateway.v1.AgentGateways/Heartbeat",
        "/x",
    )
    async with line(edge) as opened:
        said = {method: await opened.code(method) for method in (*worker, *by_id, *others)}
        assert set(said.values()) == {DENIED}, said
        assert await opened.code("/grpc.health.v1.Health/Check") == "OK"
        assert await opened.code("GetSystemInfo") == "OK"


async def test_a_refusal_is_recorded_once(relayed: Doors, edge: Identity) -> None:
    made_up = [f"/no.such.Service/Method{n}" for n in range(20)]
    async with line(edge) as opened:
        for method in ("ListWorkflowExecutions", "ListWorkflowExecutions", "PollActivityTaskQueue", *made_up):
            assert await opened.code(method, poll(CONTROL_QUEUE)) == DENIED
    recorded = "SELECT subject, n, payload->>'reason' FROM events WHERE name = 'call_refused' ORDER BY id"
    about = f"agent/{edge.agent_id}"
    assert await sql(relayed.transactions, recorded) == [
        (about, "ListWorkflowExecutions/denied", f"An agent may not call {SERVICE}ListWorkflowExecutions."),
        (about, "PollActivityTaskQueue/not-yours", "This queue is not this agent's."),
        (about, "?/denied", "An agent may not call /no.such.Service/Method0."),
    ]


async def test_a_task_is_answered_by_whom_it_was_given_to(relayed: Doors, world: World, edge: Identity) -> None:
    other = await relayed.edge(world, "load")
    bare = b"\x0a\x24some-token-of-temporals"
    own, foreign = (TaskTokens(relayed.keys).seal(agent, bare) for agent in (edge.agent_id, other.agent_id))
    kinds = {
        "RecordActivityTaskHeartbeat": messages.RecordActivityTaskHeartbeatRequest,
        "RespondActivityTaskCompleted": messages.RespondActivityTaskCompletedRequest,
        "RespondActivityTaskFailed": messages.RespondActivityTaskFailedRequest,
        "RespondActivityTaskCanceled": messages.RespondActivityTaskCanceledRequest,
    }
    flipped = [own[:at] + bytes([own[at] ^ 1]) + own[at + 1 :] for at in range(len(own))]
    async with line(edge) as opened:
        for method, kind in kinds.items():
            for token in (b"", bare, foreign, own[:37], own[:20], b"\x01", own + b"x", *flipped):
                request = kind(namespace=NAMESPACE, task_token=token)
                assert await opened.code(method, request) == DENIED, (method, token)
            assert await opened.code(method, kind(namespace="temporal-system", task_token=own)) == DENIED
            # Its own is passed on: Temporal itself says that this one is none.
            assert await opened.code(method, kind(namespace=NAMESPACE, task_token=own)) == "INVALID_ARGUMENT"
