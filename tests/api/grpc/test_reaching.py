"""An agent reaches its platform from far away, and again after an absence."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from agent.gateway import Gateway
from stackly.api.grpc import server
from stackly.clock import monotonic
from stackly.db import Transactions
from stackly.errors import Unavailable
from tests.api.grpc.conftest import Connect, Doors, Told
from tests.api.grpc.rows import World

ONE_WAY_S = 0.15


async def _late(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Each piece arrives ONE_WAY_S after it was sent, in order, however many are on their way."""
    sent: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def read() -> None:
        while piece := await source.read(65536):
            sent.put_nowait((monotonic() + ONE_WAY_S, piece))
        sent.put_nowait((0, b""))

    async with asyncio.TaskGroup() as group:
        group.create_task(read())
        while (arriving := await sent.get())[1]:
            await asyncio.sleep(max(0.0, arriving[0] - monotonic()))
            sink.write(arriving[1])
            await sink.drain()
        sink.close()


@asynccontextmanager
async def _far(address: str) -> AsyncIterator[str]:
    """The same server behind a long line. Shape: its address there."""
    host, port = address.rsplit(":", 1)
    running: set[asyncio.Task[None]] = set()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(host, int(port))
        for way in (_late(reader, back), _late(there, writer)):
            task = asyncio.get_running_loop().create_task(way)
            running.add(task)
            task.add_done_callback(running.discard)

    server = await asyncio.start_server(carry, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in list(running):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def test_an_agent_on_another_continent_is_heard(doors: Doors, world: World, connect: Connect) -> None:
    """A TLS handshake takes two round trips: 0.6 s here."""
    identity = await doors.enrol(world.site_token)
    async with _far(identity.gateway) as far:
        gateway = await connect(replace(identity, gateway=far))
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
