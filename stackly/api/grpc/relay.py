"""Temporal's calls of an activity worker, passed on from agents; no other call of Temporal's is for them.

A request is built anew field by field, never copied: namespace and identity are ours, the queue must be the agent's, a
field that this file does not know is dropped. A task token leaves sealed to the agent and is taken from it alone.
"""

import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message
from temporalio.api.enums.v1 import TaskQueueKind
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import request_response_pb2 as temporal

from stackly.agents.model import Agent, NotYours, Role
from stackly.api.grpc.callers import Callers, Context, refuse
from stackly.api.grpc.polls import Polls
from stackly.api.grpc.refusals import Refusals
from stackly.api.grpc.tokens import TaskTokens
from stackly.errors import Denied, Invalid
from stackly.temporal.steps import edge_queue, site_queue, teardown_queue

SERVICE = "/temporal.api.workflowservice.v1.WorkflowService/"
HEALTH = "/grpc.health.v1.Health/Check"
OWN_SERVICE = "/stackly.gateway.v1.AgentGateway/"
# Units: seconds. Temporal ends a poll after 60, and refuses one without a deadline.
_POLL_S, _CALL_S = 70.0, 10.0
_SHOWN = 120
CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)
# What an agent may send with each answer to a task, besides its token.
_ANSWERS: Mapping[type[Message], tuple[str, ...]] = {
    temporal.RecordActivityTaskHeartbeatRequest: ("details",),
    temporal.RespondActivityTaskCompletedRequest: ("result",),
    temporal.RespondActivityTaskCanceledRequest: ("details",),
    temporal.RespondActivityTaskFailedRequest: ("failure", "last_heartbeat_details", "cause"),
}

_Handler = Callable[[Agent, bytes, Context], Awaitable[bytes]]


def queues_of(agent: Agent) -> frozenset[str]:
    """Where this agent's work is, and nobody else's."""
    if agent.role is Role.SITE:
        return frozenset({site_queue(agent.id), teardown_queue(agent.id)})
    return frozenset({edge_queue(agent.id)})


class Relay(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # generic in its stubs alone
    """Every method but those of our own service; bytes in, bytes out."""

    def __init__(
        self,
        upstream: grpc.aio.Channel,
        namespace: str,
        tokens: TaskTokens,
        callers: Callers,
        polls: Polls,
        refusals: Refusals,
    ) -> None:
        self._upstream = upstream
        self._namespace = namespace
        self._tokens = tokens
        self._callers = callers
        self._polls = polls
        self._refusals = refusals
        self._handlers: dict[str, _Handler] = {
            HEALTH: self._health,
            SERVICE + "GetSystemInfo": self._system_info,
            SERVICE + "DescribeNamespace": self._describe,
            SERVICE + "PollActivityTaskQueue": self._poll,
            SERVICE + "ShutdownWorker": self._shutdown,
            **{SERVICE + _method(kind): self._answer(kind, kept) for kind, kept in _ANSWERS.items()},
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        method = handler_call_details.method
        if method.startswith(OWN_SERVICE):
            return None

        async def call(request: bytes, context: Context) -> bytes:
            try:
                return await self._called(method, request, context)
            except grpc.aio.AioRpcError as e:  # the code matters: by NOT_FOUND the SDK knows that a task is over
                await context.abort(e.code(), (e.details() or "")[:_SHOWN])
            except grpc.aio.AbortError:
                raise
            except Exception as e:  # noqa: BLE001 - the edge: nothing passes it
                await refuse(context, e)
            raise AssertionError("abort raises")

        return grpc.unary_unary_rpc_method_handler(call)

    async def _called(self, method: str, request: bytes, context: Context) -> bytes:
        agent = await self._callers.agent(context)
        try:
            return await self._handler_of(method)(agent, request, context)
        except DecodeError as e:
            raise Invalid("The request cannot be read.") from e
        except Denied as e:
            await self._refusals.note(agent, method, e)
            raise

    def _handler_of(self, method: str) -> _Handler:
        found = self._handlers.get(method)
        if found is None:
            raise Denied(f"An agent may not call {method[:_SHOWN]}.")
        return found

    async def _pass(self, method: str, request: bytes, context: Context, limit_s: float = _CALL_S) -> bytes:
        """When the agent hangs up this is cancelled, and the call to Temporal with it: no task for a dead poll."""
        left = context.time_remaining()
        call: Any = self._upstream.unary_unary(method, None, None)
        return bytes(await call(request, timeout=limit_s if left is None else min(left, limit_s)))

    def _must_be_own(self, agent: Agent, namespace: str, queue: str | None = None) -> None:
        if namespace != self._namespace:
            raise NotYours("This namespace is not this agent's.")
        if queue is not None and queue not in queues_of(agent):
            raise NotYours("This queue is not this agent's.")

    async def _health(self, _agent: Agent, _request: bytes, context: Context) -> bytes:
        return await self._pass(HEALTH, b"", context)

    async def _system_info(self, _agent: Agent, _request: bytes, context: Context) -> bytes:
        return await self._pass(SERVICE + "GetSystemInfo", b"", context)

    async def _describe(self, agent: Agent, request: bytes, context: Context) -> bytes:
        """Capabilities that an SDK does not find it does not use.

        No heartbeats of workers, which name hosts and queues; no commands over Nexus, which carry Temporal's bare
        tokens; no waiting, when it stops, for polls to end at Temporal: that is for ever while the gateway is away.
        """
        self._must_be_own(agent, temporal.DescribeNamespaceRequest.FromString(request).namespace)
        asked = temporal.DescribeNamespaceRequest(namespace=self._namespace).SerializeToString()
        full = temporal.DescribeNamespaceResponse.FromString(
            await self._pass(SERVICE + "DescribeNamespace", asked, context)
        )
        shown = temporal.DescribeNamespaceResponse()
        shown.namespace_info.name = self._namespace
        shown.namespace_info.limits.CopyFrom(full.namespace_info.limits)
        return shown.SerializeToString()

    async def _poll(self, agent: Agent, request: bytes, context: Context) -> bytes:
        asked = temporal.PollActivityTaskQueueRequest.FromString(request)
        self._must_be_own(agent, asked.namespace, asked.task_queue.name)
        own = temporal.PollActivityTaskQueueRequest(
            namespace=self._namespace,
            task_queue=TaskQueue(name=asked.task_queue.name, kind=TaskQueueKind.TASK_QUEUE_KIND_NORMAL),
            identity=agent.id,
            worker_instance_key=_instance(agent, asked.worker_instance_key),
        )
        async with self._polls.one(agent.id, agent.certificate or ""):
            raw = await self._pass(SERVICE + "PollActivityTaskQueue", own.SerializeToString(), context, _POLL_S)
        given = temporal.PollActivityTaskQueueResponse.FromString(raw)  # what a newer server adds is kept
        if given.task_token:
            given.task_token = self._tokens.seal(agent.id, given.task_token)
        return given.SerializeToString()

    def _answer(self, kind: type[Any], kept: tuple[str, ...]) -> _Handler:
        async def answer(agent: Agent, request: bytes, context: Context) -> bytes:
            sent = kind.FromString(request)
            self._must_be_own(agent, sent.namespace)
            token = self._tokens.open(agent.id, sent.task_token)
            own = kind(namespace=self._namespace, identity=agent.id, task_token=token)
            for field, value in sent.ListFields():
                if field.name in kept and isinstance(value, Message):
                    getattr(own, field.name).CopyFrom(value)
                elif field.name in kept:
                    setattr(own, field.name, value)
            return await self._pass(SERVICE + _method(kind), own.SerializeToString(), context)

        return answer

    async def _shutdown(self, agent: Agent, request: bytes, context: Context) -> bytes:
        sent = temporal.ShutdownWorkerRequest.FromString(request)
        self._must_be_own(agent, sent.namespace, sent.task_queue)
        own = temporal.ShutdownWorkerRequest(
            namespace=self._namespace,
            identity=agent.id,
            task_queue=sent.task_queue,
            task_queue_types=sent.task_queue_types,
            worker_instance_key=_instance(agent, sent.worker_instance_key),
        )
        return await self._pass(SERVICE + "ShutdownWorker", own.SerializeToString(), context)


def _method(kind: type[Message]) -> str:
    return kind.DESCRIPTOR.name.removesuffix("Request")


def _instance(agent: Agent, key: str) -> str:
    """A worker's key as Temporal hears it: nobody ends the polls of another agent, whose key they guessed or not."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{agent.id}/{key}")) if key else ""
