"""kill -9 of parts while the load runs: the run ends, the load is not repeated, and nothing stays.

Each part is killed in a load, one after another as soon as the one before is back; test_stops.py has each alone.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.main import LOOK_AROUND_S
from tests.chaos.bench import Bench

pytestmark = [pytest.mark.chaos, pytest.mark.e2e, pytest.mark.real, pytest.mark.timeout(600)]


@pytest.mark.parametrize(
    "victims", [("agent", "gateway", "dispatcher"), ("control", "api", "postgres", "temporal")], ids="-".join
)
def test_parts_that_are_killed_in_the_load_cost_no_result(bench: Bench, victims: tuple[str, ...]) -> None:
    run = bench.begin(f"kill-{victims[0]}", seconds=10 * len(victims))
    bench.until_loaded(run)
    for victim in victims:
        pid = bench.process(victim)
        bench.kill(pid)
        bench.back(victim, pid)

    ended = bench.ended(run)

    assert (ended["status"], ended["verdict"]) == ("succeeded", "pass"), ended
    assert [(m.attempt, m.status) for m in bench.measured(run)] == [(1, "done")]
    bench.until_empty()


def test_a_killed_edge_agent_invalidates_the_result(bench: Bench) -> None:
    run = bench.begin("kill-edge")
    bench.until_loaded(run)
    bench.kill(bench.edge_agent(run, bench.load_machine(run)))

    ended = bench.ended(run)

    assert (ended["status"], ended["verdict"]) == ("failed", "invalid"), ended
    assert [(m.attempt, m.status) for m in bench.measured(run)] == [(1, "gone")]
    bench.until_empty()


def _before(bench: Bench, run: str) -> tuple[str, int]:
    """An edge agent that never enrols: stopped as soon as it is there, and its boot believes that it lives."""

    def appeared() -> tuple[Path, int] | None:
        for place in bench.machines.glob(f"{run}.*"):
            for pid in bench.edge_agents(place):
                os.kill(pid, signal.SIGSTOP)
                return place, pid
        return None

    place, pid = bench.until(appeared, bool, 90)
    bench.until((place / "started").exists, bool, 30)
    machine = place.name.rsplit(".", 1)[1]
    ((status,),) = bench.rows("SELECT status FROM agents WHERE run = $1 AND machine = $2", run, machine)
    assert status == "expected", "it was to be killed before its enrolment"
    return machine, pid


def _after(bench: Bench, run: str) -> tuple[str, int]:
    """That of the machine with the load, which has enrolled and waits for the database of the other."""
    online = "SELECT 1 FROM agents WHERE run = $1 AND machine = 'load' AND status = 'online'"
    bench.until(lambda: bench.rows(online, run), bool, 90)
    assert not bench.measured(run)
    return "load", bench.edge_agent(run, "load")


@pytest.mark.parametrize("when", [_before, _after])
def test_an_edge_agent_that_ended_while_others_work_is_noticed_by_the_next_looks(
    bench: Bench, when: Callable[[Bench, str], tuple[str, int]]
) -> None:
    run = bench.begin(f"ended{when.__name__.replace('_', '-')}")
    machine, pid = when(bench, run)
    ((killed,),) = bench.rows("SELECT clock_timestamp()")
    bench.kill(pid)

    ended = bench.ended(run)

    assert ended["status"] == "failed", ended
    ((reasons,),) = bench.rows("SELECT reasons::text FROM tests WHERE operation = $1", run)
    assert json.loads(reasons) == [f"the edge agent of machine {machine} ended before its work did"]
    ((noticed,),) = bench.rows("SELECT min(started_at) FROM phases WHERE operation = $1 AND name = 'teardown'", run)
    # The look that was under way when it ended may have missed it; the next one has not.
    assert (noticed - killed).total_seconds() < 2 * LOOK_AROUND_S
    bench.until_empty()
