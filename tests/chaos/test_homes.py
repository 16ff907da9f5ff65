"""Two platforms on one machine: one is ended whole between apply and destroy, the other does not notice."""

from __future__ import annotations

import os
import shutil
import signal
from contextlib import suppress

import pytest

from stackly.local import processes
from stackly.local.home import Home, configured
from stackly.local.supervisor import read_state
from tests.chaos.bench import Bench

pytestmark = [pytest.mark.chaos, pytest.mark.e2e, pytest.mark.real, pytest.mark.timeout(600)]


def end_everything(bench: Bench) -> int:
    """What a power failure leaves running: nothing. The supervisor first, or it would start the others again.

    Shape: how many processes were ended; none lives when it returns.
    """
    home = bench.house.home
    supervisor, _ = read_state(Home(home))
    assert supervisor is not None
    os.kill(supervisor.pid, signal.SIGKILL)
    ended = {supervisor.pid}
    while left := processes.below(home):
        for who in left:
            with suppress(ProcessLookupError):
                os.kill(who.pid, signal.SIGKILL)
            ended.add(who.pid)
    return len(ended)


def test_a_platform_that_is_ended_whole_destroys_what_it_had_made(bench: Bench, neighbours_bench: Bench) -> None:
    ours, theirs = configured(Home(bench.house.home)).ports, configured(Home(neighbours_bench.house.home)).ports
    assert not set(ours.values()) & set(theirs.values())
    run, beside = neighbours_bench.begin("ended-whole"), bench.begin("beside")
    neighbours_bench.until_loaded(run)
    bench.until_loaded(beside)
    assert neighbours_bench.destroys(run) == []

    assert end_everything(neighbours_bench) > 10
    # What is needed to destroy lies in storage: neither work directories nor mirrors are.
    for remembered in ("agent/runs", "mirrors"):
        shutil.rmtree(neighbours_bench.house.home / remembered, ignore_errors=True)

    untouched = bench.ended(beside)
    assert (untouched["status"], untouched["verdict"]) == ("succeeded", "pass"), untouched
    assert [(m.attempt, m.status) for m in bench.measured(beside)] == [(1, "done")]
    bench.until_empty()

    neighbours_bench.house.start()
    ended = neighbours_bench.ended(run)
    assert (ended["status"], ended["verdict"]) == ("failed", "invalid"), ended
    assert [(m.attempt, m.status) for m in neighbours_bench.measured(run)] == [(1, "gone")]
    assert neighbours_bench.destroys(run) == [{"status": "succeeded", "destroyed": 2}]
    neighbours_bench.until_empty()
