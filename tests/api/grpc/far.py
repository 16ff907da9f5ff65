"""A line that takes its time, between an agent and its gateway."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from stackly.clock import monotonic

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
async def far(address: str) -> AsyncIterator[str]:
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
