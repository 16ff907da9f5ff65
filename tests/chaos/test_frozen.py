"""Temporal stands still for longer than the heartbeat timeout, in an apply and in the load: no step runs twice."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from stackly.temporal.steps import HEARTBEAT_TIMEOUT
from tests.chaos.bench import Bench
from tests.ledger import ledger

pytestmark = [pytest.mark.chaos, pytest.mark.e2e, pytest.mark.real, pytest.mark.timeout(600)]

STILL = HEARTBEAT_TIMEOUT.total_seconds() + 2

# A creation that can be counted, and that is under way while Temporal stands still.
_SLOW = """
resource "terraform_data" "slow" {{
{provisioner}}}
"""


# Both the apply and the load outlast the stillness by seconds: whoever is asked again finds them under way.


def _freeze(bench: Bench) -> None:
    pid = bench.process("temporal")
    os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(STILL)
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_frozen_temporal_repeats_no_step(bench: Bench, tmp_path: Path) -> None:
    with ledger(tmp_path / "trace") as cloud:
        slow = cloud.provisioner(cloud.report("begun"), f"sleep {int(STILL + 8)}", cloud.report("ended"))
        run = bench.begin("frozen", module=_SLOW.format(provisioner=slow), seconds=int(STILL + 10))
        bench.until(cloud.words, bool, 60)
        _freeze(bench)
        bench.until_loaded(run)
        _freeze(bench)

        ended = bench.ended(run)

    assert (ended["status"], ended["verdict"]) == ("succeeded", "pass"), ended
    assert cloud.words() == ["begun", "ended"]
    tries = Counter(a.step for a in bench.attempts(run))
    assert set(tries.values()) == {1}, tries
    assert {a.status for a in bench.attempts(run)} == {"done"}
    # Whether Temporal gave a step up is a race at its waking: a heartbeat may arrive before its own timer looks. Either
    # way nothing may run twice; tests/engine/test_rolled_back.py holds the given-up case, deterministically.
    bench.until_empty()
