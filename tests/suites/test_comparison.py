"""A tolerance today: direction, boundaries, and when nothing may be said."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackly.suites.comparison import SampleValue, compare, compare_results, different_environment
from stackly.suites.gates import verdict_of
from stackly.suites.model import ComparisonRule, DecidingMetric

RULE = ComparisonRule((DecidingMetric("tps"),))


def values(*given_: float) -> list[SampleValue]:
    return [SampleValue(n, v) for n, v in enumerate(given_)]


@pytest.mark.parametrize(
    ("metric", "after", "verdict"),
    [
        ("tps", 75, "worse"),
        ("tps", 75.1, "same"),
        ("tps", 124.9, "same"),
        ("tps", 125, "better"),
        ("latency_ms.mean", 125, "worse"),
        ("latency_ms.mean", 75, "better"),
        ("db_commits", 10, "same"),
    ],
)
def test_direction_and_tolerance(metric: str, after: float, verdict: str) -> None:
    made = compare(values(100), values(after), metric, 0.05, 0.25)
    assert made.verdict == verdict
    assert made.change_pct == pytest.approx(after - 100)
    assert made.decides == (metric != "db_commits")


@given(st.lists(st.floats(1, 1e6), min_size=1, max_size=5))
def test_a_run_beside_itself_is_same(run: list[float]) -> None:
    assert compare(values(*run), values(*run), "tps", 0.005, 0.01).verdict == "same"


def test_the_smallest_effect_that_matters_can_be_wider_than_the_tolerance() -> None:
    assert compare(values(100), values(60), "tps", 0.5, 0.25).verdict == "same"


def test_without_a_baseline_the_thresholds_decide() -> None:
    made = compare_results([], [{"tps": 10.0}], RULE)
    assert made == []
    assert verdict_of(valid=True, thresholds=[], comparisons=made) == "pass"
    assert compare_results([{"tps": 10.0}], [{"tps": 1.0}], ComparisonRule(RULE.metrics, baseline="none")) == []


def test_the_mean_of_the_samples_is_compared() -> None:
    [made] = compare_results([{"tps": 90.0}, {"tps": 110.0}], [{"tps": 50.0}, {"tps": 70.0}], RULE)
    assert (made.baseline, made.candidate, made.verdict) == (100.0, 60.0, "worse")
    assert verdict_of(valid=True, thresholds=[], comparisons=[made]) == "worse"


def test_generations_and_machines_are_not_compared() -> None:
    old, new = {"adapter": "stroppy-k6", "kernel": "1"}, {"adapter": "stroppy-go", "kernel": "2"}
    assert different_environment(old, new) == "adapter stroppy-k6 -> stroppy-go"
    assert different_environment({"machine": {"cores": 2}}, {"machine": {"cores": 4}}) == "machine.cores 2 -> 4"
    [made] = compare_results([{"tps": 9.0, "fingerprint": old}], [{"tps": 1.0, "fingerprint": new}], RULE)
    assert (made.verdict, made.decides) == ("inconclusive", True)
    assert made.reason.startswith("different_environment")


def test_unmeasured_and_bucketed_values_do_not_decide_wrongly() -> None:
    assert compare_results([{"tps": 1.0}], [{"tps": None}], RULE)[0].verdict == "inconclusive"
    bucketed: dict[str, Any] = {"latency_ms": {"p95": 5.0, "bound": "upper"}}
    worse: dict[str, Any] = {"latency_ms": {"p95": 50.0, "bound": "upper"}}
    rule = ComparisonRule((DecidingMetric("latency_ms.p95"),))
    assert not compare_results([bucketed], [worse], rule)[0].decides
    assert compare(values(0), values(1), "tps", 0.05).verdict == "inconclusive"
