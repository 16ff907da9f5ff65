"""Log lines and points of agents, within each sender's budget (stackly.runs.budgets)."""

from collections.abc import Iterable, Sequence
from datetime import timedelta

from stackly import clock
from stackly.agents.model import Agent
from stackly.db import Session
from stackly.runs import budget_store, live
from stackly.runs.budgets import LINE_BYTES, Buckets, Take
from stackly.wire import gateway_pb2 as wire

# A clock of an agent that is this far ahead is taken for wrong, and ours is used.
_AHEAD = timedelta(hours=1)
_SOURCE_LONGEST = 200
_LEVEL_LONGEST = 20


class Appending:
    """One per gateway. Whatever is sent is answered; what is kept of it is bounded."""

    def __init__(self, buckets: Buckets | None = None) -> None:
        self._buckets = buckets or Buckets()

    async def append(self, session: Session, agent: Agent, request: wire.AppendRequest) -> None:
        """The caller has checked that this run is in the agent's hands."""
        # The certificate's share of the source: no agent can speak, or count, for another.
        sender = "/".join(part for part in (request.test, agent.name) if part)
        sizes = [min(len(line.text.encode()), LINE_BYTES) for line in request.lines]
        points = len(request.points)
        now = clock.monotonic()
        taken = self._buckets.take((agent.id, request.run), sizes, points, now)
        if taken.lines or taken.points:
            taken = await budget_store.take(session, request.run, sender, sizes[: taken.lines], taken.points)
        await self._keep(session, request, sender, taken)
        lines, points = len(sizes) - taken.lines, points - taken.points
        if lines or points:
            await budget_store.count_dropped(session, request.run, request.test, sender, lines=lines, points=points)

    async def _keep(self, session: Session, request: wire.AppendRequest, sender: str, taken: Take) -> None:
        if not (taken.lines or taken.points):
            return
        source = f"{sender}/{request.source[:_SOURCE_LONGEST]}" if request.source else sender
        lines, points = _lines(request.lines[: taken.lines]), _points(request.points[: taken.points])
        await live.append(session, request.run, request.test, source, lines, points)


def _lines(lines: Sequence[wire.LogLine]) -> list[live.Line]:
    now = clock.now()
    read = []
    for line in lines:
        try:
            at = clock.parse(line.at)
        except ValueError:
            at = now
        level = line.level[:_LEVEL_LONGEST] or "info"
        read.append(live.Line(line.n, min(at, now + _AHEAD), level, _cut(line.text)))
    return read


def _cut(text: str) -> str:
    """At most LINE_BYTES bytes, whole characters."""
    whole = text.encode()
    return text if len(whole) <= LINE_BYTES else whole[:LINE_BYTES].decode(errors="ignore")


def _points(points: Iterable[wire.Point]) -> list[live.Point]:
    return [
        live.Point(
            p.sample,
            p.second,
            p.tps,
            p.latency_ms if p.HasField("latency_ms") else None,
            p.p95_ms if p.HasField("p95_ms") else None,
            p.errors,
        )
        for p in points
    ]
