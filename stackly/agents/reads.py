"""Read-only queries on agents."""

from stackly import references
from stackly.agents.model import AgentNotFound
from stackly.db import Json, Session
from stackly.events.reads import rows

_AGENT = """
SELECT id, name, role, status, version, labels, capabilities, run, test, machine, reason, seen_at,
  created_at FROM agents
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
    """By id, a unique beginning of it, or name; one that is gone where no other is meant.

    Raises: AgentNotFound, ReferenceAmbiguous.
    """
    found = await rows(
        session,
        f"""SELECT * FROM (SELECT m.*, rank() OVER (ORDER BY (m.status IN ('gone', 'revoked'))) AS standing FROM (
          {_AGENT} WHERE account = :account AND :agent <> '' AND (starts_with(id, :agent) OR name = :agent)) m) f
        WHERE f.standing = 1 OR f.id = :agent ORDER BY (f.id = :agent) DESC, f.id DESC LIMIT :limit
        """,
        account=account,
        agent=agent,
        limit=references.SHOWN + 1,
    )
    meant = references.one("agent", agent, [{**row, "repository": None, "path": None, "ref": None} for row in found])
    if meant is None:
        raise AgentNotFound(f"There is no agent {agent}; `stackly agent list` shows what there is.", agent=agent)
    return dict(meant)
