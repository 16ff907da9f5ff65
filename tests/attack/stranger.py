"""What another user of this computer runs: `python stranger.py NAME JSON`; it prints what it found as one JSON value.

It holds no key, imports nothing of the platform's, and knows what anybody can read: the ports.
"""

# ruff: noqa: T201, ASYNC230, ASYNC240 - it prints, and nothing waits for it

import asyncio
import contextlib
import json
import os
import socket
import ssl
import stat
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import httpx
from temporalio import workflow
from temporalio.api.common.v1 import Payload, Payloads, WorkflowExecution
from temporalio.api.operatorservice.v1 import DeleteNamespaceRequest
from temporalio.api.workflowservice.v1 import (
    DeleteWorkflowExecutionRequest,
    PollActivityTaskQueueRequest,
    PollWorkflowTaskQueueRequest,
    SignalWorkflowExecutionRequest,
)
from temporalio.client import Client, WorkflowFailureError
from temporalio.common import RawValue, RetryPolicy
from temporalio.exceptions import FailureError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

SOON = timedelta(seconds=20)


@workflow.defn(name="Evil")
class Evil:
    """An activity of the stranger's own workflow, on somebody else's queue."""

    @workflow.run
    async def run(self, queue: str, activity: str, given: list[Any]) -> str:
        try:
            await workflow.execute_activity(
                activity,
                args=given,
                task_queue=queue,
                schedule_to_close_timeout=SOON,
                retry_policy=RetryPolicy(maximum_attempts=1),
            )
        except FailureError as e:
            return f"refused: {e.cause or e}"
        return "done"


@workflow.defn(name="EvilReplay")
class EvilReplay:
    """The same, with a payload that was sealed for another workflow."""

    @workflow.run
    async def run(self, queue: str, activity: str, metadata: dict[str, str], data: str) -> str:
        sealed = Payload(metadata={k: bytes.fromhex(v) for k, v in metadata.items()}, data=bytes.fromhex(data))
        try:
            await workflow.execute_activity(
                activity,
                RawValue(sealed),
                task_queue=queue,
                schedule_to_close_timeout=SOON,
                retry_policy=RetryPolicy(maximum_attempts=1),
            )
        except FailureError as e:
            return f"refused: {e.cause or e}"
        return "done"


async def acts(temporal: str, queue: str, activity: str, inputs: list[list[Any]]) -> list[str]:
    """Own activities with plain payloads on a queue of the platform's."""
    client = await Client.connect(temporal)
    own = f"evil-{os.getpid()}"
    async with Worker(client, task_queue=own, workflows=[Evil], workflow_runner=UnsandboxedWorkflowRunner()):
        said = []
        for n, given in enumerate(inputs):
            try:
                told = await client.execute_workflow(
                    "Evil", args=[queue, activity, given], id=f"{own}/{n}", task_queue=own, result_type=str
                )
            except WorkflowFailureError as e:
                told = f"refused: {e.cause}"
            said.append(str(told))
        return said


async def replays(temporal: str, queue: str, activity: str, workflow_id: str) -> list[str]:
    """Each sealed payload of a workflow's history, as the input of an activity of one's own."""
    client = await Client.connect(temporal)
    own = f"evil-replay-{os.getpid()}"
    history = await client.get_workflow_handle(workflow_id).fetch_history()
    sealed = [
        payload for event in history.events for payload in event.activity_task_scheduled_event_attributes.input.payloads
    ]
    said = []
    worker = Worker(client, task_queue=own, workflows=[EvilReplay], workflow_runner=UnsandboxedWorkflowRunner())
    async with worker:
        for n, payload in enumerate(sealed[:2]):
            metadata = {k: v.hex() for k, v in payload.metadata.items()}
            args = [queue, activity, metadata, payload.data.hex()]
            told = await client.execute_workflow(
                "EvilReplay", args=args, id=f"{own}/{n}", task_queue=own, result_type=str
            )
            said.append(str(told))
    return said


async def meddles(temporal: str, workflow_id: str) -> dict[str, str]:
    """What Temporal's dev server lets anybody do to a workflow."""
    client = await Client.connect(temporal)
    handle = client.get_workflow_handle(workflow_id)
    execution = WorkflowExecution(workflow_id=workflow_id)
    plain = Payloads(payloads=[Payload(metadata={"encoding": b"json/plain"}, data=b'"evil"')])
    signal = SignalWorkflowExecutionRequest(
        namespace=client.namespace, workflow_execution=execution, signal_name="ring", input=plain
    )
    delete = DeleteWorkflowExecutionRequest(namespace=client.namespace, workflow_execution=execution)
    gone = DeleteNamespaceRequest(namespace=client.namespace)
    seen = [flow.id async for flow in client.list_workflows()]
    deeds: dict[str, Callable[[], Awaitable[Any]]] = {
        "signal": lambda: client.workflow_service.signal_workflow_execution(signal),
        "query": lambda: handle.query("evil", "evil"),
        "update": lambda: handle.execute_update("evil", "evil"),
        "cancel": handle.cancel,
        "terminate": handle.terminate,
        "start": lambda: client.start_workflow("Run", "evil", id=workflow_id, task_queue="control"),
        "end again": handle.terminate,
        "delete": lambda: client.workflow_service.delete_workflow_execution(delete),
        "delete namespace": lambda: client.operator_service.delete_namespace(gone),
    }
    said = {"list": f"{len(seen)} seen"}
    for name, deed in deeds.items():
        said[name] = await _said(deed)
    return said


async def takes(temporal: str, queue: str) -> dict[str, str]:
    """Tasks of the platform's own queues, as a worker of one's own would take them; what it gets, it keeps."""
    client = await Client.connect(temporal)
    activity = PollActivityTaskQueueRequest(namespace=client.namespace, identity="evil")
    activity.task_queue.name = queue
    flow = PollWorkflowTaskQueueRequest(namespace=client.namespace, identity="evil")
    flow.task_queue.name = queue
    service = client.workflow_service
    return {
        "activities": await _said(lambda: service.poll_activity_task_queue(activity, timeout=timedelta(seconds=1))),
        "workflows": await _said(lambda: service.poll_workflow_task_queue(flow, timeout=timedelta(seconds=1))),
    }


async def _said(deed: Callable[[], Awaitable[Any]]) -> str:
    try:
        async with asyncio.timeout(10):
            await deed()
    except Exception as e:  # noqa: BLE001 - whatever it is called
        return f"{type(e).__name__}: {e}"[:200]
    return "done"


async def calls(address: str, methods: list[str]) -> dict[str, str]:
    """gRPC methods, without any certificate and without TLS."""
    said = {}
    async with grpc.aio.insecure_channel(address) as channel:
        for method in methods:
            call: Any = channel.unary_unary(method, None, None)
            try:
                await call(b"", timeout=3)
            except grpc.aio.AioRpcError as e:
                said[method] = e.code().name
            else:
                said[method] = "OK"
    return said


async def asks(requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """HTTP of every kind. Shape: {status, cors, body} each; a status of 0 is no answer."""

    async def one(request: dict[str, Any]) -> dict[str, Any]:
        async with few:
            try:
                got = await http.request(**request)
            except (httpx.HTTPError, ssl.SSLError) as e:
                return {"status": 0, "cors": None, "body": str(e)}
        cors = got.headers.get("access-control-allow-origin")
        return {"status": got.status_code, "cors": cors, "body": got.text[:100_000]}

    few = asyncio.Semaphore(8)
    async with httpx.AsyncClient(timeout=10, trust_env=False, verify=_anything()) as http:
        return await asyncio.gather(*map(one, requests))


def _anything() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def signs_in(host: str, port: int, attempts: list[dict[str, Any]]) -> list[str]:
    """Postgres, with what a stranger could try."""
    said = []
    for given in attempts:
        try:
            connection = await asyncpg.connect(host=host, port=port, timeout=10, **given)
        except (asyncpg.PostgresError, OSError, asyncpg.InterfaceError) as e:
            said.append(type(e).__name__)
        else:
            await connection.close()
            said.append("in")
    return said


def _below(root: Path) -> Iterator[Path]:
    """Everything that can be reached by listing, and what is well known besides."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(root):
            yield Path(entry.path)
            if entry.is_dir(follow_symlinks=False):
                yield from _below(Path(entry.path))


async def looks(roots: list[str], known: list[str]) -> dict[str, list[str]]:
    """Which files it can read or write, below some roots and at paths that it guessed."""
    readable, writable = [], []
    for path in [*(p for root in roots for p in _below(Path(root))), *map(Path, known)]:
        try:
            mode = path.lstat().st_mode
        except OSError:
            continue
        if stat.S_ISREG(mode) and os.access(path, os.R_OK):
            readable.append(str(path))
        if not stat.S_ISLNK(mode) and not stat.S_ISCHR(mode) and os.access(path, os.W_OK):
            writable.append(str(path))
    return {"readable": readable, "writable": writable}


async def spies(pids: list[int]) -> dict[str, list[str]]:
    """What `/proc` gives away of these processes. Shape: command lines as they are, and what else could be read."""
    lines, opened = [], []
    for pid in pids:
        with contextlib.suppress(OSError):
            lines.append(Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace"))
        for name in ("environ", "mem", "maps", "stack", "fd/0", "cwd/x", "root/x", "auxv", "io"):
            try:
                with Path(f"/proc/{pid}/{name}").open("rb") as file:
                    file.read(1)
            except FileNotFoundError:
                opened.append(f"{pid}/{name} is looked for")
            except OSError:
                continue
            else:
                opened.append(f"{pid}/{name}")
    return {"cmdlines": lines, "opened": opened}


async def connects(sockets: list[str]) -> dict[str, str]:
    """Unix sockets of the platform's."""
    said = {}
    for path in sockets:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(3)
            try:
                line.connect(path)
            except OSError as e:
                said[path] = type(e).__name__
            else:
                said[path] = "connected"
    return said


async def kills(pids: list[int]) -> list[int]:
    """Whom it may send a signal."""
    may = []
    for pid in pids:
        with contextlib.suppress(PermissionError, ProcessLookupError):
            os.kill(pid, 0)
            may.append(pid)
    return may


PROGRAMS: dict[str, Callable[..., Coroutine[Any, Any, Any]]] = {
    one.__name__: one for one in (acts, replays, meddles, takes, calls, asks, signs_in, looks, spies, connects, kills)
}

if __name__ == "__main__":
    print(json.dumps(asyncio.run(PROGRAMS[sys.argv[1]](**json.loads(sys.stdin.read())))), flush=True)
    os._exit(0)  # the SDK's threads outlive its client, and would abort an interpreter that ends
