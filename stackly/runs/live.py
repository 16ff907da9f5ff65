"""SQL of what agents append while they work: log lines and series points. A repeated append changes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text

from stackly import texts
from stackly.db import Session, notify


@dataclass(frozen=True, slots=True)
class Line:
    """Shape: `n` counts within the source."""

    n: int
    at: datetime
    level: str
    text: str


@dataclass(frozen=True, slots=True)
class Point:
    sample: int
    second: int
    tps: float
    latency_ms: float | None
    p95_ms: float | None
    errors: int


async def append(
    session: Session, run: str, test: str, source: str, lines: Sequence[Line], points: Sequence[Point]
) -> None:
    if lines:
        await session.execute(
            text(
                "INSERT INTO log_chunks (run, test, source, n, at, level, text)"
                " VALUES (:run, :test, :source, :n, :at, :level, :text) ON CONFLICT (run, source, n) DO NOTHING"
            ),
            [_line(run, test, source, line) for line in lines],
        )
    if points:
        await session.execute(
            text(
                "INSERT INTO series_points (run, test, sample, second, tps, latency_ms, p95_ms, errors)"
                " VALUES (:run, :test, :sample, :second, :tps, :latency_ms, :p95_ms, :errors)"
                " ON CONFLICT (run, test, sample, second) DO NOTHING"
            ),
            [_point(run, test, point) for point in points],
        )
    await notify(session, "run", run)


def _line(run: str, test: str, source: str, line: Line) -> dict[str, Any]:
    told = {"source": texts.kept(source), "level": texts.kept(line.level), "text": texts.kept(line.text)}
    return {"run": run, "test": test, "n": line.n, "at": line.at, **told}


def _point(run: str, test: str, point: Point) -> dict[str, Any]:
    return {
        "run": run,
        "test": test,
        "sample": point.sample,
        "second": point.second,
        "tps": point.tps,
        "latency_ms": point.latency_ms,
        "p95_ms": point.p95_ms,
        "errors": point.errors,
    }
