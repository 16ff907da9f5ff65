"""kill -9 of parts while the load runs: the run ends, the load is not repeated, and nothing stays.

Each part is killed in a load, one after another as soon as the one before is back; test_stops.py has each alone.
"""

from __future__ import annotations

import pytest

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
