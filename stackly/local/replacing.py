"""What runs of another release, or by another command, ends before anything of this one starts."""

import asyncio
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stackly import clock, log
from stackly.local import keeper, processes
from stackly.local.component import Component, Status

_LOG = log.get("supervisor")
_GRACE_S = 10.0


@dataclass(frozen=True, slots=True)
class Outdated:
    """A process that no component of ours may adopt."""

    name: str
    who: processes.Alive
    stop_signal: int = signal.SIGTERM
    grace_s: float = _GRACE_S


def outdated(given: Sequence[Component], known: Mapping[str, Status]) -> list[Outdated]:
    """In the order in which they are ended: what no release of ours has, who decides, then as `down` would.

    Who decides ends before the agent does: a step that its agent ends then is judged by this release.
    """
    names = {c.name for c in given}
    found = [Outdated(s.name, s.process) for s in known.values() if s.name not in names and s.process]
    for one in (*_deciders(given), *(c for c in reversed(given) if not c.decides)):
        status = known.get(one.name)
        if status is not None and status.process is not None and not keeper.adoptable(one, status):
            found.append(Outdated(one.name, status.process, one.stop_signal, one.grace_s))
    return [one for one in found if processes.runs(one.who)]


def _deciders(given: Sequence[Component]) -> list[Component]:
    return [c for c in reversed(given) if c.decides]


async def end(these: Sequence[Outdated]) -> None:
    """One after another, gracefully, then hard."""
    for one in these:
        _LOG.info("component.replaced", name=one.name, pid=one.who.pid)
        processes.signal_to(one.who, one.stop_signal)
        until = clock.monotonic() + one.grace_s
        while processes.runs(one.who) and clock.monotonic() < until:  # noqa: ASYNC110 - no event tells of another's child
            await asyncio.sleep(0.02)
        processes.signal_to(one.who, signal.SIGKILL)
