"""The benchmarked server's superuser is a stranger: through its server it gets no further than the server may."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import psutil
import pytest

from agent import workdir
from agent.edge import EdgeSettings, EdgeWork
from agent.postgres.connection import Address, Door
from agent.sandbox.box import Kind
from stackly.engine.contracts.edge import DatabaseInput
from tests.agent.edge_parts import KEY, KeptContext, Secrets, free_port_now
from tests.agent.sandboxes import SEPARATING, isolated, open_directory

TOKEN = "stk_token_of_the_home"


@dataclass
class Machine:
    """Shape: `root` is a STACKLY_HOME, with its platform's Postgres beside the machine under test."""

    root: Path
    work: EdgeWork
    door: Door
    kind: Kind

    @property
    def secrets(self) -> list[Path]:
        return [
            *(self.root / "token", self.root / "postgres" / "data" / "pg_hba.conf"),
            *(self.work.directory / "enrolment.json", self.work.directory / "postgres" / "server.log"),
            Path(f"/proc/{os.getpid()}/environ"),
        ]

    async def program(self, command: str) -> str:
        """What a program of the server prints, or why it does not run."""
        async with self.door.superuser() as connection:
            await connection.execute("CREATE TEMP TABLE said (line text)")
            try:
                await connection.execute(f"COPY said FROM PROGRAM $${command}$$")
            except asyncpg.PostgresError as error:
                return str(error)
            return "\n".join(r[0] for r in await connection.fetch("SELECT line FROM said"))

    async def ask(self, query: str, *values: object) -> str:
        async with self.door.superuser() as connection:
            try:
                return str(await connection.fetchval(query, *values))
            except asyncpg.PostgresError as error:
                return f"refused: {error}"


@asynccontextmanager
async def started(kind: Kind) -> AsyncIterator[Machine]:
    with open_directory() as root:
        for path in (root / "token", root / "postgres" / "data" / "pg_hba.conf"):
            workdir.private(path.parent, 0o711)
            workdir.write_private(path, TOKEN.encode())
        home = root / "agent" / "machines" / "r1.t1.db"
        workdir.private(root / "agent", 0o711)
        workdir.private(home.parent, 0o711)
        workdir.private(home, 0o711)
        workdir.write_private(home / "enrolment.json", TOKEN.encode())
        settings = EdgeSettings(cache=root / "cache", isolation=isolated(kind, home))
        work = EdgeWork(home, Secrets(), "db", None, settings)
        given = DatabaseInput(KEY, "postgres", "18", "127.0.0.1", free_port_now(), ["127.0.0.1"], {"fsync": "off"})
        outcome = await work.start_database(given, KeptContext())
        assert outcome.fingerprint["isolation"] == settings.isolation.name if settings.isolation else False
        yield Machine(root, work, Door(Address("127.0.0.1", given.port), Secrets()), kind)
        await work.close()
        assert workdir.occupants(root) == []


@pytest.fixture(scope="module", params=[*SEPARATING, Kind.NONE])
async def machine(request: pytest.FixtureRequest) -> AsyncIterator[Machine]:
    """One of each kind for all that is tried in vain on it."""
    async with started(request.param) as made:
        yield made


separated = pytest.mark.parametrize("machine", SEPARATING, indirect=True)


@separated
async def test_it_reads_nothing_of_the_home_of_the_agent_and_of_the_platform(machine: Machine) -> None:
    for path in machine.secrets:
        assert (await machine.ask("SELECT pg_read_binary_file($1)", str(path))).startswith("refused")
        assert TOKEN not in await machine.program(f"cat {path}")
    for directory in (machine.root, machine.root / "agent" / "machines"):
        listed = await machine.ask("SELECT array_agg(f)::text FROM pg_ls_dir($1) f", str(directory))
        assert "token" not in listed
        assert "refused" in listed or "enrolment" not in listed


@separated
async def test_it_writes_neither_the_platforms_files_nor_its_own_configuration(machine: Machine) -> None:
    own = machine.work.directory / "postgres" / "pg_hba.conf"
    before = own.read_bytes()
    for path in (*machine.secrets[:-1], own):
        told = await machine.ask("SELECT lo_export(lo_from_bytea(0, 'host all all all trust'), $1)", str(path))
        assert told.startswith("refused")
        assert "trust" not in await machine.program(f"echo host all all all trust > {path}; echo")
    assert own.read_bytes() == before
    assert (machine.root / "postgres" / "data" / "pg_hba.conf").read_text() == TOKEN
    assert (machine.root / "token").read_text() == TOKEN


@separated
async def test_its_programs_have_a_user_of_their_own_and_no_right(machine: Machine) -> None:
    said = await machine.program(
        f"id -u; grep CapEff /proc/self/status | tr -d '[:blank:]'; kill -9 {os.getpid()} 2>&1; true"
    )
    uid, caps, *_ = said.splitlines()
    assert int(uid) not in (0, 65534) or os.geteuid() != 0
    assert caps == "CapEff:" + "0" * 16
    assert psutil.Process().is_running()


async def test_without_isolation_the_same_superuser_reads_all_of_it(machine: Machine) -> None:
    """The other kinds are asked the same, so that this is the only difference."""
    told = await machine.ask("SELECT convert_from(pg_read_binary_file($1), 'utf8')", str(machine.root / "token"))
    assert (told == TOKEN) == (machine.kind is Kind.NONE)


@pytest.mark.parametrize("kind", SEPARATING)
async def test_a_program_that_left_the_server_ends_with_it(kind: Kind) -> None:
    async with started(kind) as own:
        await own.program("cd / && setsid sleep 97531 >/dev/null 2>&1 </dev/null & true")
        await own.work.close()
        lines = [workdir.arguments(pid) for pid, _ in workdir.working_directories()]
        assert [line for line in lines if "97531" in line] == []
