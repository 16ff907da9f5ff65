"""Commands on agents: register, enrol, listen to their beats, choose one."""

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from stackly.agents import store
from stackly.agents.authority import Authority, Certificate
from stackly.agents.model import (
    EDGE_CERTIFICATE_LIFETIME,
    SILENT_AFTER,
    SITE_CERTIFICATE_LIFETIME,
    TOKEN_LIFETIME,
    Agent,
    AgentRevoked,
    AgentStatus,
    EnrolmentRefused,
    Needs,
    Role,
    choose,
)
from stackly.db import Session, now
from stackly.events import store as events
from stackly.events.model import Bell
from stackly.ids import AgentId, new_token


@dataclass(frozen=True, slots=True)
class Issued:
    """Shape: `token` is seen here and never again."""

    agent: Agent
    token: str


@dataclass(frozen=True, slots=True)
class Enrolled:
    """Shape: `deadline` is when an edge agent's test ends at the latest; None for a site agent."""

    agent: Agent
    certificate: Certificate
    deadline: datetime | None


DeadlineOf = Callable[[str, str], Awaitable[datetime | None]]


def digest_of(token: str) -> str:
    """256 bits of chance need no slow hash."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


async def _issue(session: Session, agent: Agent) -> Issued:
    token = f"stk_enrol_{new_token()}"
    await store.insert_enrolment(session, digest_of(token), agent.id, TOKEN_LIFETIME)
    return Issued(agent, token)


async def create_site_agent(
    session: Session, account: str, name: str, labels: Mapping[str, str] | None = None
) -> Issued:
    """Register a site agent, or take the one of that name, with a fresh enrolment token."""
    await store.lock_account(session, account)
    return await _issue(session, await store.upsert_site(session, account, name, labels or {}))


async def issue_enrolment(session: Session, account: str, *, run: str, test: str, machine: str) -> Issued:
    """A token bound to one machine of one test. Asked again, the same agent gets another token."""
    await store.lock_account(session, account)
    return await _issue(session, await store.upsert_edge(session, account, run, test, machine))


async def enrol(
    session: Session,
    authority: Authority,
    token: str,
    *,
    public_key_pem: bytes,
    version: str,
    capabilities: Mapping[str, Any],
    deadline_of: DeadlineOf,
) -> Enrolled:
    """Exchange a one-time token for a certificate. Raises: EnrolmentRefused, KeyUnusable, AgentRevoked."""
    owner = await store.spend_enrolment(session, digest_of(token))
    if owner is None:
        raise EnrolmentRefused
    agent = await store.get_agent(session, owner)
    if agent.is_barred:
        raise AgentRevoked
    lifetime, deadline = await _lifetime(session, agent, deadline_of)
    certificate = authority.issue(public_key_pem, agent.account, agent.id, lifetime)
    agent = await store.certify(
        session, agent.id, certificate=certificate.serial, version=version, capabilities=capabilities
    )
    return Enrolled(agent, certificate, deadline)


async def _lifetime(session: Session, agent: Agent, deadline_of: DeadlineOf) -> tuple[timedelta, datetime | None]:
    if agent.role is Role.SITE:
        return SITE_CERTIFICATE_LIFETIME, None
    at = await now(session)
    latest = at + EDGE_CERTIFICATE_LIFETIME
    deadline = min(await deadline_of(str(agent.run), str(agent.test)) or latest, latest)
    if deadline <= at:
        raise EnrolmentRefused("The test this token was made for is over.")
    return deadline - at, deadline


async def heartbeat(
    session: Session, agent: str, *, incarnation: str, version: str, capabilities: Mapping[str, Any], polling: bool
) -> Agent:
    """Note that it lives. Whoever waits for it is rung when it comes online. Raises: AgentNotFound.

    A site agent that comes with its certificate needs no token: one that was made for its start, and not used, is void.
    """
    found, came = await store.beat(
        session, agent, incarnation=incarnation, version=version, capabilities=capabilities, polling=polling
    )
    if came and found.role is Role.EDGE:
        await events.ring(session, Bell.TEST_RING, f"{found.run}/{found.test}")
    elif came:
        await store.void_enrolments(session, agent)
        await events.ring(session, Bell.ADMIT, found.account)
    return found


async def mark_offline(session: Session, silent: timedelta = SILENT_AFTER) -> list[Agent]:
    """Those that said nothing for `silent`. Steps are judged by their own leases, never by this."""
    return await store.mark_silent(session, silent)


async def revoke(session: Session, agent: str, *, account: str) -> Agent:
    """Its certificate ends with the next call it makes. Raises: AgentNotFound."""
    await store.get_agent(session, agent, account=account)
    return await store.set_status(session, agent, AgentStatus.REVOKED)


async def pick_site(
    session: Session, account: str, target: str, labels: Mapping[str, str] | None = None
) -> tuple[AgentId | None, str]:
    """The site agent that takes a run; or None, and why none does."""
    agents = [a for a in await store.list_agents(session, account, role=Role.SITE) if not a.is_barred]
    chosen, why = choose(agents, Needs(target, labels or {}), await store.load_by_agent(session, account))
    return (chosen.id if chosen else None), why
