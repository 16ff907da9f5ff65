"""A real server of each major, started as an edge agent starts it."""

import asyncio
import os
import re
import stat
from pathlib import Path

import asyncpg
import psutil
import pytest

from agent import workdir
from agent.edge import EdgeSettings, EdgeWork
from agent.postgres import reset
from agent.postgres.binaries import installed, of_major
from agent.postgres.connection import Address, Door
from agent.postgres.server import LocalServer
from stackly.engine.contracts.edge import CollectInput
from stackly.errors import Conflict, Faulty, Invalid, NotFound, Unavailable
from tests.agent.edge_parts import KeptContext, MakeContext, MakeInput, Running, Secrets


def server_of(work: EdgeWork) -> tuple[LocalServer, int]:
    """The server and the pid of its postmaster."""
    server = work._server
    assert isinstance(server, LocalServer)
    assert server._child is not None
    found = [p for p in map(psutil.Process, workdir.occupants(server.directory)) if p.name() == "postgres"]
    return server, min(found, key=lambda p: p.create_time()).pid


def door_of(running: Running, secrets: Secrets) -> Door:
    return Door(Address(running.endpoint.host, running.endpoint.port), secrets)


def test_the_wheel_offers_its_majors() -> None:
    assert {16, 18} <= set(installed())


def test_a_major_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(NotFound, match=r"17 is not on this machine \(majors here: .*16.*18"):
        of_major("17")


async def test_it_answers_as_asked(running: Running) -> None:
    assert running.outcome.server_version.startswith(running.given.version + ".")
    assert running.outcome.settings == running.given.settings
    described = running.outcome.fingerprint
    assert described["cores"] == os.cpu_count()
    assert described["server_version"] == running.outcome.server_version
    assert {"cpu_model", "memory_mb", "kernel", "filesystem"} <= set(described)


async def test_it_does_not_run_as_root_and_nobody_else_reads_its_data(running: Running) -> None:
    server, pid = server_of(running.work)
    process = psutil.Process(pid)
    status = await asyncio.to_thread(Path(f"/proc/{process.pid}/status").read_text)
    assert re.search(r"^CapEff:\t0+$", status, re.MULTILINE)
    if os.geteuid() == 0:
        assert set(process.uids()) & {0, 65534} == set()
    assert stat.S_IMODE((server.directory / "data").stat().st_mode) == 0o700


async def test_secrets_are_in_no_argument_environment_or_file(running: Running, secrets_of_test: Secrets) -> None:
    secrets = [secrets_of_test.superuser_password, secrets_of_test.user_password]
    for process in psutil.process_iter():
        try:
            if not process.cwd().startswith(str(running.work.directory)):
                continue
            told = " ".join(process.cmdline()) + str(process.environ())
        except psutil.Error:
            continue
        assert not any(s in told for s in secrets)
    for path in running.work.directory.rglob("*"):
        if path.is_file() and path.stat().st_size < 2**20:
            data = path.read_bytes()
            assert not any(s.encode() in data for s in secrets), path


async def test_only_scram_and_only_a_right_password(running: Running, secrets_of_test: Secrets) -> None:
    async with door_of(running, secrets_of_test).superuser() as connection:
        stored = await connection.fetch("SELECT rolpassword FROM pg_authid WHERE rolpassword IS NOT NULL")
        assert len(stored) == 2
        assert all(r[0].startswith("SCRAM-SHA-256$") for r in stored)
        listening = await connection.fetchval("SELECT current_setting('listen_addresses')")
        assert listening == "127.0.0.1"
        methods = await connection.fetch("SELECT DISTINCT auth_method FROM pg_hba_file_rules")
        assert {r[0] for r in methods} == {"scram-sha-256", "reject"}
    wrong = type(secrets_of_test)(user_password="not-it")
    with pytest.raises(Unavailable, match="does not take load"):
        async with door_of(running, wrong).load("bench"):
            pass


async def test_an_address_that_is_not_admitted_is_rejected(running: Running, secrets_of_test: Secrets) -> None:
    with pytest.raises(asyncpg.PostgresError, match=r"hba\.conf rejects"):
        await _from_address("127.0.0.9", running, secrets_of_test)


async def _from_address(source: str, running: Running, secrets: Secrets) -> None:
    """asyncpg cannot choose where it comes from: a forwarder on that address can."""

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", running.endpoint.port, local_addr=(source, 0))

        async def copy(a: asyncio.StreamReader, b: asyncio.StreamWriter) -> None:
            while data := await a.read(65536):
                b.write(data)
                await b.drain()
            b.close()

        await asyncio.gather(copy(reader, back), copy(there, writer), return_exceptions=True)

    server = await asyncio.start_server(forward, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        await asyncpg.connect(
            host="127.0.0.1", port=port, user=secrets.user, password=secrets.user_password, database="bench", ssl=False
        )


async def test_the_load_role_is_no_superuser(running: Running, secrets_of_test: Secrets) -> None:
    async with door_of(running, secrets_of_test).load("bench") as connection:
        assert await connection.fetchval("SELECT current_setting('is_superuser')") == "off"


async def test_collect_keeps_the_log_and_the_settings(running: Running, new_context: MakeContext) -> None:
    context = new_context()
    outcome = await running.work.collect(CollectInput(running.given.key), context)
    assert set(outcome.artifacts) == {"settings.json", "server.log.gz"}
    assert b"work_mem" in context.artifacts["settings.json"]


async def test_collect_without_a_database_is_refused(
    tmp_path: Path, secrets_of_test: Secrets, kept: KeptContext
) -> None:
    work = EdgeWork(tmp_path, secrets_of_test, "load", None, EdgeSettings(cache=tmp_path))
    with pytest.raises(Conflict, match="nothing to collect"):
        await work.collect(CollectInput(kept.key), kept)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"work_memory": "5MB"}, "work_memory"),
        ({"shared_buffers": "5 bananas"}, "shared_buffers"),
    ],
)
async def test_a_setting_the_server_refuses_is_named(
    tmp_path: Path,
    secrets_of_test: Secrets,
    kept: KeptContext,
    database_input: MakeInput,
    settings: dict[str, str],
    told: str,
) -> None:
    work = EdgeWork(tmp_path / "m", secrets_of_test, "db", None, EdgeSettings(cache=tmp_path))
    with pytest.raises(Faulty, match=told):
        await work.start_database(database_input(settings=settings), kept)
    assert not [p for p in psutil.process_iter(["cwd"]) if str(p.info["cwd"]).startswith(str(tmp_path))]


async def test_a_setting_that_is_ours_is_refused_before_anything_is_made(
    tmp_path: Path, secrets_of_test: Secrets, kept: KeptContext, database_input: MakeInput
) -> None:
    work = EdgeWork(tmp_path / "m", secrets_of_test, "db", None, EdgeSettings(cache=tmp_path))
    with pytest.raises(Invalid, match="listen_addresses"):
        await work.start_database(database_input(settings={"listen_addresses": "*"}), kept)
    assert not (tmp_path / "m" / "postgres").exists()


async def test_start_again_after_a_lost_agent_replaces_its_server(
    tmp_path: Path, secrets_of_test: Secrets, new_context: MakeContext, database_input: MakeInput
) -> None:
    settings = EdgeSettings(cache=tmp_path)
    first = EdgeWork(tmp_path / "m", secrets_of_test, "db", None, settings)
    given = database_input()
    await first.start_database(given, new_context())
    old = server_of(first)[1]
    second = EdgeWork(tmp_path / "m", secrets_of_test, "db", None, settings)
    try:
        outcome = await second.start_database(given, new_context())
        assert outcome.server_version.startswith("16.")
        assert server_of(second)[1] != old
    finally:
        await second.close()
    assert not [p for p in psutil.process_iter(["cwd"]) if str(p.info["cwd"]).startswith(str(tmp_path))]


async def test_every_sample_gets_a_fresh_copy_and_one_without_is_refused(
    running: Running, secrets_of_test: Secrets
) -> None:
    door = door_of(running, secrets_of_test)
    await reset.empty(door, "copies")
    async with door.load("copies") as connection:
        await connection.execute("CREATE TABLE t AS SELECT 1 AS n")
    assert await reset.keep(door, "copies") > 0
    for sample in (1, 2):
        await reset.fresh(door, "copies", sample)
        async with door.load("copies") as connection:
            assert await connection.fetchval("SELECT count(*) FROM t") == 1
            await connection.execute("INSERT INTO t VALUES (2)")
        await reset.require(door, "copies", "fresh", sample)
        with pytest.raises(Conflict, match="no fresh copy"):
            await reset.require(door, "copies", "fresh", sample + 1)
    with pytest.raises(Unavailable):
        async with door.load(reset.template_of("copies")):
            pass
    with pytest.raises(Conflict, match="no prepared load"):
        await reset.fresh(door, "never", 1)
