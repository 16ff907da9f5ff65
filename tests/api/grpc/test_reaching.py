"""An agent reaches its platform from far away, and again after an absence."""

import asyncio
from dataclasses import replace

import pytest

from agent.gateway import Gateway
from stackly.api.grpc import server
from stackly.db import Transactions
from stackly.errors import Unavailable
from tests.api.grpc.conftest import Connect, Doors, Told
from tests.api.grpc.far import far
from tests.api.grpc.rows import World


async def test_an_agent_on_another_continent_is_heard(doors: Doors, world: World, connect: Connect) -> None:
    """A TLS handshake takes two round trips: 0.6 s here."""
    identity = await doors.enrol(world.site_token)
    async with far(identity.gateway) as there:
        gateway = await connect(replace(identity, gateway=there))
        assert await gateway.heartbeat("one", "1", {}, polling=True) == (False, False)


async def test_a_platform_that_was_away_is_found_again_at_once(
    doors: Doors, world: World, connect: Connect, transactions: Transactions
) -> None:
    """The patience for one attempt is no pause between attempts."""
    identity = await doors.enrol(world.site_token)
    gateway = await connect(identity)
    await gateway.heartbeat("one", "1", {}, polling=True)
    await doors.servers.stop(0)
    for _ in range(5):
        with pytest.raises(Unavailable):
            await gateway.heartbeat("one", "1", {}, polling=True)
        await asyncio.sleep(0.3)
    again = await server.start(Told(identity.gateway), transactions, doors.store, doors.keys, doors.authority)
    try:
        async with asyncio.timeout(9):
            while not await _heard(gateway):  # noqa: ASYNC110 - what is awaited is on the other side
                await asyncio.sleep(0.1)
    finally:
        await again.stop(0)


async def _heard(gateway: Gateway) -> bool:
    try:
        await gateway.heartbeat("one", "1", {}, polling=True)
    except Unavailable:
        return False
    return True
