"""The entry point as the supervisor starts it: a process, ready, and gone at SIGTERM."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import httpx

from stackly.local.scratch import free_port


async def test_the_process_gets_ready_and_stops_at_sigterm(database: str, tmp_path: Path) -> None:
    api = free_port()
    settings = {
        "database_url": database,
        "api_port": api,
        "api_url": f"http://127.0.0.1:{api}",
        "s3": {"endpoint": "http://127.0.0.1:9", "access_key": "a", "secret_key": "b"},
    }
    (tmp_path / "config.json").write_text(json.dumps({"settings": settings}))
    environment = {**os.environ, "STACKLY_HOME": str(tmp_path)}
    argv = [sys.executable, "-m", "stackly.api.main"]
    process = await asyncio.create_subprocess_exec(*argv, env=environment, stderr=asyncio.subprocess.PIPE)
    try:
        async with httpx.AsyncClient() as client:
            while True:
                assert process.returncode is None, await _said(process)
                try:
                    answer = await client.get(f"http://127.0.0.1:{api}/readyz", timeout=5)
                    break
                except httpx.TransportError:
                    await asyncio.sleep(0.1)
            assert answer.json()["ready"] is True
            assert "server" not in answer.headers
        process.terminate()
        await asyncio.wait_for(process.wait(), 20)
    finally:
        if process.returncode is None:
            process.kill()


async def _said(process: asyncio.subprocess.Process) -> str:
    assert process.stderr is not None
    return (await process.stderr.read()).decode()
