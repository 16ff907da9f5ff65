"""Whoever connects to the agents' endpoints, and however it ends: no process ends of it."""

import asyncio
from pathlib import Path

import pytest

from agent import gateway as client
from agent.gateway import Gateway
from stackly.agents.authority import Authority
from stackly.db import Transactions
from tests.api.grpc.handshakes import shake, strangers
from tests.api.grpc.process import configured, running
from tests.api.grpc.rows import make_world

HANDSHAKES = 2_000  # on each endpoint


@pytest.mark.parametrize("endpoint", ["gateway", "enrol"])
async def test_no_handshake_ends_a_process(
    endpoint: str, database: str, transactions: Transactions, tmp_path: Path
) -> None:
    world = await make_world(transactions)
    async with running(tmp_path, configured(tmp_path, database)) as served:
        address = str(getattr(served, endpoint))
        made = await asyncio.to_thread(shake, address, strangers(tmp_path), HANDSHAKES)
        assert (made, served.process.returncode) == (HANDSHAKES, None)
        ca = Authority.open(tmp_path / "ca").ca_pem
        agent = Gateway(await client.enrol(served.enrol, ca, world.site_token, version="1", capabilities={}))
        assert await agent.heartbeat("i", "1", {}, polling=True) == (False, False)
        await agent.close()
        assert served.process.returncode is None
