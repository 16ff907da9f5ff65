"""Read-only queries on agents."""

from stackly.agents.model import AgentNotFound
from stackly.db import Json, Session
from stackly.events.reads import rows

_AGENT = """
SELECT id, name, role, status, version, labels, capabilities, run, test, machine, seen_at, created_at FROM agents
"""


async def list_agents(
    session: Session,
    account: str,
    *,
    limit: int,
    after: str | None,
    role: str | None = None,
    gone: bool = False,
) -> list[Json]:
    """Shape: newest first. Agents that are gone only when asked for."""
    return await rows(
        session,
        f"""{_AGENT}
        WHERE account = :account AND (:gone OR status NOT IN ('gone', 'revoked'))
          AND (CAST(:role AS text) IS NULL OR role = :role) AND (CAST(:after AS text) IS NULL OR id < :after)
        ORDER BY id DESC LIMIT :limit
        """,
        account=account,
        gone=gone,
        role=role,
        after=after,
        limit=limit + 1,
    )


async def get_agent(session: Session, account: str, agent: str) -> Json:
    """By id or name. Raises: AgentNotFound."""
    found = await rows(
        session,
        f"{_AGENT} WHERE account = :account AND (id = :agent OR name = :agent)"
        " ORDER BY (id = :agent) DESC, created_at DESC LIMIT 1",
        account=account,
        agent=agent,
    )
    if not found:
        raise AgentNotFound(f"There is no agent {agent}; `stackly agent list` shows what there is.", agent=agent)
    return found[0]
