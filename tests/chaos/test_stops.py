"""A part is stopped politely, killed, frozen or the whole platform is taken down, in any phase that has a step.

`cancelled` means that somebody cancelled: nobody did here. What Terraform began is finished, whoever went away, and
what was measured is measured once. Of each kind one case is fixed, the others are drawn: STACKLY_STOPS and
STACKLY_OUTAGES say how many, STACKLY_SEED draws those of another run again. STACKLY_NIGHTLY=1 takes all there are.
"""

from __future__ import annotations

import os

import pytest

from tests.chaos.bench import Bench
from tests.chaos.stops import SEED, STOPS, Case, Moment, Subject, drawn, every_case
from tests.e2e.house import Json

pytestmark = [pytest.mark.chaos, pytest.mark.e2e, pytest.mark.real, pytest.mark.timeout(600)]

_POLITE = drawn(
    int(os.environ.get("STACKLY_STOPS", "2")),
    Case("terminated", "agent", Moment("deploy", "apply")),
    *("agent", "agent", "control", "gateway", "api"),
)
_OUTAGES = drawn(
    int(os.environ.get("STACKLY_OUTAGES", "1")),
    Case("frozen", "gateway", Moment("benchmark", "measure")),
    "gateway",
)


def _look(bench: Bench, case: Case, n: str) -> Json:
    subject = Subject(bench, f"stop-{n}")
    run = subject.begin(case.moment.kind, case.seconds)
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
        measured = [(a.attempt, a.status) for a in ended["attempts"] if a.step.startswith("measure")]
        assert measured == [(1, "done")], ended["attempts"]
    applied = [a for a in ended["attempts"] if a.step == "apply" and a.status == "done"]
    assert len(applied) <= 1, "what was applied is applied once"


def _named(cases: list[Case], seed: str = "") -> list[object]:
    return [pytest.param(n, case, id=f"{seed}{case.name}") for n, case in enumerate(cases)]


@pytest.mark.parametrize(("n", "case"), _named(_POLITE, f"{SEED}-"))
def test_a_polite_stop_cancels_and_fails_nothing(bench: Bench, n: int, case: Case) -> None:
    _check(case, _look(bench, case, f"polite-{n}"))
    bench.until_empty()


@pytest.mark.parametrize(("n", "case"), _named(_OUTAGES, f"{SEED}-"))
def test_an_outage_longer_than_a_lease_cancels_and_fails_nothing(bench: Bench, n: int, case: Case) -> None:
    _check(case, _look(bench, case, f"away-{n}"))
    bench.until_empty()


@pytest.mark.nightly
@pytest.mark.parametrize(("n", "case"), _named(every_case()))
def test_any_stop_in_any_phase(bench: Bench, n: int, case: Case) -> None:
    _check(case, _look(bench, case, f"every-{n}"))
    bench.until_empty()
