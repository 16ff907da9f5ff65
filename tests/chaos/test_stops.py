"""A part is stopped politely, killed, frozen or the whole platform is taken down, in any phase that has a step.

`cancelled` means that somebody cancelled: nobody did here. What Terraform began is finished, whoever went away.
"""

from __future__ import annotations

import os

import pytest

from tests.chaos.bench import Bench
from tests.chaos.stops import SEED, STOPS, Case, Subject, drawn, every_case
from tests.e2e.house import Json

pytestmark = [pytest.mark.chaos, pytest.mark.e2e, pytest.mark.real, pytest.mark.timeout(600)]

_COUNT = int(os.environ.get("STACKLY_STOPS", "3"))
_DRAWN = drawn("terminated", ("agent", "agent", "control", "gateway", "api"), _COUNT)


def _look(bench: Bench, case: Case, n: str) -> Json:
    subject = Subject(bench, f"stop-{n}")
    run = subject.begin(case.moment.kind)
    subject.caught(run, case.moment.step)
    STOPS[case.stop](bench, case.part)
    ended = bench.ended(run, timeout_s=300)
    ended["attempts"] = bench.attempts(run)
    return ended


def _check(case: Case, ended: Json) -> None:
    if case.stop == "down" and not case.moment.is_before_machines and not case.moment.is_after_measuring:
        # Its machines went with the platform: said so, and torn down.
        assert ended["status"] == "failed", ended
        assert "stopped by stackly down" in str(ended), ended
        return
    assert ended["status"] == "succeeded", ended
    if case.moment.kind == "benchmark":
        assert ended["verdict"] == "pass", ended
    applied = [a for a in ended["attempts"] if a.step == "apply" and a.status == "done"]
    assert len(applied) <= 1, "what was applied is applied once"


@pytest.mark.parametrize(("n", "case"), [pytest.param(i, c, id=f"{SEED}-{i}-{c.name}") for i, c in enumerate(_DRAWN)])
def test_nobody_cancelled(bench: Bench, n: int, case: Case) -> None:
    _check(case, _look(bench, case, f"drawn-{n}"))
    bench.until_empty()


@pytest.mark.nightly
@pytest.mark.parametrize(("n", "case"), [pytest.param(i, c, id=c.name) for i, c in enumerate(every_case())])
def test_any_stop_in_any_phase(bench: Bench, n: int, case: Case) -> None:
    _check(case, _look(bench, case, f"every-{n}"))
    bench.until_empty()
