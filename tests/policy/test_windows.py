"""Windows against an oracle that walks minute by minute and knows nothing of boundaries."""

import itertools
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stackly.policy import windows
from stackly.policy.model import ALL_DAY, ALL_DAYS, Deny, Hours, Window

MINUTE = timedelta(minutes=1)

# Zone and a moment near a change of its clock: forward, back, at midnight, by half an hour, a lost day.
CHANGES = [
    ("Europe/Berlin", datetime(2026, 3, 29, 1, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 10, 25, 1, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 3, 8, 7, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 11, 1, 6, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 4, 4, 15, tzinfo=UTC)),
    ("America/Sao_Paulo", datetime(2018, 11, 4, 3, tzinfo=UTC)),
    ("America/Sao_Paulo", datetime(2019, 2, 17, 2, tzinfo=UTC)),
    ("Pacific/Apia", datetime(2011, 12, 30, 10, tzinfo=UTC)),
    ("Africa/Casablanca", datetime(2026, 2, 15, 2, tzinfo=UTC)),
    ("Asia/Kathmandu", datetime(2026, 5, 1, 0, tzinfo=UTC)),
    ("UTC", datetime(2026, 1, 1, 0, tzinfo=UTC)),
]


def minutes_of(window_hours: tuple[Hours, ...], days: tuple[int, ...]) -> set[int]:
    """The minutes of a week that a rule names, written out one by one."""
    out = set()
    for day in days:
        for span in window_hours:
            minute = span.start
            while minute % 1440 != span.end % 1440 or minute == span.start:
                out.add((day * 1440 + minute) % (7 * 1440))
                minute += 1
                if span == ALL_DAY[0] and minute == 1440:
                    break
    return out


class Oracle:
    def __init__(self, window: Window) -> None:
        self.window = window
        self.zone = windows.zone(window.timezone)
        self.allowed = minutes_of(window.hours, window.days)
        self.denied = [(d, minutes_of(d.hours, d.days)) for d in window.deny]

    def is_open(self, at: datetime) -> bool:
        local = at.astimezone(self.zone)
        day = local.date()
        minute = day.weekday() * 1440 + local.hour * 60 + local.minute
        if minute not in self.allowed or day in self.window.except_dates:
            return False
        return not any(
            (d.first or date.min) <= day <= (d.last or date.max) and minute in which for d, which in self.denied
        )

    def walk(self, at: datetime, minutes: int) -> Iterator[tuple[datetime, bool]]:
        for step in range(minutes):
            moment = at + step * MINUTE
            yield moment, self.is_open(moment)


def agree(window: Window, at: datetime, minutes: int) -> None:
    """Every answer over a stretch of minutes is the oracle's."""
    seen = list(Oracle(window).walk(at, minutes))
    assert [windows.is_open(window, moment) for moment, _ in seen] == [state for _, state in seen]
    end = seen[-1][0]
    for ask, wanted in ((windows.next_opening, True), (windows.closes_at, False)):
        first = next((moment for moment, state in seen if state is wanted), None)
        got = ask(window, at)
        assert got == first if first else got is None or got > end
    edges = [b for (_, was), (b, now) in itertools.pairwise(seen) if was != now]
    moment = at
    for edge in edges:
        ask = windows.closes_at if windows.is_open(window, moment) else windows.next_opening
        moment_next = ask(window, moment)
        assert moment_next == edge
        moment = moment_next


_minute = st.integers(0, 95).map(lambda quarter: quarter * 15) | st.integers(0, 1439)
_hours = st.tuples(_minute, _minute).filter(lambda p: p[0] != p[1]).map(lambda p: Hours(*p)) | st.just(ALL_DAY[0])
_spans = st.lists(_hours, min_size=1, max_size=3).map(tuple)
_days = st.sets(st.sampled_from(ALL_DAYS), min_size=1).map(lambda days: tuple(sorted(days)))


@st.composite
def cases(draw: st.DrawFn) -> tuple[Window, datetime]:
    name, near = draw(st.sampled_from(CHANGES))
    at = near + draw(st.integers(-2000, 1200)) * MINUTE
    close = st.dates(near.date() - timedelta(days=3), near.date() + timedelta(days=3))
    deny = st.builds(Deny, st.just("no"), hours=_spans, days=_days, first=st.none() | close, last=st.none() | close)
    window = draw(
        st.builds(
            Window,
            hours=_spans,
            days=_days | st.just(ALL_DAYS),
            timezone=st.just(name),
            deny=st.lists(deny, max_size=2).map(tuple),
            except_dates=st.lists(close, max_size=2).map(tuple),
        )
    )
    return window, at


@given(cases())
@settings(max_examples=50, deadline=None)
def test_answers_equal_the_minute_by_minute_oracle_around_changes_of_the_clock(case: tuple[Window, datetime]) -> None:
    agree(*case, minutes=2400)


@pytest.mark.nightly
@pytest.mark.timeout(0)
def test_ten_years_of_every_zone_that_changes_its_clock() -> None:
    from zoneinfo import available_timezones

    window = Window((Hours(90, 210), Hours(1320, 360)), (0, 2, 5, 6))
    for name in sorted(z for z in available_timezones() if "/" in z and not z.startswith("Etc/")):
        start = datetime(2026, 1, 1, tzinfo=UTC)
        for day in range(3653):
            at = start + timedelta(days=day)
            if windows._transitions(name, at):
                placed = Window(window.hours, window.days, name)
                agree(placed, at - timedelta(days=1), minutes=4 * 1440)


@given(cases(), st.integers(1, 900))
@settings(max_examples=25, deadline=None)
def test_a_fit_is_the_first_start_whose_whole_duration_is_open(case: tuple[Window, datetime], minutes: int) -> None:
    window, at = case
    oracle = Oracle(window)
    seen = [state for _, state in oracle.walk(at, 2400 + minutes)]
    run, first = 0, None
    for step, state in enumerate(seen):
        run = run + 1 if state else 0
        if run >= minutes:
            first = at + (step - minutes + 1) * MINUTE
            break
    got = windows.next_fit(window, at, minutes * 60)
    if first is not None:
        assert got == first
    else:
        assert got is None or got > at + 2400 * MINUTE


@given(st.lists(cases(), min_size=2, max_size=3), st.integers(1, 300))
@settings(max_examples=12, deadline=None)
def test_several_windows_together_open_at_the_first_common_fit(
    many: list[tuple[Window, datetime]], minutes: int
) -> None:
    at = many[0][1]
    together = [window for window, _ in many]
    oracles = [Oracle(window) for window in together]
    seen = [all(o.is_open(at + step * MINUTE) for o in oracles) for step in range(2000 + minutes)]
    run, first = 0, None
    for step, state in enumerate(seen):
        run = run + 1 if state else 0
        if run >= minutes:
            first = at + (step - minutes + 1) * MINUTE
            break
    got = windows.joint_fit(together, at, minutes * 60)
    if first is not None:
        assert got == first
    else:
        assert got is None or got > at + 2000 * MINUTE


BERLIN = Window((Hours(540, 1020),), (0, 1, 2, 3, 4), "Europe/Berlin")


@pytest.mark.parametrize(
    ("at", "inside"),
    [
        (datetime(2026, 11, 23, 8, 0, tzinfo=UTC), True),  # Monday 09:00
        (datetime(2026, 11, 23, 7, 59, 59, tzinfo=UTC), False),
        (datetime(2026, 11, 23, 15, 59, 59, tzinfo=UTC), True),
        (datetime(2026, 11, 23, 16, 0, tzinfo=UTC), False),  # 17:00 is out
        (datetime(2026, 7, 20, 7, 0, tzinfo=UTC), True),  # summer: 09:00 is 07:00 UTC
        (datetime(2026, 11, 21, 10, 0, tzinfo=UTC), False),  # Saturday
    ],
)
def test_hours_are_half_open_and_local(at: datetime, inside: bool) -> None:
    assert windows.is_open(BERLIN, at) is inside


def test_an_overnight_range_belongs_to_the_day_it_starts_on() -> None:
    monday = Window((Hours(1320, 360),), (0,))
    assert windows.is_open(monday, datetime(2026, 11, 24, 5, 59, tzinfo=UTC))
    assert not windows.is_open(monday, datetime(2026, 11, 23, 5, 59, tzinfo=UTC))


def test_an_hour_that_does_not_exist_opens_with_the_next_one() -> None:
    night = Window((Hours(120, 240),), timezone="America/New_York")
    assert windows.next_opening(night, datetime(2026, 3, 8, 5, tzinfo=UTC)) == datetime(2026, 3, 8, 7, tzinfo=UTC)


def test_a_run_that_does_not_fit_today_waits_for_monday() -> None:
    friday = datetime(2026, 11, 20, 15, 30, tzinfo=UTC)
    assert windows.next_fit(BERLIN, friday, 1800) == friday
    assert windows.next_fit(BERLIN, friday, 1801) == datetime(2026, 11, 23, 8, tzinfo=UTC)
    assert windows.next_fit(BERLIN, friday, 9 * 3600) is None


def test_far_and_never_are_told_apart() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    frozen = Window(deny=(Deny("freeze", last=date(2031, 12, 31)),))
    assert windows.next_opening(frozen, at) == datetime(2032, 1, 1, tzinfo=UTC)
    assert windows.next_opening(Window(deny=(Deny("for_good"),)), at) is None
    assert windows.closes_at(Window(), at) is None


@pytest.mark.parametrize(
    "name", ["EST", "CET", "EST5EDT", "GMT", "Japan", "", "../UTC", "Europe", "Mars/Base", "Europe/"]
)
def test_what_is_no_area_and_city_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="Area/City"):
        windows.zone(name)


def test_the_version_of_the_zone_data_is_known() -> None:
    assert windows.tzdata_version()[:4].isdigit()
