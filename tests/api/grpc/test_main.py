"""The gateway as a process, and what it shares with nobody."""

import asyncio
import sys
from datetime import timedelta
from pathlib import Path

import httpx

from agent import gateway as client
from agent.gateway import Gateway
from stackly.agents.authority import Authority
from stackly.api.grpc import server
from stackly.db import Transactions
from stackly.errors import Unavailable
from stackly.local.scratch import free_port
from stackly.secrets import Keyring
from stackly.storage import Store
from tests.api.grpc.conftest import Told
from tests.api.grpc.handshakes import shake, strangers
from tests.api.grpc.process import configured, running
from tests.api.grpc.rows import World


async def test_the_process_gets_ready_tells_it_and_stops_at_sigterm(database: str, tmp_path: Path) -> None:
    async with running(tmp_path, configured(tmp_path, database)) as served, httpx.AsyncClient(timeout=5) as http:
        assert (await http.get(f"http://{served.health}/healthz")).status_code == 200
        assert (await http.get(f"http://{served.health}/readyz")).json() == {"ready": True, "postgres": "ok"}
        assert (await http.get(f"http://{served.health}/metrics/x")).status_code == 404
        for address in (served.gateway, served.enrol):
            host, port = address.split(":")
            _, writer = await asyncio.open_connection(host, int(port))
            writer.close()
        assert await served.ended() == 0


async def test_without_postgres_it_lives_and_is_not_ready(tmp_path: Path) -> None:
    addresses = configured(tmp_path, "postgresql://nobody@127.0.0.1:9/nothing")
    async with running(tmp_path, addresses, path="/healthz") as served, httpx.AsyncClient(timeout=9) as http:
        answer = await http.get(f"http://{served.health}/readyz")
        assert (answer.status_code, answer.json()) == (503, {"ready": False, "postgres": "does not answer"})


async def test_the_gateways_code_and_the_webhooks_code_are_apart() -> None:
    """Each process loads its own: neither is there to fail in the other."""
    shown = "import sys; print([m for m in sys.modules if m in {wanted!r}])"
    for module, foreign in (
        ("stackly.api.grpc.main", {"fastapi", "stackly.api.app", "stackly.api.webhooks"}),
        ("stackly.api.main", {"stackly.api.grpc.server", "stackly.agents.authority"}),
    ):
        argv = [sys.executable, "-c", f"import {module}; " + shown.format(wanted=foreign)]
        asked = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
        assert (await asked.communicate())[0].strip() == b"[]"


async def test_a_certificate_is_renewed_under_calls_and_strangers(
    transactions: Transactions, store: Store, world: World, tmp_path: Path
) -> None:
    authority, keys = Authority.open(tmp_path / "ca"), Keyring(tmp_path / "keyring.json")
    told = Told(f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}")
    started: list[server.Servers] = []
    first = asyncio.Event()

    async def start() -> server.Servers:
        started.append(await server.start(told, transactions, store, keys, authority))
        first.set()
        return started[-1]

    stop: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(server.serve_until(stop, timedelta(milliseconds=200), start))
    await first.wait()
    identity = await client.enrol(told.enrol_address, authority.ca_pem, world.site_token, version="1", capabilities={})
    agent = Gateway(identity)
    shaking = asyncio.create_task(asyncio.to_thread(shake, told.gateway_address, strangers(tmp_path), 1_000))
    heard = 0
    while min(len(started), heard) < 6 or not shaking.done():
        try:
            await agent.heartbeat("one", "1", {}, polling=True)
        except Unavailable:  # between two servers
            continue
        heard += 1
    await agent.close()
    stop.set_result(None)
    await serving
