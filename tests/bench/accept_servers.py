"""The servers of the accept tests, each a process: the naive floor, Stackly, and Stackly with one mutation."""

import asyncio
import base64
import hashlib
import hmac
import json
import os
import sys
from collections.abc import Mapping
from typing import Any

import asyncpg
import uvicorn
import uvloop

SECRET = b"bench-secret"
INSERT = (
    "INSERT INTO deliveries (hook, guid, event, body, body_sha256, status) VALUES ('floor', $1, $2, $3, $4, 'received')"
    " ON CONFLICT (hook, guid) DO NOTHING"
)


class Floor:
    """What one would write first: HMAC, three fields, one INSERT and one commit a request. No outbox."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._pool: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            self._pool = await asyncpg.create_pool(self._url, min_size=10, max_size=10)
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = dict(scope["headers"])
        wanted = b"sha256=" + hmac.new(SECRET, body, hashlib.sha256).hexdigest().encode()
        good = hmac.compare_digest(wanted, headers[b"x-hub-signature-256"])
        said = json.loads(body)
        assert said["ref"], said["after"]
        guid, event = headers[b"x-github-delivery"].decode(), headers[b"x-github-event"].decode()
        await self._pool.execute(INSERT, guid, event, body, hashlib.sha256(body).hexdigest())
        head = [(b"content-type", b"application/json"), (b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 202 if good else 401, "headers": head})
        await send({"type": "http.response.body", "body": b"{}"})


class OneKey:
    def key(self, account: str, version: int | None = None) -> tuple[int, bytes]:
        return 1, base64.b64decode("a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=")

    def versions(self, account: str) -> Mapping[int, bytes]:
        return dict([self.key(account)])


def stackly(url: str, *, door: str = "") -> Any:
    """Stackly's application; `door` names a mutation of its webhook door, for tests that must go red."""
    from stackly.api import app as apps
    from stackly.api.parts import ApiConfig, Objects
    from stackly.api.webhooks import Webhooks
    from stackly.events.inbox import Arrival, Receipt

    class AckFirst(Webhooks):
        """The mutation: acknowledged before the commit."""

        async def keep(self, arrival: Arrival) -> Receipt:
            task = asyncio.get_running_loop().create_task(super().keep(arrival))
            _RUNNING.add(task)
            task.add_done_callback(_RUNNING.discard)
            return Receipt(arrival.guid, arrival.status, 1, fresh=True)

    config = ApiConfig(
        database_url=url,
        public_url="http://127.0.0.1",
        github_url="http://127.0.0.1",
        github_api_url="http://127.0.0.1",
    )
    objects: Objects = None  # type: ignore[assignment]  # nothing is downloaded here
    parts = apps.assemble(config, OneKey(), objects)
    mutant = AckFirst(parts.inbox, parts.hooks, parts.metrics) if door == "ack-first" else None
    return apps.application(parts, mutant)


_RUNNING: set[Any] = set()


def main() -> None:
    url, which = os.environ["BENCH_URL"], sys.argv[1]
    app = Floor(url) if which == "floor" else stackly(url, door=which)
    config = uvicorn.Config(
        app,
        http="httptools",
        access_log=False,
        log_level="warning",
        lifespan="on",
        server_header=False,
        proxy_headers=False,
    )
    server = uvicorn.Server(config)
    sock = _socket()
    print(sock.getsockname()[1], flush=True)  # noqa: T201 - how the parent learns the port
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # as the API's own process has it
        runner.run(server.serve(sockets=[sock]))


def _socket() -> Any:
    import socket

    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", int(os.environ.get("BENCH_PORT", "0"))))
    return sock


if __name__ == "__main__":
    main()
