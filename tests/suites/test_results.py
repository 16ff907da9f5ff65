"""Pooling sums counts and never averages percentiles; an agent's word is checked."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackly.suites.results import Claim, judge, merge_histograms, pool, quantile

GOOD: dict[str, Any] = {"transactions": 1000, "duration_s": 10.0, "lost_clients": 0, "db_commits": 1000, "errors": 0}


def claim(exit_code: int | None = 0, **changed: object) -> Claim:
    return Claim(valid=True, reason="", result=GOOD | changed, asked_s=10.0, clients=0, exit_code=exit_code)


@pytest.mark.parametrize("code", [0, None, 99])
def test_a_good_sample_is_valid(code: int | None) -> None:
    assert judge(claim(code)) == (True, "", ())


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (claim(1), "exit code 1"),
        (claim(transactions=0), "no transaction"),
        (claim(transactions=None), "no transaction"),
        (claim(lost_clients=7), "7 clients were lost"),
        (claim(duration_s=9.49), "it ran 9.5 s of 10 s"),
        (claim(duration_s=None), "duration is not known"),
        (claim(db_commits=1221), "1221 commits"),
        (claim(db_commits=779), "779 commits"),
        (Claim(valid=False, reason="disk full", result=GOOD, asked_s=10.0), "disk full"),
    ],
)
def test_a_bad_sample_is_invalid_with_its_reason(bad: Claim, says: str) -> None:
    judged = judge(bad)
    assert not judged.valid
    assert says in judged.reason


def test_boundaries_of_duration_and_commits() -> None:
    assert judge(claim(duration_s=9.5)).valid
    assert judge(claim(db_commits=1220)).valid  # 20 are the server's own, 200 the allowed fifth
    assert judge(claim(db_commits=1220)).warnings
    assert not judge(claim(db_commits=1070)).warnings
    assert judge(claim(db_commits=1071)).warnings


def test_one_sample_stays_as_it_is() -> None:
    sample = GOOD | {"latency_ms": {"p95": 3.0, "bound": "exact"}, "anything": [1]}
    assert pool([sample]) == sample


SAMPLES = st.lists(
    st.tuples(st.integers(1, 10**6), st.integers(0, 10**4), st.floats(5, 1000), st.floats(0.1, 500)),
    min_size=2,
    max_size=8,
)


@given(SAMPLES)
def test_pooled_rates_come_from_the_sums(given_: list[tuple[int, int, float, float]]) -> None:
    samples: list[dict[str, Any]] = [
        {"transactions": t, "errors": e, "duration_s": d, "tps": t / d, "latency_ms": {"mean": m, "p95": m, "max": m}}
        for t, e, d, m in given_
    ]
    pooled = pool(samples)
    total, errors = sum(g[0] for g in given_), sum(g[1] for g in given_)
    assert pooled["transactions"] == total
    assert pooled["tps"] == pytest.approx(total / sum(g[2] for g in given_))
    assert pooled["error_rate"] == pytest.approx(errors / (total + errors))
    latency = pooled["latency_ms"]
    assert latency["bound"] == "median"
    assert min(g[3] for g in given_) <= latency["p95"] <= latency["max"] == max(g[3] for g in given_)
    assert latency["mean"] == pytest.approx(sum(t * m for t, _, _, m in given_) / total)


def test_a_value_one_sample_lacks_is_unknown() -> None:
    pooled = pool([GOOD, {k: v for k, v in GOOD.items() if k != "db_commits"}])
    assert pooled["db_commits"] is None
    assert pooled["transactions"] == 2000


def test_a_median_of_edges_is_an_edge_and_says_so() -> None:
    edges = [{"latency_ms": {"p95": p, "bound": "upper"}} for p in (5.0, 10.0)]
    assert pool(edges)["latency_ms"]["p95"] == 10.0
    assert pool(edges)["latency_ms"]["bound"] == "upper"


@given(st.lists(st.lists(st.integers(0, 50), min_size=4, max_size=4), min_size=2, max_size=4))
def test_merged_histograms_are_the_histogram_of_all(counts: list[list[int]]) -> None:
    edges = [1.0, 2.5, 5.0]
    merged = merge_histograms([{"edges_ms": edges, "counts": c} for c in counts])
    assert merged is not None
    flat = [([*edges, None])[i] for c in counts for i, n in enumerate(c) for _ in range(n)]
    flat.sort(key=lambda e: float("inf") if e is None else e)
    if flat:
        assert quantile(merged, 0.5) == flat[-(-len(flat) // 2) - 1]
    else:
        assert quantile(merged, 0.5) is None


def test_histograms_are_pooled_not_their_percentiles() -> None:
    one = {"latency_ms": {"p95": 1.0, "bound": "upper", "histogram": {"edges_ms": [1.0, 10.0], "counts": [100, 0, 0]}}}
    two = {"latency_ms": {"p95": 10.0, "bound": "upper", "histogram": {"edges_ms": [1.0, 10.0], "counts": [0, 4, 0]}}}
    latency = pool([one, two])["latency_ms"]
    assert (latency["p50"], latency["p95"], latency["p99"], latency["bound"]) == (1.0, 1.0, 10.0, "upper")
    assert merge_histograms([{"edges_ms": [1], "counts": [1, 0]}, {"edges_ms": [2], "counts": [1, 0]}]) is None
