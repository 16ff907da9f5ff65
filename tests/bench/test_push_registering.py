"""What a push costs from the ring to registered rows: one stack of 5,000 against one of 50.

A push is fetched with git's own protocol from a repository on this machine, read, compared, registered, and its run is
asked for. Two shapes of repository, each stack a directory of two files that calls no module:

- teams: directories of 50 stacks, as repositories of thousands have them;
- flat: all of them in one directory, the hardest case: each push makes its tree anew, 5,000 entries and 170 kB, which
  the remote compares, sends as a difference, and both sides write. That part is git's, and grows.
"""

import gc
import resource
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from stackly import db
from stackly.db import Transactions
from tests.bench.recording import record
from tests.engine.syncing import Syncing, build, plain

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]

PUSHES = 21
TEAM = 50
MOST = 1.3
Shape = Callable[[int], str]


def _teams(n: int) -> str:
    return f"teams/t{n // TEAM:03}/s{n:04}"


def _flat(n: int) -> str:
    return f"stacks/s{n:04}"


@dataclass
class Repository:
    """Of so many stacks, each with a program of its own. Units: seconds of the pushes, by what they changed."""

    syncing: Syncing
    shape: Shape
    first: float
    wall: dict[str, list[float]] = field(default_factory=dict)
    cpu: dict[str, list[float]] = field(default_factory=dict)

    async def push(self, kind: str, path: str) -> None:
        """One sync, as a ring makes it."""
        self.syncing.upstream.commit({path: f"# {path} {self.syncing.upstream.clock}\n"})
        used = await self._used()
        started = time.perf_counter()
        (outcome,) = await self.syncing.sync()
        self.wall.setdefault(kind, []).append(time.perf_counter() - started)
        self.cpu.setdefault(kind, []).append(await self._used() - used)
        assert len(outcome.runs) == 1, "the run of that one stack, and no other"

    async def _used(self) -> float:
        """Processor time of this process, of the gits that it waited for, and of this database's Postgres."""
        told = await self.syncing.rows("SELECT pid FROM pg_stat_activity WHERE datname = current_database()")
        stats = [Path(f"/proc/{r['pid']}/schedstat") for r in told]
        nanoseconds = sum(int(stat.read_text().split()[0]) for stat in stats if stat.exists())
        kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        return nanoseconds / 1e9 + sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, kinds))

    async def both(self, n: int) -> None:
        await self.push("own", f"{self.shape(n)}/main.tf")
        await self.push("program", f"src/{n}/main.c")


Make = Callable[[Path, int, Shape], Awaitable[Repository]]


@pytest.fixture
async def make(fresh_database: Callable[[], str]) -> AsyncIterator[Make]:
    """Each repository in a database of its own: what its stacks cost there is its own as well."""
    engines = []

    async def made(folder: Path, stacks: int, shape: Shape) -> Repository:
        engines.append(db.engine(fresh_database(), application="bench"))
        return await _first(db.transactions(engines[-1]), folder, stacks, shape)

    yield made
    for engine in engines:
        await engine.dispose()


async def _first(transactions: Transactions, folder: Path, stacks: int, shape: Shape) -> Repository:
    """After its first sync, and after what time brings: one pack at the remote, statistics of the tables."""
    made = await build(transactions, folder, github_id=stacks)
    made.upstream.git("config", "uploadpack.allowFilter", "true")  # as GitHub has it
    made.upstream.git("config", "gc.auto", "0")
    files: dict[str, str] = {}
    for n in range(stacks):
        files |= plain(shape(n), f"s{n:04}", f'  trigger {{\n    paths = ["src/{n}/**"]\n  }}')
    made.upstream.commit(files)
    made.upstream.git("repack", "-a", "-d", "-q")
    started = time.perf_counter()
    (outcome,) = await made.sync()
    took = time.perf_counter() - started
    assert (outcome.registered, len(outcome.runs)) == (stacks, stacks)
    await made.execute("ANALYZE")
    return Repository(made, shape, took)


def _ratios(many: dict[str, list[float]], few: dict[str, list[float]]) -> dict[str, float]:
    """Of medians; the first push of each only warms what a worker keeps."""
    return {kind: statistics.median(many[kind][1:]) / statistics.median(few[kind][1:]) for kind in many}


async def _measured(make: Make, folder: Path, shape: Shape) -> tuple[Repository, dict[str, float], dict[str, float]]:
    """The repository of 5,000, and its ratios of wall and processor time. Turn about: a busy machine is so for both."""
    few, many = await make(folder / "few", 50, shape), await make(folder / "many", 5000, shape)
    gc.collect()
    for n in range(PUSHES):
        for repository in (few, many) if n % 2 else (many, few):
            await repository.both(n)
    wall, cpu = _ratios(many.wall, few.wall), _ratios(many.cpu, few.cpu)
    for name, r in (("50", few), ("5,000", many)):
        middle = {kind: [round(statistics.median(t[kind][1:]) * 1000, 1) for t in (r.wall, r.cpu)] for kind in r.wall}
        print(f"\n{shape.__name__} {name}: wall and processor ms {middle}; first sync {r.first:.1f} s")  # noqa: T201 - a bench prints
    print(f"{shape.__name__}: ratios of wall {wall}, of processor {cpu}")  # noqa: T201 - a bench prints
    return many, wall, cpu


async def test_a_push_to_one_of_5000_costs_as_to_one_of_50(make: Make, tmp_path: Path) -> None:
    many, wall, cpu = await _measured(make, tmp_path, _teams)
    record(
        push_to_rows_1_of_5000_vs_1_of_50=round(wall["own"], 3),
        push_to_rows_cpu_1_of_5000_vs_1_of_50=round(cpu["own"], 3),
        trigger_paths_1_of_5000_vs_1_of_50=round(wall["program"], 3),
        trigger_paths_cpu_1_of_5000_vs_1_of_50=round(cpu["program"], 3),
        push_to_rows_1_of_5000_ms=round(statistics.median(many.wall["own"][1:]) * 1000, 1),
        first_sync_of_5000_stacks_s=round(many.first, 1),
    )
    # What else the machine does is in the wall time, twice over: of the two, only this one is the push's own.
    assert cpu["own"] <= MOST
    assert cpu["program"] <= MOST


async def test_what_it_costs_where_all_lie_in_one_directory(make: Make, tmp_path: Path) -> None:
    _, wall, cpu = await _measured(make, tmp_path, _flat)
    record(
        push_to_rows_flat_1_of_5000_vs_1_of_50=round(wall["own"], 3),
        push_to_rows_flat_cpu_1_of_5000_vs_1_of_50=round(cpu["own"], 3),
        trigger_paths_flat_1_of_5000_vs_1_of_50=round(wall["program"], 3),
    )
