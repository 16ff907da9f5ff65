"""`stackly down` in the middle of a run: nothing goes on, and the next `up` brings everything to its end."""

from __future__ import annotations

import pytest

from stackly.local import platform, processes
from tests.chaos.bench import Bench

pytestmark = [pytest.mark.chaos, pytest.mark.e2e, pytest.mark.real, pytest.mark.timeout(600)]

WHY = "stopped by stackly down"
# An apply that is under way when everything is stopped.
SLOW = '\nresource "terraform_data" "slow" {\n  provisioner "local-exec" { command = "sleep 6" }\n}\n'


def test_a_test_that_measures_ends_invalid_with_that_reason_and_is_torn_down(bench: Bench) -> None:
    run = bench.begin("down-measuring", seconds=40)
    bench.until_loaded(run)
    stopped = platform.down(bench.house.home)
    assert stopped.machines["machine"] == 2
    assert processes.below(bench.house.home) == []
    bench.house.start()
    ended = bench.ended(run)
    assert (ended["status"], ended["verdict"]) == ("failed", "invalid"), ended
    ((reason,),) = bench.rows("SELECT reasons->>0 FROM tests WHERE operation = $1", run)
    assert reason == WHY
    assert [(m.attempt, m.status) for m in bench.measured(run)] == [(1, "gone")]
    assert bench.destroys(run) == [{"status": "succeeded", "destroyed": 2}]
    bench.until_empty()


def test_a_test_that_provisions_recovers_and_measures(bench: Bench) -> None:
    run = bench.begin("down-provisioning", SLOW)

    def applies() -> bool:
        begun = "SELECT 1 FROM steps WHERE operation = $1 AND step = 'apply' AND status = 'running'"
        return bool(bench.rows(begun, run))

    bench.until(applies, bool, 90)
    platform.down(bench.house.home)
    assert processes.below(bench.house.home) == []
    bench.house.start()
    ended = bench.ended(run)
    assert (ended["status"], ended["verdict"]) == ("succeeded", "pass"), ended
    bench.until_empty()
