"""Is the gateway alive, is it ready: HTTP beside the agents' endpoints, for supervisors and probes."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import uvicorn

from stackly import db
from stackly.db import Transactions
from stackly.errors import Unavailable

_READY_WITHIN_S = 2.0
# Whether a part answers. Raises: Unavailable.
Check = Callable[[], Awaitable[object]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]


def postgres_answers(transactions: Transactions) -> Check:
    async def check() -> object:
        async with transactions() as session:
            return await db.now(session)

    return check


class Health:
    """`GET /healthz` is 200 while the process lives, `GET /readyz` while every part that agents need answers."""

    def __init__(self, checks: Mapping[str, Check]) -> None:
        self._checks = checks

    async def __call__(self, scope: Mapping[str, Any], _receive: object, send: Send) -> None:
        """One ASGI request."""
        match scope["type"], scope.get("method"), scope.get("path"):
            case "http", "GET", "/healthz":
                await _answer(send, 200, {"alive": True})
            case "http", "GET", "/readyz":
                parts = await self._parts()
                ready = all(said == "ok" for said in parts.values())
                await _answer(send, 200 if ready else 503, {"ready": ready, **parts})
            case "http", _, _:
                await _answer(send, 404, {"paths": ["/healthz", "/readyz"]})

    async def _parts(self) -> dict[str, str]:
        said = await asyncio.gather(*(_asked(check) for check in self._checks.values()))
        return dict(zip(self._checks, said, strict=True))


async def _asked(check: Check) -> str:
    try:
        async with asyncio.timeout(_READY_WITHIN_S):
            await check()
    except (Unavailable, TimeoutError):
        return "does not answer"
    return "ok"


async def _answer(send: Send, status: int, what: Mapping[str, object]) -> None:
    body = json.dumps(what).encode() + b"\n"
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class _Server(uvicorn.Server):
    """The process' own entry point has the signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield


def _listening(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host.strip("[]"), int(port)), family=family)
    except OSError as e:
        raise Unavailable(f"{address} cannot be bound: {e.strerror}") from e


@asynccontextmanager
async def answering(address: str, health: Health) -> AsyncIterator[None]:
    """Raises: Unavailable when the address is taken."""
    config = uvicorn.Config(health, access_log=False, log_config=None, lifespan="off", server_header=False)
    server = _Server(config)
    with _listening(address) as listening:
        running = asyncio.create_task(server.serve([listening]))
        try:
            yield
        finally:
            server.should_exit = True
            await running
