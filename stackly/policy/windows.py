"""Windows: local hours of an IANA zone, half-open, exact across every change of its clock.

A window is a rule about wall-clock time: an instant is inside when its local date and time are. So an hour that
happens twice is open twice, an hour that is skipped opens with the next one, and 9-17 is always 09:00 to 17:00.
"""

import functools
import importlib.resources
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from stackly.policy.model import ALL_DAYS, Deny, Hours, Window

HORIZON_DAYS = 3660  # nothing opens within ten years: it never opens
FIT_DAYS = 400  # a year of windows is every window there is
_DAY = timedelta(days=1)
_MIDNIGHT = 1440
_SOME_MONDAY = date(2024, 1, 1)


@functools.cache
def zone(name: str) -> ZoneInfo:
    """Source: the tzdata package, so that a decision does not depend on the machine's own files.

    Raises: ValueError for anything but UTC or an Area/City name; abbreviations mean different things by season.
    """
    if name == "UTC":
        return _load("Etc/UTC", "UTC")
    hint = "write an IANA zone as Area/City, for example Europe/Berlin, or UTC"
    if not re.fullmatch(r"[A-Za-z_]+(/[A-Za-z0-9_+-]+)+", name):
        raise ValueError(f"`{name}` is no zone; {hint}")
    try:
        return _load(name, name)
    except (FileNotFoundError, IsADirectoryError, ValueError) as wrong:
        raise ValueError(f"`{name}` is not a known zone; {hint}") from wrong


def _load(path: str, key: str) -> ZoneInfo:
    with importlib.resources.files("tzdata").joinpath("zoneinfo", *path.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=key)


@functools.cache
def tzdata_version() -> str:
    """Shape: 2026b."""
    source = importlib.resources.files("tzdata").joinpath("__init__.py").read_text(encoding="utf-8")
    found = re.search(r'IANA_VERSION = "(\w+)"', source)
    return found.group(1) if found else "unknown"


def is_open(window: Window, at: datetime) -> bool:
    local = at.astimezone(zone(window.timezone))
    day, minute = local.date(), local.hour * 60 + local.minute
    if day in window.except_dates or not _covers(window.hours, window.days, day, minute):
        return False
    return not any(_denies(deny, day, minute) for deny in window.deny)


def closing_rule(window: Window, at: datetime) -> str:
    """Why the window is closed at `at`, in words; empty when it is open."""
    local = at.astimezone(zone(window.timezone))
    day, minute = local.date(), local.hour * 60 + local.minute
    denied = next((deny.name for deny in window.deny if _denies(deny, day, minute)), None)
    if day in window.except_dates:
        return f"{day.isoformat()} is an exception date"
    if denied is not None:
        return f'closed by deny "{denied}"'
    return "" if _covers(window.hours, window.days, day, minute) else "outside the allowed hours"


def _covers(hours: Sequence[Hours], days: Sequence[int], day: date, minute: int) -> bool:
    today, yesterday = day.weekday() in days, (day.weekday() - 1) % 7 in days
    for span in hours:
        if span.start < span.end:
            if today and span.start <= minute < span.end:
                return True
        elif (today and minute >= span.start) or (yesterday and minute < span.end):
            return True
    return False


def _denies(deny: Deny, day: date, minute: int) -> bool:
    return _dated(deny, day) and _covers(deny.hours, deny.days, day, minute)


def _dated(deny: Deny, day: date) -> bool:
    return (deny.first is None or deny.first <= day) and (deny.last is None or day <= deny.last)


def next_opening(window: Window, at: datetime, days: int = HORIZON_DAYS) -> datetime | None:
    """The first moment from `at` on that is inside; None when there is none within `days`."""
    return _first(window, at, days, want=True)


def closes_at(window: Window, at: datetime, days: int = HORIZON_DAYS) -> datetime | None:
    """The first moment from `at` on that is outside; None when there is none within `days`."""
    if window.days == ALL_DAYS and not window.deny and not window.except_dates and Hours(0, _MIDNIGHT) in window.hours:
        return None
    return _first(window, at, days, want=False)


def next_fit(window: Window, at: datetime, duration_s: int | None) -> datetime | None:
    """The first moment from `at` on at which the window is open and stays open for `duration_s`."""
    start = next_opening(window, at)
    if start is None or not duration_s:
        return start
    end = start + FIT_DAYS * _DAY
    while start is not None and start < end:
        closing = closes_at(window, start)
        if closing is None or closing - start >= timedelta(seconds=duration_s):
            return start
        start = next_opening(window, closing)
    return None


def joint_fit(windows: Sequence[Window], at: datetime, duration_s: int | None) -> datetime | None:
    """The first moment at which all windows fit at once. Each step jumps to a bound that holds for every answer."""
    start = at
    for _ in range(FIT_DAYS):
        latest = start
        for window in windows:
            fit = next_fit(window, latest, duration_s)
            if fit is None:
                return None
            latest = fit
        if latest == start:
            return start
        start = latest
    return None


def _first(window: Window, at: datetime, days: int, *, want: bool) -> datetime | None:
    at = at.astimezone(UTC)
    if is_open(window, at) is want:
        return at
    for moment in _changes(window, at, days, want=want):
        if is_open(window, moment) is want:
            return moment
    return None


def _changes(window: Window, at: datetime, days: int, *, want: bool) -> Iterator[datetime]:
    """Every moment after `at` at which the answer may change, in order; between two of them it does not.

    It changes where the wall clock passes a boundary (in either of its passes) and where the clock itself changes.
    Days that cannot hold the wanted answer are left out.
    """
    start = datetime(at.year, at.month, at.day, tzinfo=UTC)
    marks = _boundaries(window)
    may = [_may_be(window, (start + shift * _DAY).date(), want=want) for shift in (-1, 0)]
    for _ in range(days):
        may = [*may[-2:], _may_be(window, (start + _DAY).date(), want=want)]
        if any(may):
            dates = [(start + shift * _DAY).date() for shift in (-1, 0, 1)]
            found = {m for day in dates for m in _instants(window.timezone, day, marks) if start <= m < start + _DAY}
            yield from sorted(m for m in found | _transitions(window.timezone, start) if m > at)
        start += _DAY


@functools.lru_cache(maxsize=256)
def _boundaries(window: Window) -> tuple[int, ...]:
    spans = [*window.hours, *(span for deny in window.deny for span in deny.hours)]
    return tuple(sorted({0, *(span.start for span in spans), *(span.end % _MIDNIGHT for span in spans)}))


def _may_be(window: Window, day: date, *, want: bool) -> bool:
    """False only when no minute of the local day gives the wanted answer."""
    if day in window.except_dates:
        return not want
    dated = tuple(deny for deny in window.deny if _dated(deny, day))
    return want in _answers(window.hours, window.days, dated, _boundaries(window), day.weekday())


@functools.lru_cache(maxsize=1024)
def _answers(
    hours: tuple[Hours, ...], days: tuple[int, ...], deny: tuple[Deny, ...], marks: tuple[int, ...], weekday: int
) -> frozenset[bool]:
    """What a day of this weekday answers, at one minute or another, under these denials."""
    day = _SOME_MONDAY + weekday * _DAY
    return frozenset(
        _covers(hours, days, day, mark) and not any(_covers(d.hours, d.days, day, mark) for d in deny) for mark in marks
    )


@functools.lru_cache(maxsize=512)
def _instants(name: str, day: date, marks: tuple[int, ...]) -> tuple[datetime, ...]:
    tz = zone(name)
    walls = [datetime(day.year, day.month, day.day, m // 60, m % 60, tzinfo=tz) for m in marks]
    return tuple(wall.replace(fold=fold).astimezone(UTC) for wall in walls for fold in (0, 1))


@functools.lru_cache(maxsize=4096)
def _transitions(name: str, start: datetime) -> frozenset[datetime]:
    """Moments of the UTC day at which the zone's offset changes, found by halving quarters of a day."""
    tz, step = zone(name), timedelta(hours=6)
    return frozenset(
        _halve(tz, low, low + step)
        for low in (start + n * step for n in range(4))
        if low.astimezone(tz).utcoffset() != (low + step).astimezone(tz).utcoffset()
    )


def _halve(tz: ZoneInfo, low: datetime, high: datetime) -> datetime:
    before = low.astimezone(tz).utcoffset()
    while high - low > timedelta(seconds=1):
        middle = low + timedelta(seconds=(high - low) // timedelta(seconds=2))
        low, high = (middle, high) if middle.astimezone(tz).utcoffset() == before else (low, middle)
    return high
