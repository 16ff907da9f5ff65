"""SQL of agents and their enrolments."""

import json
from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import RowMapping

from stackly.agents.model import Agent, AgentNotFound, AgentStatus, Role
from stackly.db import Session
from stackly.ids import AgentId, new_id
from stackly.spec.runs import ENDED_SQL

_FIELDS = (
    "id",
    "account",
    "name",
    "certificate",
    "incarnation",
    "version",
    "labels",
    "capabilities",
    "run",
    "test",
    "machine",
    "reason",
    "seen_at",
    "created_at",
)


def _agent(row: RowMapping) -> Agent:
    return Agent(role=Role(row["role"]), status=AgentStatus(row["status"]), **{name: row[name] for name in _FIELDS})


async def _one(session: Session, sql: str, **values: Any) -> Agent | None:
    row = (await session.execute(text(sql), values)).mappings().one_or_none()
    return None if row is None else _agent(row)


async def find_agent(session: Session, agent: str) -> Agent | None:
    return await _one(session, "SELECT * FROM agents WHERE id = :id", id=agent)


async def get_agent(session: Session, agent: str, *, account: str | None = None) -> Agent:
    """Raises: AgentNotFound, also when it is another account's."""
    found = await find_agent(session, agent)
    if found is None or (account is not None and found.account != account):
        raise AgentNotFound(agent=agent)
    return found


async def list_agents(session: Session, account: str, *, role: Role | None = None) -> list[Agent]:
    rows = await session.execute(
        text(
            "SELECT * FROM agents WHERE account = :account AND (CAST(:role AS text) IS NULL OR role = :role)"
            " ORDER BY role DESC, id"
        ),
        {"account": account, "role": role.value if role else None},
    )
    return [_agent(r) for r in rows.mappings()]


async def lock_account(session: Session, account: str) -> None:
    """Two at once must not register the same name twice."""
    await session.execute(text("SELECT 1 FROM accounts WHERE id = :id FOR UPDATE"), {"id": account})


async def upsert_site(session: Session, account: str, name: str, labels: Mapping[str, str]) -> Agent:
    """The account's site agent of that name; a revoked one is replaced by another. The caller locked the account."""
    found = await _one(
        session,
        "UPDATE agents SET labels = CAST(:labels AS jsonb) WHERE account = :account AND role = 'site'"
        " AND name = :name AND status NOT IN ('revoked','gone') RETURNING *",
        account=account,
        name=name,
        labels=json.dumps(dict(labels)),
    )
    return found or await _insert(session, account, Role.SITE, name, labels=dict(labels))


async def find_edge(session: Session, run: str, test: str, machine: str) -> Agent | None:
    """The agent of a test's machine: the one that may act, else the last that might."""
    return await _one(
        session,
        "SELECT * FROM agents WHERE run = :run AND test = :test AND machine = :machine AND role = 'edge'"
        " ORDER BY status IN ('revoked','gone'), id DESC LIMIT 1",
        run=run,
        test=test,
        machine=machine,
    )


async def upsert_edge(session: Session, account: str, run: str, test: str, machine: str) -> Agent:
    """The one agent of a test's machine, whoever asks how often. The caller locked the account."""
    found = await find_edge(session, run, test, machine)
    if found is not None and not found.is_barred:
        return found
    return await _insert(session, account, Role.EDGE, machine, run=run, test=test, machine=machine)


async def _insert(session: Session, account: str, role: Role, name: str, **more: Any) -> Agent:
    made = await _one(
        session,
        "INSERT INTO agents (id, account, role, name, labels, run, test, machine)"
        " VALUES (:id, :account, :role, :name, CAST(:labels AS jsonb), :run, :test, :machine) RETURNING *",
        id=new_id(),
        account=account,
        role=role.value,
        name=name,
        labels=json.dumps(more.get("labels", {})),
        run=more.get("run"),
        test=more.get("test"),
        machine=more.get("machine"),
    )
    assert made is not None
    return made


async def insert_enrolment(session: Session, digest: str, agent: str, lifetime: timedelta) -> None:
    await session.execute(
        text(
            "INSERT INTO enrolments (hash, agent, expires_at)"
            " VALUES (:hash, :agent, clock_timestamp() + CAST(:lifetime AS interval))"
        ),
        {"hash": digest, "agent": agent, "lifetime": lifetime},
    )


async def spend_enrolment(session: Session, digest: str) -> AgentId | None:
    """Whose token it is; None when it is unknown, used or too old. Of any number at once, one gets it."""
    found = await session.execute(
        text(
            "UPDATE enrolments SET used_at = clock_timestamp() WHERE hash = :hash AND used_at IS NULL"
            " AND expires_at > clock_timestamp() RETURNING agent"
        ),
        {"hash": digest},
    )
    agent = found.scalar_one_or_none()
    return None if agent is None else AgentId(agent)


async def void_enrolments(session: Session, agent: str) -> None:
    """Tokens of this agent that nobody used are nobody's."""
    await session.execute(
        text("UPDATE enrolments SET expires_at = clock_timestamp() WHERE agent = :agent AND used_at IS NULL"),
        {"agent": agent},
    )


async def certify(
    session: Session, agent: str, *, certificate: str, version: str, capabilities: Mapping[str, Any]
) -> Agent:
    """This certificate from now on, and no earlier one."""
    found = await _one(
        session,
        "UPDATE agents SET certificate = :certificate, version = :version, capabilities = CAST(:capabilities AS jsonb)"
        " WHERE id = :id AND status NOT IN ('revoked','gone') RETURNING *",
        id=agent,
        certificate=certificate,
        version=version,
        capabilities=json.dumps(dict(capabilities)),
    )
    if found is None:
        raise AgentNotFound(agent=agent)
    return found


async def beat(
    session: Session, agent: str, *, incarnation: str, version: str, capabilities: Mapping[str, Any], polling: bool
) -> tuple[Agent, bool]:
    """(the agent, whether it came online with this beat). Raises: AgentNotFound."""
    before = (
        await session.execute(text("SELECT status, incarnation FROM agents WHERE id = :id FOR UPDATE"), {"id": agent})
    ).one_or_none()
    found = await _one(
        session,
        "UPDATE agents SET beat = beat + 1, seen_at = clock_timestamp(), incarnation = :incarnation,"
        " version = :version, capabilities = CAST(:capabilities AS jsonb),"
        " status = CASE WHEN status IN ('revoked','gone') THEN status WHEN :polling THEN 'online' ELSE status END"
        " WHERE id = :id RETURNING *",
        id=agent,
        incarnation=incarnation,
        version=version,
        capabilities=json.dumps(dict(capabilities)),
        polling=polling,
    )
    if before is None or found is None:
        raise AgentNotFound(agent=agent)
    return found, found.status == AgentStatus.ONLINE and before != (AgentStatus.ONLINE.value, incarnation)


async def mark_silent(session: Session, silent: timedelta) -> list[Agent]:
    rows = await session.execute(
        text(
            "UPDATE agents SET status = 'offline' WHERE status = 'online'"
            " AND seen_at < clock_timestamp() - CAST(:silent AS interval) RETURNING *"
        ),
        {"silent": silent},
    )
    return [_agent(r) for r in rows.mappings()]


async def list_counting(session: Session, agents: Collection[str]) -> set[tuple[str, str]]:
    """(agent, certificate) of those of these agents that are neither revoked nor gone."""
    rows = await session.execute(
        text("SELECT id, certificate FROM agents WHERE id = ANY(:ids) AND status NOT IN ('revoked','gone')"),
        {"ids": list(agents)},
    )
    return {(agent, certificate or "") for agent, certificate in rows.all()}


async def set_status(session: Session, agent: str, status: AgentStatus) -> Agent:
    found = await _one(
        session, "UPDATE agents SET status = :status WHERE id = :id RETURNING *", id=agent, status=status.value
    )
    if found is None:
        raise AgentNotFound(agent=agent)
    return found


async def end_edge(
    session: Session, agent: str, *, run: str, test: str, reason: str, enrolment: str | None
) -> Agent | None:
    """Its process is over, and not by its own end: None when that was known, or is not so any more.

    Shape: `enrolment` is the digest of the token that the ended process was started with; one that was started with a
    later token lives. None: nothing of it can live.
    """
    return await _one(
        session,
        "UPDATE agents a SET status = 'gone', reason = :reason WHERE a.id = :id AND a.run = :run AND a.test = :test"
        " AND a.role = 'edge' AND a.status NOT IN ('gone','revoked') AND (CAST(:enrolment AS text) IS NULL OR"
        " :enrolment = (SELECT hash FROM enrolments e WHERE e.agent = a.id ORDER BY e.expires_at DESC LIMIT 1))"
        " RETURNING a.*",
        id=agent,
        run=run,
        test=test,
        reason=reason[:1000],
        enrolment=enrolment,
    )


async def note_served(session: Session) -> None:
    """Agents can be heard now: a gateway serves, and this was written."""
    await session.execute(
        text(
            "INSERT INTO gateway_service (served) VALUES (1)"
            " ON CONFLICT (one) DO UPDATE SET served = gateway_service.served + 1"
        )
    )


async def served(session: Session) -> int | None:
    """A counter that moves while a gateway serves; None where none ever did."""
    found: int | None = (await session.execute(text("SELECT served FROM gateway_service"))).scalar_one_or_none()
    return found


async def edge_beats(session: Session) -> dict[AgentId, int]:
    """Counters of the edge agents that were heard and are not gone."""
    rows = await session.execute(
        text("SELECT id, beat FROM agents WHERE role = 'edge' AND status IN ('online','offline')")
    )
    return {AgentId(agent): beat for agent, beat in rows.all()}


async def lose_edge(session: Session, agent: str, *, beat: int, reason: str) -> Agent | None:
    """It is gone, unless it was heard meanwhile: then None."""
    return await _one(
        session,
        "UPDATE agents SET status = 'gone', reason = :reason WHERE id = :id AND beat = :beat AND role = 'edge'"
        " AND status IN ('online','offline') RETURNING *",
        id=agent,
        beat=beat,
        reason=reason,
    )


async def retire_edges(session: Session, run: str, test: str) -> list[AgentId]:
    """Their machines are gone; their certificates and tokens go with them."""
    rows = await session.execute(
        text(
            "UPDATE agents SET status = 'gone' WHERE run = :run AND test = :test AND role = 'edge'"
            " AND status <> 'revoked' RETURNING id"
        ),
        {"run": run, "test": test},
    )
    return [AgentId(r) for r in rows.scalars()]


async def load_by_agent(session: Session, account: str) -> dict[str, int]:
    """How many open runs each site agent carries."""
    rows = await session.execute(
        text(
            "SELECT agent, count(*) FROM operations WHERE account = :account AND agent IS NOT NULL"
            f" AND status NOT IN {ENDED_SQL} GROUP BY agent"
        ),
        {"account": account},
    )
    return {agent: count for agent, count in rows.all() if agent is not None}
