"""Agents that call Temporal through the gateway: with an SDK as ours do, and with bytes of their own."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import grpc
from temporalio import workflow
from temporalio.api.workflowservice.v1 import request_response_pb2 as messages
from temporalio.client import Client, WorkflowHandle
from temporalio.common import RetryPolicy
from temporalio.service import GrpcCompression, TLSConfig
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from agent.gateway import Identity
from stackly.api.grpc.relay import SERVICE
from stackly.ids import new_id


class Line:
    """One agent's connection to the gateway, as a program of a stranger's would use it."""

    def __init__(self, identity: Identity) -> None:
        credentials = grpc.ssl_channel_credentials(identity.ca_pem, identity.key_pem, identity.certificate_pem)
        self.channel = grpc.aio.secure_channel(identity.gateway, credentials)

    async def call(self, method: str, request: bytes, timeout: float = 20) -> bytes:
        path = method if method.startswith("/") else SERVICE + method
        call: Any = self.channel.unary_unary(path, None, None)
        return bytes(await call(request, timeout=timeout))

    async def code(self, method: str, request: Any = b"", timeout: float = 20) -> str:
        """The status that the call ends with."""
        raw = request if isinstance(request, bytes) else request.SerializeToString()
        try:
            await self.call(method, raw, timeout)
        except grpc.aio.AioRpcError as e:
            return e.code().name
        return "OK"

    async def poll(self, queue: str, timeout: float = 20) -> messages.PollActivityTaskQueueResponse:
        raw = await self.call("PollActivityTaskQueue", poll(queue).SerializeToString(), timeout)
        return messages.PollActivityTaskQueueResponse.FromString(raw)

    async def close(self) -> None:
        await self.channel.close(None)


def poll(queue: str, namespace: str = "default", **more: Any) -> messages.PollActivityTaskQueueRequest:
    request = messages.PollActivityTaskQueueRequest(namespace=namespace, identity="anybody")
    request.task_queue.name = queue
    for name, value in more.items():
        setattr(request.task_queue, name, value)
    return request


@asynccontextmanager
async def line(identity: Identity) -> AsyncIterator[Line]:
    opened = Line(identity)
    try:
        yield opened
    finally:
        await opened.close()


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not what():  # noqa: ASYNC110 - it happens on the other side of a line
            await asyncio.sleep(0.02)


@workflow.defn(name="relay.once")
class Once:
    """One activity of somebody's queue. Shape: its result."""

    @workflow.run
    async def run(self, activity: str, given: str, queue: str) -> str:
        result: str = await workflow.execute_activity(
            activity,
            given,
            task_queue=queue,
            start_to_close_timeout=timedelta(minutes=4),
            heartbeat_timeout=timedelta(seconds=90),
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=100), maximum_attempts=3),
        )
        return result


class Asker:
    """Starts activities on agents' queues, with workflows of its own."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._queue = new_id()
        self.worker = Worker(
            client, task_queue=self._queue, workflows=[Once], workflow_runner=UnsandboxedWorkflowRunner()
        )

    async def start(self, activity: str, given: str, queue: str) -> WorkflowHandle[Any, str]:
        args = [activity, given, queue]
        return await self._client.start_workflow(Once.run, args=args, id=new_id(), task_queue=self._queue)

    async def ask(self, activity: str, given: str, queue: str) -> str:
        return await (await self.start(activity, given, queue)).result()


@asynccontextmanager
async def asking(client: Client) -> AsyncIterator[Asker]:
    asker = Asker(client)
    async with asker.worker:
        yield asker


async def sdk(identity: Identity) -> Client:
    """As an agent connects, with plain payloads."""
    tls = TLSConfig(
        server_root_ca_cert=identity.ca_pem, client_cert=identity.certificate_pem, client_private_key=identity.key_pem
    )
    return await Client.connect(identity.gateway, tls=tls, grpc_compression=GrpcCompression.NONE)
