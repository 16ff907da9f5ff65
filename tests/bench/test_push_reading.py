"""What a push costs that touches one stack of many, and the first sync of a repository of 5,000 files."""

from __future__ import annotations

import gc
import os
import statistics
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest

from stackly.engine.gathering import Commit, gather
from stackly.engine.policies import PolicyBook
from stackly.engine.reading import Platform
from stackly.git.memory import Memory
from stackly.git.mirrors import Mirror
from stackly.git.runner import Runner
from stackly.storage import Store
from tests.bench.recording import record

pytestmark = [pytest.mark.bench, pytest.mark.timeout(300)]

PUSHES = 25
RUNNER = Runner(protocols=frozenset({"file"}))
CONFIG = 'stack "s" {\n  version = "1"\n}\n'
MODULE = 'module "net" {{\n  source = "../../modules/net"\n}}\n# {}\n'


@dataclass
class Repository:
    """Of so many stacks, each of them calling one module; and how they were read last."""

    place: Path
    stacks: int
    memory: Memory = field(default_factory=Memory)
    keys: dict[str, str] = field(default_factory=dict)

    def import_(self, stream: str) -> str:
        env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}
        git = ["git", "-C", str(self.place)]
        if not (self.place / "HEAD").exists():
            self.place.mkdir()
            subprocess.run([*git, "init", "-q", "--bare", "-b", "main"], check=True, env=env)
            subprocess.run([*git, "config", "uploadpack.allowFilter", "true"], check=True, env=env)  # as GitHub has it
        subprocess.run([*git, "fast-import", "--quiet"], check=True, env=env, input=stream.encode())
        head = subprocess.run([*git, "rev-parse", "main"], check=True, env=env, capture_output=True, text=True)
        return head.stdout.strip()

    def first(self) -> str:
        files = {"modules/net/main.tf": "# net\n"}
        for n in range(self.stacks):
            files |= {f"stacks/s{n:04}/stackly.hcl": CONFIG, f"stacks/s{n:04}/main.tf": MODULE.format(n)}
        return self.import_(_commit(files, parent=False))

    def push(self, n: int) -> str:
        return self.import_(_commit({f"stacks/s{n % self.stacks:04}/main.tf": MODULE.format(f"push {n}")}, parent=True))

    def mirror(self) -> Mirror:
        place = (self.place.parent / "mirrors", self.place.name, f"file://{self.place}", RUNNER)
        return Mirror(*place, memory=self.memory, blobless=True)


def _commit(files: dict[str, str], *, parent: bool) -> str:
    head = "commit refs/heads/main\ncommitter A <a@x> 1 +0000\ndata 4\npush\n"
    told = "".join(f"M 100644 inline {path}\ndata {len(text)}\n{text}\n" for path, text in files.items())
    return head + ("from refs/heads/main^0\n" if parent else "") + told


class Kept:
    """Storage that answers at once."""

    async def put(self, key: str, data: bytes, media_type: str, *, only_new: bool = False) -> None:
        assert data


PLATFORM = Platform(("17",), PolicyBook(()), {})


async def _read(repo: Repository, commit: str) -> int:
    """As a sync does: the tree, what each stack rests on, what differs, what the differing ones say, their code."""
    mirror = repo.mirror()
    tree = await mirror.trees(commit)
    closures = await mirror.closures(tree)
    keys = {path: c.key for path, c in closures.items()}
    differing = [path for path, key in keys.items() if repo.keys.get(path) != key]
    found = await gather(Commit(mirror, commit, tree, closures), differing, PLATFORM, cast("Store", Kept()))
    assert all(stack.bundle for stack in found.values()), next(iter(found.values())).errors
    repo.keys = keys
    return len(differing)


async def _timed(repo: Repository, n: int) -> tuple[float, float]:
    """Seconds from the announcement on, and of that without the transfer."""
    commit = repo.push(n)
    started = time.perf_counter()
    await repo.mirror().fetch()
    fetched = time.perf_counter()
    assert await _read(repo, commit) == 1
    done = time.perf_counter()
    return done - started, done - fetched


async def test_a_push_to_one_of_5000_stacks_costs_as_one_of_50(tmp_path: Path) -> None:
    few, many = Repository(tmp_path / "few", 50), Repository(tmp_path / "many", 5000)
    for repo in (few, many):
        commit = repo.first()
        await repo.mirror().fetch()
        assert await _read(repo, commit) == repo.stacks
    gc.collect()
    times: dict[int, list[tuple[float, float]]] = {few.stacks: [], many.stacks: []}
    for n in range(PUSHES):
        for repo in (few, many):
            times[repo.stacks].append(await _timed(repo, n))
    # The lower quartile: what others do on the machine only ever adds.
    low = {
        stacks: [statistics.quantiles(c)[0] * 1000 for c in zip(*seen, strict=True)] for stacks, seen in times.items()
    }
    whole, read = (low[many.stacks][n] / low[few.stacks][n] for n in (0, 1))
    print(f"\npush, and its reading without the transfer, in ms: {low}; ratios {whole:.2f}, {read:.2f}")  # noqa: T201 - a bench prints
    record(push_1_of_5000_vs_1_of_50=round(read, 3), push_with_fetch_1_of_5000_vs_1_of_50=round(whole, 3))
    record(push_1_of_5000_ms=round(low[many.stacks][1], 1))


async def test_the_first_sync_of_5000_files(tmp_path: Path) -> None:
    repo = Repository(tmp_path / "files", 2500)
    commit = repo.first()
    started = time.perf_counter()
    await repo.mirror().fetch()
    fetched = time.perf_counter()
    assert await _read(repo, commit) == 2500
    done = time.perf_counter()
    print(f"\nsync of 5,000 files: fetch {fetched - started:.2f} s, read {done - fetched:.2f} s")  # noqa: T201 - a bench prints
    record(sync_5000_files_ms=round((done - started) * 1000, 1))
