"""Servers of the benches: real processes, one at a time, on the run's Postgres."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

_HERE = Path(__file__).parent
_ROOT = _HERE.parents[1]


class Server:
    """A process of accept_servers.py. Shape: `port` is known once it listens."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process = process
        self.port = port

    async def kill(self) -> None:
        """As a crash does it: SIGKILL."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


async def _answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


@pytest.fixture
def serve(database: str) -> Callable[[str], Awaitable[Server]]:
    """`await serve("floor" | "stackly" | "ack-first")` starts one."""

    async def start(which: str) -> Server:
        environment = {**os.environ, "BENCH_URL": database, "PYTHONPATH": str(_ROOT)}
        argv = [sys.executable, str(_HERE / "accept_servers.py"), which]
        process = await asyncio.create_subprocess_exec(*argv, env=environment, stdout=asyncio.subprocess.PIPE)
        assert process.stdout is not None
        port = int(await asyncio.wait_for(process.stdout.readline(), 60))
        while not await _answers(port):
            assert process.returncode is None, f"{which} ended"
            await asyncio.sleep(0.05)
        return Server(process, port)

    return start
