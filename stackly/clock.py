"""The only reader of the wall clock and the monotonic clock."""

import time
from datetime import UTC, datetime


def now() -> datetime:
    """Units: aware, UTC."""
    return datetime.now(UTC)  # noqa: TID251 - this is the one place


def monotonic() -> float:
    """Units: seconds; comparable within one process only."""
    return time.monotonic()


def parse(text: str) -> datetime:
    """Read ISO 8601 as `iso` writes it. Raises: ValueError when it has no zone."""
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"{text!r} has no zone")
    return at.astimezone(UTC)


def iso(at: datetime) -> str:
    """Shape: 2026-11-21T08:47:55.123Z, UTC."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
