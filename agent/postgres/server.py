"""A standalone server on this machine, from binaries: its own directory, its own user, TCP on one address only."""

import asyncio
import contextlib
import shutil
import signal
from pathlib import Path

import psutil

from agent import workdir
from agent.context import Cancelled, Credentials
from agent.postgres import identity
from agent.postgres.binaries import Binaries
from agent.postgres.config import Place, pg_hba, postgresql_conf, socket_dir
from agent.postgres.connection import Address, Door
from agent.postgres.evidence import ready
from agent.processes import Capture, Child, Redactor, run, spawn, tail
from agent.sandbox.part import Part
from stackly import clock
from stackly.engine.contracts.edge import DatabaseInput
from stackly.errors import Faulty, Unavailable

STOP_S = 30.0


class LocalServer:
    """Shape: everything lies under `directory`: of ours the configuration and the logs, of its own data/ and run/.

    It has no parent-death signal: a database outlives its agent, which finds it again by its working directory.
    """

    def __init__(self, directory: Path, binaries: Binaries, credentials: Credentials, part: Part) -> None:
        self.directory = directory
        self.log = directory / "server.log"
        self._data = directory / "data"
        self._socket = directory / "run"
        self._binaries = binaries
        self._credentials = credentials
        self._part = part.seeing(*binaries.needs)
        self._child: Child | None = None

    async def start(self, given: DatabaseInput, cancelled: asyncio.Event) -> tuple[str, dict[str, str]]:
        """Raises: Faulty with the server's own words; Cancelled. A server of an earlier life is ended first."""
        deadline = clock.monotonic() + given.timeout_s
        postgresql_conf(self._place(given), given.settings)  # a setting that is ours is refused before any work
        # In a sandbox of its own a second postmaster does not see the first: nobody may be left in the directory.
        await self.stop()
        part = self._directories()
        await self._initdb(part, cancelled)
        files = self._write(given)
        settings = [flag for name, path in files.items() for flag in ("-c", f"{name}={path}")]
        program = self._binaries.program("postgres")
        self._child = await spawn(
            [*identity.namespace(part.uid), program, "-D", str(self._data), *settings],
            cwd=self._data,
            stdout=self.log,
            stderr=self.log,
            part=part.seeing(*files.values()),
        )
        return await self._ready(given, deadline, cancelled)

    def _place(self, given: DatabaseInput) -> Place:
        return Place(given.listen, given.port, tuple(given.admit), socket_dir(self._socket))

    def _directories(self) -> Part:
        shutil.rmtree(self.directory, ignore_errors=True)
        workdir.private(self.directory, 0o711 if self._part.uid else 0o700)
        return self._part.writing(self._data, self._socket)

    async def _initdb(self, part: Part, cancelled: asyncio.Event) -> None:
        pwfile = self.directory / "initial"
        workdir.write_private(pwfile, f"{self._credentials.superuser_password}\n".encode())
        inner, prefix, uid = identity.for_initdb(part)
        for path in (self._data, pwfile):
            workdir.give(path, uid)
        program = [*prefix, self._binaries.program("initdb"), "-D", str(self._data)]
        flags = ["-U", self._credentials.superuser, f"--pwfile={pwfile}"]
        flags += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"]
        output = self.directory / "initdb.log"
        try:
            ended = await run(
                [*program, *flags],
                cwd=self._data,
                stdout=Capture(output, redactor=Redactor([self._credentials.superuser_password])),
                stderr=self.directory / "initdb.err",
                cancelled=cancelled,
                timeout=120,
                part=inner.seeing(pwfile),
            )
        finally:
            pwfile.unlink(missing_ok=True)
        if ended.stopped == "cancelled":
            raise Cancelled
        if ended.code:
            raise Faulty(f"initdb ended with {ended.code}: {tail(self.directory / 'initdb.err')}")
        workdir.give(self._data, part.uid)

    def _write(self, given: DatabaseInput) -> dict[str, Path]:
        """Beside the data: what the server may write, its superuser may. Shape: by the setting that names the file."""
        place = self._place(given)
        texts = {"config_file": postgresql_conf(place, given.settings), "hba_file": pg_hba(place)}
        files = {"config_file": self.directory / "postgresql.conf", "hba_file": self.directory / "pg_hba.conf"}
        for name, path in files.items():
            workdir.write_private(path, texts[name].encode())
            workdir.lend(path, self._part.uid)
        return files

    async def _ready(
        self, given: DatabaseInput, deadline: float, cancelled: asyncio.Event
    ) -> tuple[str, dict[str, str]]:
        door = Door(Address(given.listen, given.port), self._credentials)
        answering = asyncio.ensure_future(ready(door, given, self._credentials, deadline, cancelled))
        assert self._child is not None
        gone = asyncio.ensure_future(self._child.process.wait())
        try:
            await asyncio.wait({answering, gone}, return_when=asyncio.FIRST_COMPLETED)
            if answering.done():
                return answering.result()
        except Unavailable as error:
            await self.stop()
            text = f"Postgres was not ready in {given.timeout_s:g} s: {error.detail}\n{tail(self.log)}"
            raise Faulty(text) from error
        except BaseException:
            await self.stop()
            raise
        finally:
            answering.cancel()
            gone.cancel()
            await asyncio.gather(answering, gone, return_exceptions=True)
        raise Faulty(f"Postgres ended while starting: {tail(self.log)}")

    async def stop(self) -> None:
        """Fast shutdown, then SIGKILL; again is the same. Also for a server that an earlier agent started."""
        if self._child is not None and self._child.running():
            await self._child.stop(grace=STOP_S, first=signal.SIGINT)
        self._child = None
        await asyncio.to_thread(end_processes_in, self.directory)

    def running(self) -> bool:
        return self._child is not None and self._child.running()


def _working_in(directory: Path) -> list[psutil.Process]:
    inside = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if Path(process.cwd()).is_relative_to(directory):
                inside.append(process)
    return inside


def end_processes_in(directory: Path) -> None:
    """SIGKILL until no process works below the directory: Postgres' children leave every group and mark."""
    root = directory.resolve()
    for _ in range(50):
        found = _working_in(root)
        if not found:
            return
        for process in found:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(found, timeout=0.2)
    raise Faulty(f"Processes below {directory} do not end.")
