"""The gateway's entry point, as the supervisor starts it: a process of its own."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from stackly.local.scratch import free_port
from stackly.settings import S3


@dataclass(frozen=True, slots=True)
class GatewayProcess:
    process: asyncio.subprocess.Process
    gateway: str
    enrol: str
    health: str

    async def ended(self, signum: int = signal.SIGTERM) -> int:
        self.process.send_signal(signum)
        return await asyncio.wait_for(self.process.wait(), 20)


def configured(home: Path, database: str, s3: S3 | None = None, **more: object) -> dict[str, str]:
    """Its settings, written below `home`. Shape: the addresses by their name there."""
    names = ("gateway_address", "enrol_address", "gateway_health_address")
    addresses = {name: f"127.0.0.1:{free_port()}" for name in names}
    objects = {"endpoint": "http://127.0.0.1:9", "access_key": "a", "secret_key": "b"}
    if s3 is not None:
        objects = s3.model_dump() | {"secret_key": s3.secret_key.get_secret_value()}
    settings = {"database_url": database, "s3": objects, **addresses, **more}
    (home / "config.json").write_text(json.dumps({"settings": settings}))
    return addresses


@asynccontextmanager
async def running(home: Path, addresses: dict[str, str], path: str = "/readyz") -> AsyncIterator[GatewayProcess]:
    """It answers at `path` when it is given, and is gone at the end."""
    argv = [sys.executable, "-m", "stackly.api.grpc.main"]
    process = await asyncio.create_subprocess_exec(*argv, env={**os.environ, "STACKLY_HOME": str(home)})
    gateway, enrol, health = (addresses[f"{n}_address"] for n in ("gateway", "enrol", "gateway_health"))
    served = GatewayProcess(process, gateway, enrol, health)
    try:
        async with httpx.AsyncClient(timeout=5) as http:
            while not await _answers(http, served.health + path):
                assert process.returncode is None
                await asyncio.sleep(0.05)
        yield served
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _answers(http: httpx.AsyncClient, where: str) -> bool:
    try:
        return (await http.get(f"http://{where}")).is_success
    except httpx.TransportError:
        return False
