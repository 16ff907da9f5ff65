"""Both Stroppy generations as they are: whichever executable STACKLY_STROPPY names, against a real server.

Shape: the generation is asked of the executable itself; where the two differ, the test says how.
"""

import asyncio
import contextlib
import gzip
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from agent import workdir
from agent.context import Cancelled
from agent.edge import EdgeSettings, EdgeWork
from agent.generators import install
from agent.generators.model import Job
from agent.generators.stroppy import Stroppy
from agent.postgres.connection import Address, Door
from agent.processes import Redactor
from stackly.engine.contracts.edge import (
    DatabaseInput,
    Endpoint,
    InstallInput,
    MeasureInput,
    MeasureOutcome,
    PrepareInput,
    WarmupInput,
    WorkloadSpec,
)
from stackly.errors import Conflict, Faulty
from tests.agent.edge_parts import KEY, KeptContext, MakeWorkload, Secrets, boxed, free_port_now

EXECUTABLE = os.environ.get("STACKLY_STROPPY", "")
pytestmark = [
    pytest.mark.stroppy,
    pytest.mark.skipif(not EXECUTABLE, reason="STACKLY_STROPPY names no real Stroppy"),
]
BENCHMARKS = ["tpcb/tx", "tpcc/tx"]
# Letters and digits only: whatever encoding would hide a leak, these come out of it as they went in.
SECRETS = Secrets(superuser_password="sup3rSecretWordOfThisTest", user_password="l0adSecretWordOfThisTest")


@dataclass
class Bench:
    """A database machine, a load machine, and all that the load machine's steps gave away."""

    server: EdgeWork
    load: EdgeWork
    endpoint: Endpoint
    contexts: list[KeptContext] = field(default_factory=list)
    told: list[Any] = field(default_factory=list)

    @property
    def door(self) -> Door:
        return Door(Address(self.endpoint.host, self.endpoint.port), SECRETS)

    def context(self) -> KeptContext:
        self.contexts.append(KeptContext())
        return self.contexts[-1]

    async def prepare(self, one: WorkloadSpec) -> None:
        self.told.append(await self.load.prepare(PrepareInput(KEY, one, self.endpoint, 120), self.context()))

    async def warm(self, one: WorkloadSpec, seconds: float, sample: int) -> None:
        await self.load.warmup(WarmupInput(KEY, one, self.endpoint, seconds, sample), self.context())

    async def measure(self, one: WorkloadSpec, seconds: float, sample: int) -> MeasureOutcome:
        given = MeasureInput(KEY, one, self.endpoint, seconds, sample)
        self.told.append(await self.load.measure(given, self.context()))
        found: MeasureOutcome = self.told[-1]
        return found

    def programs(self) -> list[int]:
        return workdir.occupants(self.load.directory)

    async def sessions(self) -> int:
        async with self.door.superuser() as connection:
            return int(await connection.fetchval("SELECT count(*) FROM pg_stat_activity WHERE usename = 'load'"))

    def given_away(self) -> dict[str, bytes]:
        """Everything but what is in the server's own directory: files, artifacts (unpacked), log, outcomes."""
        found = {str(p): p.read_bytes() for p in self.load.directory.rglob("*") if p.is_file()}
        for number, context in enumerate(self.contexts):
            found |= {f"{number}/{name}": _unpacked(kept) for name, kept in context.artifacts.items()}
            found[f"{number}/log"] = repr([*context.logs, ("", repr(context.points))]).encode()
        return {**found, "outcomes": repr(self.told).encode()}


def _unpacked(kept: bytes) -> bytes:
    return gzip.decompress(kept) if kept[:2] == b"\x1f\x8b" else kept


@pytest.fixture(scope="module")
async def bench(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    home = tmp_path_factory.mktemp("real-stroppy")
    server = EdgeWork(home / "db", SECRETS, "db", None, EdgeSettings(cache=home / "cache"))
    settings = EdgeSettings(cache=home / "cache", stroppy=Path(EXECUTABLE))
    given = DatabaseInput(
        key=KEY,
        engine="postgres",
        version="16",
        listen="127.0.0.1",
        port=free_port_now(),
        admit=["127.0.0.1"],
        settings={"shared_buffers": "64MB", "fsync": "off"},
    )
    await server.start_database(given, KeptContext())
    load = EdgeWork(home / "load", SECRETS, "load", None, settings)
    yield Bench(server, load, Endpoint("127.0.0.1", given.port, "bench"))
    await server.close()


@pytest.fixture
def spec(workload: MakeWorkload) -> MakeWorkload:
    def make(**changed: Any) -> WorkloadSpec:
        return workload(**{"driver": "stroppy", "name": "tpcb/tx", **changed})

    return make


@pytest.fixture
async def generator(bench: Bench) -> Stroppy:
    source = install.Source(bench.load.directory.parent / "cache", Path(EXECUTABLE))
    return await install.stroppy(source, "", asyncio.Event(), boxed(bench.load.directory))


@pytest.fixture
def job(bench: Bench, tmp_path: Path) -> Callable[[WorkloadSpec, Endpoint, str], Job]:
    def make(one: WorkloadSpec, endpoint: Endpoint, password: str) -> Job:
        user = SECRETS.user
        return Job(
            one,
            endpoint,
            user,
            password,
            tmp_path,
            bench.context(),
            Redactor([password]),
            boxed(tmp_path),
            3.0,
            timeout_s=60,
        )

    return make


def of_process(pid: int) -> bytes:
    found = b""
    for name in ("cmdline", "environ"):
        with contextlib.suppress(OSError):  # it ended while we looked
            found += Path(f"/proc/{pid}/{name}").read_bytes()
    return found


async def seen_while(bench: Bench, work: Awaitable[Any]) -> tuple[Any, bytes]:
    """What `ps` shows anybody, and what /proc shows us, of every program of the load machine while it works."""
    task, shown = asyncio.ensure_future(work), b""
    while not task.done():
        shown += b"".join(of_process(pid) for pid in bench.programs())
        await asyncio.wait({task}, timeout=0.2)
    return await task, shown


async def loading(bench: Bench, task: "asyncio.Future[Any]") -> None:
    """Until the load works in the database, and a moment more."""
    while not task.done() and (not bench.programs() or not await bench.sessions()):  # noqa: ASYNC110
        await asyncio.sleep(0.1)
    await asyncio.sleep(1.5)
    assert not task.done(), "the load ended before the test could disturb it"


@pytest.mark.parametrize("name", BENCHMARKS)
async def test_a_sample_is_a_result_and_no_password_is_seen(bench: Bench, spec: MakeWorkload, name: str) -> None:
    one = spec(name=name)
    installed = await bench.load.install(InstallInput(KEY, one, bench.endpoint), bench.context())
    _, shown = await seen_while(bench, bench.prepare(one))
    await bench.warm(one, 2, 1)
    found, more = await seen_while(bench, bench.measure(one, 5, 1))

    assert found.valid, found.reason
    got = found.result
    assert got["transactions"] > 0
    assert got["tps"] == pytest.approx(got["transactions"] / got["duration_s"], rel=1e-2)
    assert got["duration_s"] >= 4.75
    assert (got["errors"], got["error_rate"], got["lost_clients"]) == (0, 0, 0)
    latency = got["latency_ms"]
    assert 0 < latency["p50"] <= latency["p90"] <= latency["p95"] <= latency["p99"]
    assert latency["bound"] == {"stroppy-go": "upper", "stroppy-k6": "exact"}[installed.adapter]
    assert (got["nopm"] is not None) == (name == "tpcc/tx")
    assert got["fingerprint"]["adapter"] == installed.adapter
    assert got["fingerprint"]["driver_version"] == installed.driver_version
    assert len(installed.sha256) == 64

    assert b"stroppy" in shown + more, "the programs were looked at"
    for secret in (SECRETS.user_password, SECRETS.superuser_password):
        assert secret.encode() not in shown + more
        assert [place for place, text in bench.given_away().items() if secret.encode() in text] == []


async def test_a_load_is_not_measured_twice(bench: Bench, spec: MakeWorkload) -> None:
    one = spec()
    await bench.prepare(one)
    await bench.warm(one, 1, 1)
    first = await bench.measure(one, 2, 1)
    assert first.valid, first.reason
    with pytest.raises(Conflict, match="measured 1"):
        await bench.measure(one, 2, 1)
    await bench.warm(one, 1, 2)
    second = await bench.measure(one, 2, 2)
    assert second.valid, second.reason


async def test_what_stroppy_itself_says_of_a_second_run_is_no_result(
    bench: Bench, spec: MakeWorkload, generator: Stroppy, job: Callable[[WorkloadSpec, Endpoint, str], Job]
) -> None:
    one = spec()
    await bench.prepare(one)
    await bench.warm(one, 0, 1)
    given = job(one, bench.endpoint, SECRETS.user_password)
    first, second = await generator.measure(given), await generator.measure(given)
    assert (first.errors, first.lost_clients) == (0, 0)
    assert second.lost_clients > 0 or second.error_rate > 0.1


@pytest.mark.parametrize(("refused", "password"), [(True, SECRETS.user_password), (False, "n0t-the-password")])
async def test_a_database_that_does_not_let_it_in_is_a_failure(
    bench: Bench,
    spec: MakeWorkload,
    generator: Stroppy,
    job: Callable[[WorkloadSpec, Endpoint, str], Job],
    refused: bool,
    password: str,
) -> None:
    one = spec()
    await bench.prepare(one)
    await bench.warm(one, 0, 1)
    end = Endpoint("127.0.0.1", free_port_now(), "bench") if refused else bench.endpoint
    given = job(one, end, password)
    with pytest.raises(Faulty, match="could not prepare"):
        await generator.prepare(given)
    with pytest.raises(Faulty, match="warm-up failed"):
        await generator.warm(given)
    found = await generator.measure(given)
    assert found.code not in (0, 99)
    assert found.transactions == 0
    assert not found.code_is_verdict


async def test_killed_connections_are_told(bench: Bench, spec: MakeWorkload) -> None:
    one = spec()
    await bench.prepare(one)
    await bench.warm(one, 0, 1)
    task = asyncio.ensure_future(bench.measure(one, 5, 1))
    await loading(bench, task)
    async with bench.door.superuser() as connection:
        await connection.fetch("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'load'")
    found = await task
    assert not found.valid or found.result["errors"] > 0


async def test_cancelled_in_the_middle_nothing_is_left(bench: Bench, spec: MakeWorkload) -> None:
    one = spec(name="tpcc/tx")
    await bench.prepare(one)
    await bench.warm(one, 0, 1)
    task = asyncio.ensure_future(bench.measure(one, 60, 1))
    await loading(bench, task)
    assert bench.programs()
    bench.contexts[-1].cancelled.set()
    with pytest.raises(Cancelled):
        await task
    assert bench.programs() == []
    assert await bench.sessions() == 0
    assert not list(bench.load.directory.rglob("pgpass"))


async def test_isolation_that_collides_is_counted(bench: Bench, spec: MakeWorkload) -> None:
    """Stroppy's own default for TPC-C: clients that give up after the third attempt, and exit code 0."""
    one = spec(name="tpcc/tx", clients=8, isolation="repeatable read", params={"retryAttempts": 3})
    await bench.prepare(one)
    await bench.warm(one, 0, 1)
    found = await bench.measure(one, 5, 1)
    assert found.result["retries"] > 0
    assert found.result["errors"] > 0 or found.result["lost_clients"] > 0
    if found.result["lost_clients"]:
        assert not found.valid
        assert "clients were lost" in found.reason
