"""The API as the supervisor starts it, on the seeded database; GitHub is a listener that remembers what was asked."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from stackly.local.scratch import free_port
from tests.web.seeding import REPO


@dataclass
class Upstream:
    """GitHub's delivery log. Shape: `guids` are in it; `asked` are the numbers it was to send again."""

    url: str = ""
    guids: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def log(self) -> list[dict[str, Any]]:
        return [{"id": n, "guid": guid, "event": "push", "status_code": 500} for n, guid in enumerate(self.guids, 1)]

    def repository(self) -> dict[str, Any]:
        """Whatever number it is asked for by."""
        return {"id": 1, "full_name": REPO, "clone_url": f"{self.url}/{REPO}.git", "default_branch": "main"}


@contextmanager
def listening() -> Iterator[Upstream]:
    upstream = Upstream()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_log = self.path.partition("?")[0].endswith("/deliveries")
            self._answer(200, upstream.log() if is_log else upstream.repository())

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            upstream.asked.append(self.path.split("/")[-2])
            self._answer(202, {})

        def _answer(self, status: int, body: object) -> None:
            said = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Tests are quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    upstream.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield upstream
    finally:
        server.shutdown()
        server.server_close()


@asynccontextmanager
async def serving(home: Path, database: str, upstream: str) -> AsyncIterator[str]:
    """A process of its own. Yields its address."""
    port = free_port()
    settings: dict[str, Any] = {
        "database_url": database,
        "api_port": port,
        "api_url": f"http://127.0.0.1:{port}",
        "hub_url": upstream,
        "gateway_address": f"127.0.0.1:{free_port()}",
        "enrol_address": f"127.0.0.1:{free_port()}",
        "s3": {"endpoint": "http://127.0.0.1:9", "access_key": "a", "secret_key": "b"},
    }
    (home / "config.json").write_text(json.dumps({"settings": settings}))
    environment = {**os.environ, "STACKLY_HOME": str(home)}
    with (home / "api.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "stackly.api.main", env=environment, stdout=log, stderr=log
        )
    try:
        await _ready(process, settings["api_url"], home / "api.log")
        yield settings["api_url"]
    finally:
        if process.returncode is None:
            process.terminate()
            await asyncio.wait_for(process.wait(), 20)


async def _ready(process: asyncio.subprocess.Process, url: Any, log: Path) -> None:
    async with httpx.AsyncClient() as client:
        while True:
            assert process.returncode is None, await asyncio.to_thread(log.read_text)
            try:
                if (await client.get(f"{url}/readyz", timeout=5)).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.1)
