"""What an edge agent does on its one machine: a database, or load.

Every sample starts from a fresh copy of the prepared load and a CHECKPOINT, then its warm-up. pgbench measures the copy
that was warmed up; Stroppy's loads cannot be run twice, so its measure gets a second fresh copy and only the
server, not the copy, is warm. A measure whose copy was not made for it is refused.
"""

import asyncio
import contextlib
import gzip
import json
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent import workdir
from agent.context import Cancelled, Credentials, StepContext
from agent.generators import install
from agent.generators.model import Generator, Installed, Job
from agent.generators.pgbench import Pgbench
from agent.generators.sample import Machine, take_sample
from agent.postgres import binaries, fingerprint, observe, reset
from agent.postgres.connection import Address, Door
from agent.postgres.container import ContainerServer, network_launcher
from agent.postgres.server import LocalServer
from agent.processes import Redactor
from agent.sandbox import part as parts
from agent.sandbox.isolation import Isolation, find
from stackly import clock
from stackly.engine.contracts.edge import (
    CollectInput,
    CollectOutcome,
    DatabaseInput,
    DatabaseOutcome,
    Endpoint,
    InstallInput,
    InstallOutcome,
    MeasureInput,
    MeasureOutcome,
    PrepareInput,
    PrepareOutcome,
    WarmupInput,
    WarmupOutcome,
    WorkloadSpec,
)
from stackly.errors import Conflict, Invalid, StacklyError


@dataclass(frozen=True, slots=True)
class EdgeSettings:
    """Shape: `postgres_binaries` are directories with a bin/, before the wheel's; `stroppy` is STACKLY_STROPPY."""

    cache: Path
    postgres_binaries: tuple[Path, ...] = ()
    stroppy: Path | None = None
    stroppy_manifest: Path | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    isolation: Isolation | None = None  # found where none is given
    readable: tuple[Path, ...] = ()  # what a load generator may read besides its own and the system's


class EdgeWork:
    """One machine. Shape: `container` is the id of its network container on target docker, else None."""

    def __init__(
        self, directory: Path, credentials: Credentials, machine: str, container: str | None, settings: EdgeSettings
    ) -> None:
        self.directory = directory.absolute()
        self.machine = machine
        self._credentials = credentials
        self._container = container
        self._settings = settings
        self._redactor = Redactor([credentials.superuser_password, credentials.user_password])
        self._isolation = settings.isolation or find(self.directory)
        self._server: LocalServer | ContainerServer | None = None
        self._chosen: dict[tuple[str, str], tuple[Generator, Installed]] = {}

    # -- the database's side

    async def start_database(self, given: DatabaseInput, context: StepContext) -> DatabaseOutcome:
        began = clock.monotonic()
        if given.engine != "postgres":
            raise Invalid(f"There is no engine {given.engine} here; use postgres.")
        self._server = self._make_server(given)
        context.log(f"starting Postgres {given.version} on {given.listen}:{given.port}")
        version, reported = await self._server.start(given, context.cancelled)
        self._remember(given)
        described = fingerprint.of_machine(self.directory) | {"server_version": version}
        if isinstance(self._server, ContainerServer):
            described |= self._server.image | {"isolation": "container"}
        else:
            described["isolation"] = self._isolation.name
        context.log(f"Postgres {version} answers on {given.listen}:{given.port}")
        return DatabaseOutcome(version, reported, described, clock.monotonic() - began)

    def _make_server(self, given: DatabaseInput) -> LocalServer | ContainerServer:
        place = self.directory / "postgres"
        if self._container is None:
            if given.image:
                raise Invalid("Target local runs installed binaries, no images; use target docker for database.image.")
            return LocalServer(place, self._binaries(given.version), self._credentials, self._part("database"))
        own = None if given.image else self._binaries(given.version)
        return ContainerServer(place, self._container, self._credentials, self._settings.labels, own)

    def _binaries(self, version: str) -> binaries.Binaries:
        return binaries.of_major(version, self._settings.postgres_binaries)

    def _remember(self, given: DatabaseInput) -> None:
        """For a collect after our own restart. No secret is in it."""
        known = {"listen": given.listen, "port": given.port}
        (self.directory / "postgres.json").write_text(json.dumps(known))

    async def collect(self, given: CollectInput, context: StepContext) -> CollectOutcome:
        """Server log and effective settings to storage."""
        del given
        began = clock.monotonic()
        try:
            known = json.loads((self.directory / "postgres.json").read_text())
        except FileNotFoundError:
            raise Conflict("No database was started on this machine; there is nothing to collect.") from None
        door = Door(Address(known["listen"], known["port"]), self._credentials)
        settings = self.directory / "settings.json"
        settings.write_text(json.dumps(await observe.effective_settings(door), indent=1))
        log = await self._server_log()
        artifacts = {
            "settings.json": await context.put_artifact("settings.json", settings, "application/json"),
            "server.log.gz": await context.put_artifact("server.log.gz", log, "application/gzip"),
        }
        return CollectOutcome(artifacts, clock.monotonic() - began)

    async def _server_log(self) -> Path:
        if isinstance(self._server, ContainerServer):
            await self._server.save_log()
        source, target = self.directory / "postgres" / "server.log", self.directory / "server.log.gz"
        await asyncio.to_thread(_compress, source, target, self._redactor)
        return target

    async def close(self) -> None:
        """End the database that this agent started."""
        if self._server is not None:
            await self._server.stop()

    # -- the load's side

    async def install(self, given: InstallInput, context: StepContext) -> InstallOutcome:
        began = clock.monotonic()
        generator, found = await self._generator(given.workload, given.endpoint, context)
        generator.check(given.workload)
        context.log(f"{generator.adapter} {found.version} sha256 {found.sha256[:12]}")
        return InstallOutcome(
            given.workload.driver, found.version, generator.adapter, found.sha256, clock.monotonic() - began
        )

    async def _generator(
        self, workload: WorkloadSpec, endpoint: Endpoint, context: StepContext
    ) -> tuple[Generator, Installed]:
        key = (workload.driver, workload.driver_version)
        if key not in self._chosen:
            chosen = await self._choose(workload, endpoint, context)
            self._chosen[key] = (chosen, await chosen.install())
        return self._chosen[key]

    async def _choose(self, workload: WorkloadSpec, endpoint: Endpoint, context: StepContext) -> Generator:
        if workload.driver == "pgbench":
            version = workload.driver_version or await self._server_major(endpoint)
            return Pgbench(binaries.for_server(version, self._settings.postgres_binaries))
        if workload.driver == "stroppy":
            wanted = self._settings
            source = install.Source(wanted.cache, wanted.stroppy, wanted.stroppy_manifest)
            return await install.stroppy(source, workload.driver_version, context.cancelled, self._load())
        raise Invalid(f"There is no load driver {workload.driver}; use pgbench or stroppy.")

    def _part(self, name: str) -> parts.Part:
        return parts.of(self._isolation, self.directory, name)

    def _load(self, launcher: tuple[str, ...] = ()) -> parts.Part:
        return parts.of(self._isolation, self.directory, "load", launcher).seeing(*self._settings.readable)

    async def _server_major(self, endpoint: Endpoint) -> str:
        async with self._door(endpoint).superuser() as connection:
            return str(await connection.fetchval("SELECT current_setting('server_version_num')::int / 10000"))

    def _door(self, endpoint: Endpoint) -> Door:
        return Door(Address(endpoint.host, endpoint.port), self._credentials)

    async def prepare(self, given: PrepareInput, context: StepContext) -> PrepareOutcome:
        """Load into an empty database, then keep it as the template of every sample."""
        began = clock.monotonic()
        generator, _ = await self._generator(given.workload, given.endpoint, context)
        generator.check(given.workload)
        door, database = self._door(given.endpoint), given.endpoint.database
        await reset.empty(door, database)
        async with self._whole(door, database):
            job = await self._job(given, context, "prepare", timeout_s=given.timeout_s)
            effective = await generator.prepare(job)
        size = await reset.keep(door, database)
        return PrepareOutcome(clock.monotonic() - began, size, effective)

    async def warmup(self, given: WarmupInput, context: StepContext) -> WarmupOutcome:
        began = clock.monotonic()
        generator, _ = await self._generator(given.workload, given.endpoint, context)
        door, database = self._door(given.endpoint), given.endpoint.database
        await reset.fresh(door, database, given.sample)
        async with self._whole(door, database):
            if given.seconds > 0:
                job = await self._job(given, context, "warm", seconds=given.seconds, sample=given.sample)
                await generator.warm(job)
        await reset.mark(door, database, "warmed", given.sample)
        return WarmupOutcome(clock.monotonic() - began)

    async def measure(self, given: MeasureInput, context: StepContext) -> MeasureOutcome:
        """One sample, never repeated by itself. Raises: Conflict without a fresh copy; Cancelled."""
        generator, found = await self._generator(given.workload, given.endpoint, context)
        door, database = self._door(given.endpoint), given.endpoint.database
        await reset.require(door, database, "warmed", given.sample)
        if not generator.repeatable:
            await reset.fresh(door, database, given.sample)
        await reset.mark(door, database, "measured", given.sample)
        async with self._whole(door, database):
            job = await self._job(given, context, "measure", seconds=given.seconds, sample=given.sample, live=True)
            shared = self._container is not None
            machine = Machine(self.directory, self.machine, shared, self._isolation.name)
            return await take_sample(generator, found, job, door, machine)

    @asynccontextmanager
    async def _whole(self, door: Door, database: str) -> AsyncIterator[None]:
        """A load that is cut off leaves no backend working behind it."""
        try:
            yield
        except (Cancelled, asyncio.CancelledError, StacklyError):
            with contextlib.suppress(StacklyError):  # the first error is the one to tell
                async with door.superuser() as connection:
                    await reset.end_sessions(connection, database)
            raise

    async def _job(
        self, given: PrepareInput | WarmupInput | MeasureInput, context: StepContext, phase: str, **more: Any
    ) -> Job:
        launcher = await asyncio.to_thread(network_launcher, self._container) if self._container else ()
        part = self._load(launcher)
        directory = self.directory / "load" / f"{phase}-{more.get('sample', 0)}"
        shutil.rmtree(directory, ignore_errors=True)
        for made in (directory.parent, directory):
            workdir.private(made, 0o711 if part.uid else 0o700)
        return Job(
            workload=given.workload,
            endpoint=given.endpoint,
            user=self._credentials.user,
            password=self._credentials.user_password,
            directory=directory,
            context=context,
            redactor=self._redactor,
            part=part,
            **more,
        )


def _compress(source: Path, target: Path, redactor: Redactor) -> None:
    with source.open(encoding="utf-8", errors="replace") as lines, gzip.open(target, "wt") as out:
        for line in lines:
            out.write(redactor.text(line))
