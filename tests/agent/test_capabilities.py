"""What an agent can do is asked anew at each beat: Docker may be started, or stopped, after it."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from agent import main
from agent.settings import usable_targets


async def _listening(path: Path) -> asyncio.Server:
    return await asyncio.start_unix_server(lambda _, writer: writer.close(), path)


async def test_docker_counts_while_somebody_listens(tmp_path: Path) -> None:
    socket = tmp_path / "d.sock"
    assert usable_targets(["local", "docker"], str(socket)) == ["local"]
    daemon = await _listening(socket)
    assert await asyncio.to_thread(usable_targets, ["local", "docker"], str(socket)) == ["local", "docker"]
    daemon.close()
    await daemon.wait_closed()
    socket.touch()  # what a daemon that was killed leaves behind
    assert usable_targets(["local", "docker"], str(socket)) == ["local"]


async def test_a_beat_says_what_the_agent_can_do_now() -> None:
    told: list[Any] = []
    now = iter([{"targets": ["local"]}, {"targets": ["docker", "local"]}])

    async def heartbeat(_life: str, _version: str, able: Any, **_: Any) -> tuple[bool, bool]:
        told.append(able["targets"])
        return False, False

    life: Any = SimpleNamespace(incarnation="i", able=lambda: next(now), gateway=SimpleNamespace(heartbeat=heartbeat))
    polling: Any = SimpleNamespace(is_polling=True)
    for _ in range(2):
        await main._beat_once(life, polling, None, failing=False)
    assert told == [["local"], ["docker", "local"]]
