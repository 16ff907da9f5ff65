"""Whoever connects to the agents' endpoints, and however it ends: no process ends of it."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from agent import gateway as client
from agent.gateway import Gateway
from stackly.agents.authority import Authority
from stackly.db import Transactions
from stackly.local.scratch import free_port
from tests.api.grpc.handshakes import shake, strangers
from tests.api.grpc.rows import make_world

HANDSHAKES = 2_000  # on each endpoint


@dataclass(frozen=True, slots=True)
class Running:
    process: asyncio.subprocess.Process
    gateway: str
    enrol: str


@asynccontextmanager
async def running(home: Path, database: str) -> AsyncIterator[Running]:
    api, gateway, enrol = (f"127.0.0.1:{free_port()}" for _ in range(3))
    settings = {
        "database_url": database,
        "api_port": int(api.rpartition(":")[2]),
        "gateway_address": gateway,
        "enrol_address": enrol,
        "s3": {"endpoint": "http://127.0.0.1:9", "access_key": "a", "secret_key": "b"},
    }
    (home / "config.json").write_text(json.dumps({"settings": settings}))
    argv = [sys.executable, "-m", "stackly.api.main"]
    process = await asyncio.create_subprocess_exec(*argv, env={**os.environ, "STACKLY_HOME": str(home)})
    try:
        async with httpx.AsyncClient(timeout=5) as http:
            while process.returncode is None:
                try:
                    await http.get(f"http://{api}/readyz")
                    break
                except httpx.TransportError:
                    await asyncio.sleep(0.1)
        yield Running(process, gateway, enrol)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.parametrize("endpoint", ["gateway", "enrol"])
async def test_no_handshake_ends_a_process(
    endpoint: str, database: str, transactions: Transactions, tmp_path: Path
) -> None:
    world = await make_world(transactions)
    async with running(tmp_path, database) as served:
        address = str(getattr(served, endpoint))
        made = await asyncio.to_thread(shake, address, strangers(tmp_path), HANDSHAKES)
        assert (made, served.process.returncode) == (HANDSHAKES, None)
        ca = Authority.open(tmp_path / "ca").ca_pem
        agent = Gateway(await client.enrol(served.enrol, ca, world.site_token, version="1", capabilities={}))
        assert await agent.heartbeat("i", "1", {}, polling=True) == (False, False)
        await agent.close()
        assert served.process.returncode is None
