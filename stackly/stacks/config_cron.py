"""Cron lines: five fields, checked when they are written, not when they should have fired."""

import re

MIN_INTERVAL_MINUTES = 15
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_FIELDS = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of month", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("day of week", 0, 6, _DAYS),
)
_LONGEST_MONTH = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_PART = re.compile(r"(\*|[0-9A-Za-z]+(?:-[0-9A-Za-z]+)?)(?:/([0-9]+))?")


def cron(text: str) -> str:
    """Raises: ValueError when a field is wrong, when it never fires, or fires more often than every 15 minutes."""
    words = text.split()
    if len(words) != 5:
        hint = "minute hour day month weekday, for example 0 3 * * *"
        raise ValueError(f"`{text}` has {len(words)} fields, a cron line has five: {hint}")
    minutes, hours, days, months, _ = (_field(word, *field) for word, field in zip(words, _FIELDS, strict=True))
    if words[4] == "*" and not any(day <= _LONGEST_MONTH[month - 1] for month in months for day in days):
        raise ValueError(f"`{text}` never fires: no such day in those months")
    _check_interval(text, sorted(minutes), sorted(hours))
    return " ".join(words)


def _check_interval(text: str, minutes: list[int], hours: list[int]) -> None:
    """Days only take firings away, except at midnight, where the next day is taken as one that fires."""
    fires = [hour * 60 + minute for hour in hours for minute in minutes]
    gaps = [later - sooner for sooner, later in zip(fires, [*fires[1:], fires[0] + 1440], strict=True)]
    if min(gaps) < MIN_INTERVAL_MINUTES:
        raise ValueError(f"`{text}` fires {min(gaps)} minutes apart; at least {MIN_INTERVAL_MINUTES} are needed")


def _field(word: str, name: str, low: int, high: int, names: tuple[str, ...]) -> set[int]:
    out: set[int] = set()
    for part in word.split(","):
        found = _PART.fullmatch(part)
        if found is None:
            raise ValueError(f"`{part}` is no {name}")
        span, step = found.group(1), int(found.group(2) or 1)
        if step == 0 or step > high:
            raise ValueError(f"step {step} of the {name} is outside 1 to {high}")
        first, last = (low, high) if span == "*" else _span(span, name, low, high, names)
        if found.group(2) and "-" not in span and span != "*":
            last = high
        out |= set(range(first, last + 1, step))
    return out


def _span(span: str, name: str, low: int, high: int, names: tuple[str, ...]) -> tuple[int, int]:
    first, dash, last = span.partition("-")
    start = _number(first, name, low, high, names)
    end = _number(last, name, low, high, names) if dash else start
    if end < start:
        raise ValueError(f"`{span}` runs backwards in the {name}")
    return start, end


def _number(word: str, name: str, low: int, high: int, names: tuple[str, ...]) -> int:
    if word.upper() in names:
        return names.index(word.upper()) + low
    if not word.isdigit() or not low <= int(word) <= high:
        raise ValueError(f"`{word}` is no {name}, {low} to {high}")
    return int(word)
