"""The gateway is away for longer than a step's heartbeats last, in a phase of an edge: the verdict stays.

STACKLY_OUTAGES=30 repeats it thirty times, in phases by chance.
"""

from __future__ import annotations

import os
import random
import signal
import time

import pytest

from tests.chaos.bench import Bench
from tests.chaos.stops import SEED
from tests.e2e.house import TERMINAL

pytestmark = [pytest.mark.chaos, pytest.mark.e2e, pytest.mark.real, pytest.mark.timeout(600)]

AWAY_S = 45.0
PHASES = ("provision", "enrol", "database", "prepare", "warmup", "measure")
TIMES = int(os.environ.get("STACKLY_OUTAGES", "3"))
_CHANCE = random.Random(SEED)


def _until_in(bench: Bench, run: str, phase: str) -> None:
    """Until this phase began; it may be over by then, and the next one be met instead."""

    def begun() -> bool:
        seen = bench.house.get(f"runs/{run}")
        assert seen["status"] not in TERMINAL, seen
        return any(p["name"] == phase and p["started_at"] for p in seen["phases"])

    bench.until(begun, bool, 90)


def _chosen() -> list[tuple[int, str]]:
    """The load itself first, then phases by chance. Shape: (number, phase)."""
    return list(enumerate(["measure", *(_CHANCE.choice(PHASES) for _ in range(TIMES - 1))]))


@pytest.mark.parametrize(("number", "phase"), [pytest.param(n, p, id=f"{SEED}-{n}-{p}") for n, p in _chosen()])
def test_a_gateway_that_is_away_costs_no_verdict(bench: Bench, number: int, phase: str) -> None:
    run = bench.begin(f"away-{number}-{phase}")
    _until_in(bench, run, phase)
    pid = bench.process("gateway")
    os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(AWAY_S)
    finally:
        os.kill(pid, signal.SIGCONT)

    ended = bench.ended(run)

    assert (ended["status"], ended["verdict"]) == ("succeeded", "pass"), ended
    assert [(m.attempt, m.status) for m in bench.measured(run)] == [(1, "done")]
    bench.until_empty()
