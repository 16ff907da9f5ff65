"""SQL of approval requests and votes."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.engine import RowMapping

from stackly.approvals.model import ApprovalRequest, Vote
from stackly.db import Session
from stackly.ids import new_id


def _request(row: RowMapping) -> ApprovalRequest:
    return ApprovalRequest(
        id=row["id"],
        account=row["account"],
        run=row["operation"],
        digest=row["digest"],
        needed=row["needed"],
        groups=tuple(row["groups"]),
        policy=row["policy"],
        status=row["status"],
        reason=row["reason"],
        expires=row["expires"],
    )


async def open_request(session: Session, run: str) -> ApprovalRequest | None:
    """The run's open request, locked: votes and tallies of one run take turns (engine rule 7)."""
    rows = await session.execute(
        text("SELECT * FROM approvals WHERE operation = :run AND status = 'open' FOR UPDATE"), {"run": run}
    )
    row = rows.mappings().one_or_none()
    return None if row is None else _request(row)


async def insert_request(
    session: Session,
    *,
    account: str,
    run: str,
    digest: str,
    needed: int,
    groups: Sequence[str],
    policy: str,
    expires: datetime,
) -> ApprovalRequest:
    rows = await session.execute(
        text(
            "INSERT INTO approvals (id, account, operation, digest, needed, groups, policy, expires)"
            " VALUES (:id, :account, :run, :digest, :needed, :groups, :policy, :expires) RETURNING *"
        ),
        {
            "id": new_id(),
            "account": account,
            "run": run,
            "digest": digest,
            "needed": needed,
            "groups": list(groups),
            "policy": policy,
            "expires": expires,
        },
    )
    return _request(rows.mappings().one())


async def close_request(session: Session, request: str, status: str, reason: str | None) -> None:
    await session.execute(
        text("UPDATE approvals SET status = :status, reason = :reason WHERE id = :id AND status = 'open'"),
        {"id": request, "status": status, "reason": reason},
    )


async def votes(session: Session, request: str) -> list[Vote]:
    rows = await session.execute(
        text(
            "SELECT v.person, i.login, i.roles, i.groups, v.value, v.reason, v.at FROM votes v"
            " JOIN identities i ON i.id = v.person WHERE v.approval = :request ORDER BY v.at, v.id"
        ),
        {"request": request},
    )
    return [Vote(r.person, r.login, tuple(r.roles), tuple(r.groups), r.value, r.reason, r.at) for r in rows]


async def votes_for_digest(session: Session, run: str, digest: str) -> list[Vote]:
    """Votes on this very digest, from every request that carried it: a closed request's votes stay counted."""
    rows = await session.execute(
        text(
            "SELECT v.person, i.login, i.roles, i.groups, v.value, v.reason, v.at FROM votes v"
            " JOIN approvals a ON a.id = v.approval JOIN identities i ON i.id = v.person"
            " WHERE a.operation = :run AND a.digest = :digest AND a.status IN ('open','approved','denied')"
            " ORDER BY v.at, v.id"
        ),
        {"run": run, "digest": digest},
    )
    return [Vote(r.person, r.login, tuple(r.roles), tuple(r.groups), r.value, r.reason, r.at) for r in rows]


async def insert_vote(session: Session, request: str, person: str, value: str, reason: str | None) -> bool:
    """False when this person has voted on this request."""
    done = await session.execute(
        text(
            "INSERT INTO votes (id, approval, person, value, reason) VALUES (:id, :request, :person, :value, :reason)"
            " ON CONFLICT (approval, person) DO NOTHING"
        ),
        {"id": new_id(), "request": request, "person": person, "value": value, "reason": reason},
    )
    return done.rowcount == 1
