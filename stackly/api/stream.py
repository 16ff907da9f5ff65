"""One run, live: its status, phases, progress, points and log as server-sent events, from any replica.

Rows are what is read; a notification only says that it is time to look. An event's id is how far the log and the
points were read, so a reader that comes back with Last-Event-ID misses nothing and gets nothing twice.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from starlette.responses import StreamingResponse

from stackly import clock
from stackly.api.auth import Reader, still_actor
from stackly.api.pages import CursorInvalid
from stackly.api.parts import House, Parts
from stackly.api.references import RunPath
from stackly.api.run_shape import view_of
from stackly.api.run_view import RunView, TestView
from stackly.api.views import LogLineView
from stackly.db import Json
from stackly.engine.contracts import series
from stackly.errors import Denied, Unauthenticated, Unavailable
from stackly.runs import reads
from stackly.runs.model import BENCHMARK_PHASES, DEPLOY_PHASES, DESTROY_PHASES
from stackly.spec.runs import ENDED

router = APIRouter(prefix="/runs", tags=["run"])

_BATCH = 500
_LOOK_S = 2.0  # whatever was missed is seen this late at the most
_ALIVE_S = 10.0
_RETRY_MS = 1000
_PHASES = {
    "benchmark": len(BENCHMARK_PHASES),
    "deploy": len(DEPLOY_PHASES),
    "destroy": len(DESTROY_PHASES),
}


@dataclass(slots=True)
class _Reading:
    """How far one reader is."""

    log: int = 0
    point: int = 0
    shown: dict[str, str] = field(default_factory=dict)  # what was sent last, by event and subject

    @property
    def id(self) -> str:
        return f"{self.log}.{self.point}"

    def is_news(self, name: str, said: str) -> bool:
        if self.shown.get(name) == said:
            return False
        self.shown[name] = said
        return True


def _resume(last_event_id: str | None) -> _Reading:
    """Raises: CursorInvalid."""
    if not last_event_id:
        return _Reading()
    parts = last_event_id.split(".")
    if len(parts) != 2 or not all(p.isascii() and p.isdigit() and len(p) <= 18 for p in parts):
        raise CursorInvalid("Last-Event-ID is not one of this stream's.")
    return _Reading(log=int(parts[0]), point=int(parts[1]))


@router.get("/{run}/stream", response_class=StreamingResponse)
async def stream_run(
    run: RunPath,
    request: Request,
    house: House,
    actor: Reader,
    last_event_id: Annotated[str | None, Header(max_length=100)] = None,
) -> StreamingResponse:
    """Events: `run` (the run), `phase`, `progress` {percent phase test tps}, `point`, `log`; last `end` (the run)."""
    reading = _resume(last_event_id)
    async with house.transactions() as session:
        await reads.get_run(session, actor.account, run)
    head = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_follow(house, request, run, reading), media_type="text/event-stream", headers=head)


async def _follow(house: Parts, request: Request, run: str, reading: _Reading) -> AsyncIterator[bytes]:
    """A key that is revoked meanwhile ends the stream at its next look, which is at most two seconds away."""
    yield f"retry: {_RETRY_MS}\n\n".encode()
    spoken = clock.monotonic()
    while not house.feed.closing:
        # Listening starts before the look: what is written in between rings.
        ring = asyncio.create_task(house.feed.wait(run, timeout_s=_LOOK_S))
        try:
            found, is_over, is_full = await _look(house, request, run, reading)
        except (Unauthenticated, Denied):
            ring.cancel()
            return
        except Unavailable:
            found, is_over, is_full = [], False, False  # Postgres is away: the reader need not know
        for event in found:
            yield event
        if is_over:
            ring.cancel()
            return
        if found:
            spoken = clock.monotonic()
        elif clock.monotonic() - spoken > _ALIVE_S:
            spoken = clock.monotonic()
            yield b": alive\n\n"
        if is_full:
            ring.cancel()
        else:
            await ring


async def _look(house: Parts, request: Request, run: str, reading: _Reading) -> tuple[list[bytes], bool, bool]:
    """Everything new. Shape: (events, the run has ended and all is told, there is more at once)."""
    async with house.transactions() as session:
        actor = await still_actor(request, session)
        row = await reads.get_run(session, actor.account, run)
        view = await view_of(session, row, house.config.public_url)
        is_over = view.status in ENDED
        lines = await reads.logs_after(session, run, after=reading.log, limit=_BATCH, everything=is_over)
        points = await reads.points_after(session, run, after=reading.point, limit=_BATCH, everything=is_over)
    is_full = len(lines) == _BATCH or len(points) == _BATCH
    events = [*_of_run(view, reading), *_of_phases(view, reading)]
    events += [_log(line, reading) for line in lines]
    events += [_point(point, reading) for point in points]
    events += _of_progress(view, points, reading)
    if is_over and not is_full:
        events.append(_event("end", view.model_dump(mode="json"), reading))
    return events, is_over and not is_full, is_full


def _event(name: str, data: Any, reading: _Reading) -> bytes:
    return f"id: {reading.id}\nevent: {name}\ndata: {json.dumps(data)}\n\n".encode()


def _of_run(view: RunView, reading: _Reading) -> list[bytes]:
    said = view.model_dump(mode="json")
    return [_event("run", said, reading)] if reading.is_news("run", json.dumps(said)) else []


def _of_phases(view: RunView, reading: _Reading) -> list[bytes]:
    events = []
    named = [("", phase) for phase in view.phases] if not view.tests else []
    named += [(test.name, phase) for test in view.tests for phase in test.phases]
    for test, phase in named:
        said = {"test": test, **phase.model_dump(mode="json")}
        if reading.is_news(f"phase/{test}/{phase.name}", json.dumps(said)):
            events.append(_event("phase", said, reading))
    return events


def _of_progress(view: RunView, points: list[Json], reading: _Reading) -> list[bytes]:
    test = next((t for t in view.tests if any(p.status == "running" for p in t.phases)), None)
    phases = test.phases if test else view.phases
    running = [p.name for p in phases if p.status == "running"]
    said = {
        "percent": 100 if view.status in ENDED else _percent(view),
        "phase": running[-1] if running else None,
        "test": test.name if test else None,
        "tps": points[-1]["tps"] if points else None,
    }
    return [_event("progress", said, reading)] if reading.is_news("progress", json.dumps(said)) else []


def _percent(view: RunView) -> int:
    """Of the phases there are: an orientation, not a forecast."""
    expected = _PHASES.get(view.kind, 1)
    parts: list[TestView | RunView] = [*view.tests] or [view]
    ended = [min(sum(p.ended_at is not None for p in part.phases) / expected, 1.0) for part in parts]
    return int(99 * sum(ended) / len(ended))


def _log(line: Json, reading: _Reading) -> bytes:
    reading.log = line["id"]
    return _event("log", log_view(line).model_dump(mode="json"), reading)


def log_view(line: Json) -> LogLineView:
    return LogLineView(**{**line, "id": str(line["id"]), "run_id": line["run"]})


def _point(point: Json, reading: _Reading) -> bytes:
    reading.point = point["id"]
    said = {"test": point["test"], "sample": point["sample"], **series.point(point)}
    return _event("point", {**said, "at": clock.iso(point["at"])}, reading)
