"""A Temporal server of a test's own: it can be frozen, killed, and put back to what its disk held earlier."""

import asyncio
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from temporalio.client import Client
from temporalio.service import RPCError

from stackly.secrets import Keyring
from stackly.temporal.codec import AccountKeys, EncryptedPayloads
from stackly.temporal.sealed import data_converter


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class DevServer:
    folder: Path
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def file(self) -> Path:
        return self.folder / "temporal.sqlite"

    def start(self) -> Self:
        program = Path(sys.executable).parent / "temporal"
        line = [str(program), "server", "start-dev", "--headless", "--ip", "127.0.0.1", "--port", str(self.port)]
        line += ["--http-port", str(free_port()), "--metrics-port", str(free_port())]
        line += ["--db-filename", str(self.file), "--log-level", "error"]
        with (self.folder / "temporal.log").open("ab") as log:
            self.process = subprocess.Popen(line, stdout=log, stderr=log)
        return self

    async def client(self) -> Client:
        """Encrypted, as every component's; waits until the server answers."""
        codec = EncryptedPayloads(AccountKeys(Keyring(self.folder / "keyring.json"), "default"))
        async with asyncio.timeout(60):
            while True:
                try:
                    return await Client.connect(f"127.0.0.1:{self.port}", data_converter=data_converter(codec))
                except (RPCError, RuntimeError):
                    await asyncio.sleep(0.2)

    def copy(self) -> Path:
        """What the server has stored by now."""
        kept = self.folder / "earlier.sqlite"
        with closing(sqlite3.connect(self.file, timeout=20)) as live, closing(sqlite3.connect(kept)) as target:
            live.backup(target)
            assert target.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return kept

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def put_back(self, earlier: Path) -> None:
        # A server killed while it writes leaves a journal, which would be rolled back into the copy.
        for name in ("", "-journal", "-wal", "-shm"):
            Path(f"{self.file}{name}").unlink(missing_ok=True)
        earlier.rename(self.file)

    def freeze(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGCONT)
