"""kill -9 of one part while the load runs: the run ends, the load is not repeated, and nothing stays."""

from __future__ import annotations

import pytest

from tests.chaos.bench import Bench

pytestmark = [pytest.mark.chaos, pytest.mark.e2e, pytest.mark.real, pytest.mark.timeout(600)]


@pytest.mark.parametrize("victim", ["agent", "control", "api", "gateway", "dispatcher", "temporal", "postgres"])
def test_a_part_that_is_killed_in_the_load_costs_no_result(bench: Bench, victim: str) -> None:
    run = bench.begin(f"kill-{victim}")
    bench.until_loaded(run)
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
