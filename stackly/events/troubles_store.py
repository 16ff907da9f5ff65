"""SQL of what failed unforeseen in a background process, and of what waits because of it."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text

from stackly.db import Session

_LONGEST = 500


@dataclass(frozen=True, slots=True)
class Trouble:
    """Shape: `act` is of a fixed few, `about` names what the last one was about."""

    act: str
    count: int
    about: str
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class PutOff:
    """A doorbell that failed and waits for its next try."""

    kind: str
    key: str
    attempts: int
    reason: str
    next_try: datetime


async def note(session: Session, act: str, about: str, reason: str) -> None:
    """Count one more of this act."""
    await session.execute(
        text(
            "INSERT INTO troubles (act, count, about, reason) VALUES (:act, 1, :about, :reason)"
            " ON CONFLICT (act) DO UPDATE SET count = troubles.count + 1, about = :about, reason = :reason,"
            " at = clock_timestamp()"
        ),
        {"act": act, "about": about[:_LONGEST], "reason": reason[:_LONGEST]},
    )


async def troubles(session: Session) -> list[Trouble]:
    """The newest first."""
    rows = await session.execute(
        text("SELECT act, count AS times, about, reason, at FROM troubles ORDER BY at DESC, act")
    )
    return [Trouble(r.act, r.times, r.about, r.reason, r.at) for r in rows]


async def put_off(session: Session, *, limit: int) -> list[PutOff]:
    """Those that waited through the most tries first."""
    rows = await session.execute(
        text(
            "SELECT kind, key, attempts, reason, available_at FROM outbox WHERE reason IS NOT NULL"
            " ORDER BY attempts DESC, id LIMIT :limit"
        ),
        {"limit": limit},
    )
    return [PutOff(r.kind, r.key, r.attempts, r.reason, r.available_at) for r in rows]


async def count_put_off(session: Session) -> dict[str, int]:
    """By kind."""
    rows = await session.execute(
        text("SELECT kind, count(*) AS n FROM outbox WHERE reason IS NOT NULL GROUP BY kind ORDER BY kind")
    )
    return {r.kind: r.n for r in rows}
