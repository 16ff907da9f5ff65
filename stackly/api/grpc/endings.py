"""Edge agents whose process ended, as the site agent's look at its machines shows (ADR 16)."""

from collections.abc import Iterable, Mapping
from typing import Any

from stackly import log
from stackly.agents import store as agents
from stackly.agents.model import Agent
from stackly.db import Session
from stackly.engine.contracts.site import AGENT_ENDED
from stackly.errors import Denied, NotFound
from stackly.events import store as events
from stackly.events.model import Bell
from stackly.runs import holds, steps

_log = log.get("api.grpc")
# A site agent's word is believed for its own tests; this bounds what it may say of them at once.
_MOST = 1000


def split(items: Iterable[Mapping[str, Any]]) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """(what is there, which agents ended)"""
    there: list[Mapping[str, Any]] = []
    ended: list[Mapping[str, Any]] = []
    for item in items:
        (ended if item.get("kind") == AGENT_ENDED else there).append(item)
    return there, ended[:_MOST]


async def note(session: Session, site: Agent, ended: Iterable[Mapping[str, Any]]) -> None:
    """Their running steps are gone, and whoever waits for them is rung. What is not this site's is left alone."""
    for item in ended:
        agent, _, enrolment = str(item.get("id", "")).partition("/")
        run, test = str(item.get("run", "")), str(item.get("test", ""))
        try:
            hold = await holds.hold_of(session, run, test)
        except (NotFound, Denied):
            continue
        if not test or hold.account != site.account or site.id not in hold.agents:
            continue
        machine, _, words = str(item.get("detail", "")).partition(":")
        reason = f"the edge agent of machine {machine} ended before its work did"
        reason += f": {words.strip()}" if words else ""
        if await agents.end_edge(session, agent, run=run, test=test, reason=reason, enrolment=enrolment):
            await steps.report_gone(session, agent, "")
            await events.ring(session, Bell.TEST_RING, f"{run}/{test}")
            _log.warning("edge.ended", agent=agent, run=run, test=test, reason=reason)
