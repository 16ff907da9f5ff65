"""What is over a sender's budget is dropped: always the end of it, and no more than is over."""

from hypothesis import given
from hypothesis import strategies as st

from stackly.runs.budgets import Amount, Buckets, Take, fit

SENDER = ("agent", "run")


@given(st.lists(st.integers(0, 50), max_size=40), st.integers(0, 40), st.integers(0, 30), st.integers(0, 300))
def test_what_is_kept_fits_and_one_more_would_not(sizes: list[int], points: int, lines: int, size: int) -> None:
    kept = fit(sizes, points, Amount(lines, size, 7))
    assert kept.lines <= lines
    assert sum(sizes[: kept.lines]) <= size
    assert kept.points == min(points, 7)
    if kept.lines < len(sizes):
        assert kept.lines + 1 > lines or sum(sizes[: kept.lines + 1]) > size


def test_a_sender_gets_its_burst_then_its_rate_and_others_are_not_touched() -> None:
    buckets = Buckets(Amount(10, 1000, 5), Amount(100, 1000, 50))
    assert buckets.take(SENDER, [1] * 500, 500, at=0.0) == Take(100, 50)
    assert buckets.take(SENDER, [1] * 500, 500, at=0.0) == Take(0, 0)
    assert buckets.take(SENDER, [1] * 500, 500, at=1.0) == Take(10, 5)
    assert buckets.take(("another", "run"), [1] * 60, 1, at=1.0) == Take(60, 1)
    assert buckets.take(SENDER, [1] * 500, 500, at=1e6) == Take(100, 50), "no more than a burst is saved up"
    assert buckets.take(SENDER, [1001], 0, at=2e6) == Take(0, 0)


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(0, 40)), max_size=50))
def test_nobody_gets_more_than_burst_and_rate_allow(calls: list[tuple[float, int]]) -> None:
    buckets, at, got = Buckets(Amount(10, 1e9, 1), Amount(30, 1e9, 1)), 0.0, 0
    for passed, wanted in calls:
        at += passed
        got += buckets.take(SENDER, [1] * wanted, 0, at).lines
    assert got <= 30 + 10 * at + 1e-6
