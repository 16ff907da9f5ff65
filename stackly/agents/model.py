"""Agents: who they are, what they can do, and why one does not fit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from stackly import clock
from stackly.errors import Denied, Invalid, NotFound, Unauthenticated
from stackly.ids import AccountId, AgentId

TOKEN_LIFETIME = timedelta(minutes=30)
SITE_CERTIFICATE_LIFETIME = timedelta(hours=24)
EDGE_CERTIFICATE_LIFETIME = timedelta(hours=24)  # at most; a test's deadline ends it sooner
SILENT_AFTER = timedelta(seconds=20)


class AgentNotFound(NotFound):
    title = "There is no such agent."


class EnrolmentRefused(Unauthenticated):
    title = "This enrolment token is unknown, used or expired; ask for a fresh one."


class AgentRevoked(Denied):
    title = "This agent was revoked, or a newer certificate of it is in use."


class NotYours(Denied):
    title = "This run is not in this agent's hands."


class KeyUnusable(Invalid):
    title = "The public key is not one that certificates are made for; use an EC P-256 or Ed25519 key in PEM."


class Role(StrEnum):
    SITE = "site"
    EDGE = "edge"


class AgentStatus(StrEnum):
    EXPECTED = "expected"
    ONLINE = "online"
    OFFLINE = "offline"
    GONE = "gone"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class Agent:
    """A row of `agents`. Shape: `capabilities` holds targets (list), and what else the agent says of itself."""

    id: AgentId
    account: AccountId
    role: Role
    name: str
    certificate: str | None
    incarnation: str | None
    version: str | None
    labels: Mapping[str, Any]
    capabilities: Mapping[str, Any]
    run: str | None
    test: str | None
    machine: str | None
    status: AgentStatus
    reason: str | None
    seen_at: datetime | None
    created_at: datetime

    @property
    def is_barred(self) -> bool:
        return self.status in {AgentStatus.REVOKED, AgentStatus.GONE}


@dataclass(frozen=True, slots=True)
class Needs:
    """What a run asks of a site agent. Shape: `labels` must all be equal on the agent."""

    target: str
    labels: Mapping[str, str] = field(default_factory=dict)


# What ends a wait for a target that may come by itself.
_CURES = {"docker": "start Docker on its machine, and it is seen within 30 seconds"}


def misfit(agent: Agent, needs: Needs) -> str | None:
    """Why the agent cannot take it, as a sentence for the person who waits; None: it can."""
    if agent.status != AgentStatus.ONLINE:
        since = f" since {clock.iso(agent.seen_at)}" if agent.seen_at else ""
        return f"{agent.name} is {agent.status}{since}; it goes on when it answers again: stackly status"
    targets = _targets(agent)
    if needs.target not in targets:
        has = f"{agent.name} has no target {needs.target} (it has {', '.join(sorted(targets)) or 'none'})"
        return f"{has}; {_CURES.get(needs.target, 'name one of these in stackly.hcl and push')}"
    for label, value in sorted(needs.labels.items()):
        if agent.labels.get(label) != value:
            return f"{agent.name} is not labelled {label}={value}"
    return None


def _targets(agent: Agent) -> set[str]:
    told = agent.capabilities.get("targets", [])
    return {str(t) for t in told} if isinstance(told, list | dict) else set()


def choose(agents: Sequence[Agent], needs: Needs, load: Mapping[str, int]) -> tuple[Agent | None, str]:
    """The least loaded agent that fits, of equals the oldest; or None, and why each of them does not."""
    reasons = {a.id: why for a in agents if (why := misfit(a, needs)) is not None}
    fitting = [a for a in agents if a.id not in reasons]
    if not fitting:
        told = "; ".join(reasons.values()) or "no site agent is registered; start one: stackly up"
        return None, f"no agent fits target {needs.target}: {told}"
    return min(fitting, key=lambda a: (load.get(a.id, 0), a.id)), ""
