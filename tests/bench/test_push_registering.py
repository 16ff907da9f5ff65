"""What a push costs from git to rows: one stack of 5,000 against one of 50, by its code and by its trigger.paths."""

import statistics
import time
from pathlib import Path

import pytest

from stackly.db import Transactions
from tests.bench.recording import record
from tests.engine.syncing import Syncing, build, plain

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]

PUSHES = 9


async def _first(transactions: Transactions, folder: Path, stacks: int) -> tuple[Syncing, float]:
    """A repository of so many stacks, each with a program of its own, and how long its first sync took."""
    made = await build(transactions, folder, github_id=stacks)
    files: dict[str, str] = {}
    for n in range(stacks):
        files |= plain(f"stacks/s{n:04}", f"s{n:04}", f'  trigger {{\n    paths = ["src/{n}/**"]\n  }}')
    made.upstream.commit(files)
    started = time.perf_counter()
    (outcome,) = await made.sync()
    assert (outcome.registered, len(outcome.runs)) == (stacks, stacks)
    return made, time.perf_counter() - started


async def _push(syncing: Syncing, path: str) -> float:
    syncing.upstream.commit({path: f"# {path} {syncing.upstream.clock}\n"})
    (change,) = (await syncing.activities.fetch(syncing.repo.id)).changes
    started = time.perf_counter()
    outcome = await syncing.activities.process(change)
    took = time.perf_counter() - started
    assert len(outcome.runs) == 1, "the run of that one stack, and no other"
    return took


async def test_registering_one_stack_of_5000_costs_as_of_50(transactions: Transactions, tmp_path: Path) -> None:
    """Turn about, so that a busy machine is busy for both."""
    few, _ = await _first(transactions, tmp_path / "few", 50)
    many, first = await _first(transactions, tmp_path / "many", 5000)
    times: dict[str, list[float]] = {}
    for n in range(PUSHES):
        for name, syncing in (("few", few), ("many", many)):
            times.setdefault(f"{name} own", []).append(await _push(syncing, f"stacks/s{n:04}/main.tf"))
            times.setdefault(f"{name} program", []).append(await _push(syncing, f"src/{n}/main.c"))
    middle = {name: statistics.median(each[1:]) for name, each in times.items()}
    record(
        register_1_of_5000_vs_1_of_50=round(middle["many own"] / middle["few own"], 3),
        trigger_paths_1_of_5000_vs_1_of_50=round(middle["many program"] / middle["few program"], 3),
        first_sync_of_5000_stacks_s=round(first, 1),
    )
