"""Boundaries of thresholds, the order of verdicts, and what the gate makes of them."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackly.suites.gates import GatePolicy, gate, judge_thresholds, verdict_of, verdict_of_run
from stackly.suites.model import METRICS, VERDICTS, Threshold

NUMBERS = st.floats(0.001, 1e6)
LADDER = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0]


def result(metric: str, value: float, **latency: object) -> dict[str, Any]:
    group, _, name = metric.partition(".")
    return {group: {name: value, **latency}} if name else {group: value}


@given(st.sampled_from(METRICS), NUMBERS, NUMBERS, NUMBERS)
def test_an_exact_value_passes_when_it_lies_within(metric: str, value: float, a: float, b: float) -> None:
    lo, hi = sorted((a, b))
    [judged] = judge_thresholds(result(metric, value), [Threshold(metric, lo, hi)])
    assert judged.verdict == ("pass" if lo <= value <= hi else "fail")


@given(st.sampled_from(METRICS), NUMBERS)
def test_the_limit_itself_passes(metric: str, value: float) -> None:
    both = [Threshold(metric, min=value), Threshold(metric, max=value)]
    assert [t.verdict for t in judge_thresholds(result(metric, value), both)] == ["pass", "pass"]


@given(st.integers(1, len(LADDER) - 1), st.floats(0.01, 200), st.booleans())
def test_a_bucketed_percentile_agrees_with_every_value_its_bucket_may_hold(
    at: int, limit: float, upper_limit: bool
) -> None:
    lower, upper = LADDER[at - 1], LADDER[at]
    threshold = Threshold("latency_ms.p95", max=limit) if upper_limit else Threshold("latency_ms.p95", min=limit)
    [judged] = judge_thresholds(result("latency_ms.p95", upper, bound="upper"), [threshold])
    inside = [lower + (upper - lower) * k / 1000 for k in range(1, 1001)]
    passing = {(v <= limit) if upper_limit else (v >= limit) for v in (*inside, upper)}
    if judged.verdict == "pass":
        assert passing == {True}
    if judged.verdict == "fail":
        assert passing == {False}


@pytest.mark.parametrize(
    ("limit", "verdict"), [(25, "pass"), (24.9, "inconclusive"), (10.1, "inconclusive"), (10, "fail")]
)
def test_edges_of_a_bucket(limit: float, verdict: str) -> None:
    [judged] = judge_thresholds(result("latency_ms.p99", 25.0, bound="upper"), [Threshold("latency_ms.p99", max=limit)])
    assert judged.verdict == verdict
    assert judged.lower == 10.0
    assert ("bucket_spans_limit" in judged.evidence) == (verdict == "inconclusive")


def test_own_edges_come_before_the_known_ones() -> None:
    histogram = {"edges_ms": [20.0, 25.0], "counts": [1, 1, 0]}
    given_ = result("latency_ms.p99", 25.0, bound="upper", histogram=histogram)
    assert judge_thresholds(given_, [Threshold("latency_ms.p99", max=20)])[0].verdict == "fail"
    unknown = result("latency_ms.p99", 26.0, bound="upper")
    assert judge_thresholds(unknown, [Threshold("latency_ms.p99", max=1)])[0].verdict == "inconclusive"


def test_what_was_not_measured_is_inconclusive() -> None:
    assert judge_thresholds({"tps": None}, [Threshold("tps", min=1)])[0].verdict == "inconclusive"


@given(st.lists(st.sampled_from([*VERDICTS, None]), max_size=6))
def test_the_first_of_the_order_wins(verdicts: list[str | None]) -> None:
    seen = [v for v in verdicts if v is not None]
    assert verdict_of_run(verdicts) == (min(seen, key=VERDICTS.index) if seen else None)


def test_a_tests_verdict() -> None:
    failed = judge_thresholds({"tps": 1}, [Threshold("tps", min=2)])
    passed = judge_thresholds({"tps": 3}, [Threshold("tps", min=2)])
    assert verdict_of(valid=False, thresholds=failed, comparisons=[]) == "invalid"
    assert verdict_of(valid=True, thresholds=failed, comparisons=[]) == "fail"
    assert verdict_of(valid=True, thresholds=passed, comparisons=[]) == "pass"


@given(st.dictionaries(st.text("ab", min_size=1), st.sampled_from([*VERDICTS, None]), max_size=5))
def test_the_gate_denies_holds_or_allows(verdicts: dict[str, str | None]) -> None:
    made = gate(verdicts)
    found = set(verdicts.values())
    if not verdicts or found & {"invalid", "fail", "worse", None}:
        assert made["decision"] == "deny"
    elif "inconclusive" in found:
        assert made["decision"] == "hold"
    else:
        assert made == {"decision": "allow", "policy": "regression_gate", "reasons": []}
    assert bool(made["reasons"]) == (made["decision"] != "allow")


def test_a_gate_says_which_tests() -> None:
    made = gate({"tpcc.1": "worse", "tpcc.2": "same", "tpcc.3": "inconclusive"})
    assert made["reasons"] == ["worse in 1 test: tpcc.1", "inconclusive in 1 test: tpcc.3"]
    lenient = GatePolicy("mine", hold=frozenset())
    assert gate({"t": "inconclusive"}, lenient) == {"decision": "allow", "policy": "mine", "reasons": []}


def test_every_pair_of_verdicts_is_ordered() -> None:
    for a, b in itertools.combinations(VERDICTS, 2):
        assert verdict_of_run([b, a]) == a
