"""SQL of obligations and of what inventories saw."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import RowMapping

from stackly.db import Session
from stackly.ids import new_id
from stackly.spec.runs import ENDED_SQL
from stackly.teardown.model import Obligation


def _obligation(row: RowMapping) -> Obligation:
    return Obligation(
        id=row["id"],
        account=row["account"],
        state=row["state"],
        run=row["run"],
        kit=row["kit"],
        status=row["status"],
        due_at=row["due_at"],
        ladder=row["ladder"],
        reason=row["reason"],
    )


async def open_obligation(
    session: Session, *, account: str, state: str, run: str, kit: Mapping[str, Any], due_at: datetime
) -> Obligation:
    """The state's open obligation; the one that is there is kept, with its kit and its run."""
    await session.execute(
        text(
            "INSERT INTO obligations (id, account, state, run, kit, due_at)"
            " VALUES (:id, :account, :state, :run, CAST(:kit AS jsonb), :due_at)"
            " ON CONFLICT (state) WHERE status = 'open' DO NOTHING"
        ),
        {
            "id": new_id(),
            "account": account,
            "state": state,
            "run": run,
            "kit": json.dumps(dict(kit)),
            "due_at": due_at,
        },
    )
    found = await find_open(session, state)
    assert found is not None
    return found


async def find_open(session: Session, state: str) -> Obligation | None:
    rows = await session.execute(
        text("SELECT * FROM obligations WHERE state = :state AND status = 'open'"), {"state": state}
    )
    row = rows.mappings().one_or_none()
    return None if row is None else _obligation(row)


async def find(session: Session, account: str, obligation: str) -> Obligation | None:
    rows = await session.execute(
        text("SELECT * FROM obligations WHERE id = :id AND account = :account"), {"id": obligation, "account": account}
    )
    row = rows.mappings().one_or_none()
    return None if row is None else _obligation(row)


async def extend_kit(session: Session, state: str, extra: Mapping[str, Any]) -> None:
    await session.execute(
        text("UPDATE obligations SET kit = kit || CAST(:extra AS jsonb) WHERE state = :state AND status = 'open'"),
        {"state": state, "extra": json.dumps(dict(extra))},
    )


async def renew(session: Session, state: str, due_at: datetime) -> None:
    """A live run moves its obligation's due time along."""
    await session.execute(
        text("UPDATE obligations SET due_at = greatest(due_at, :due) WHERE state = :state AND status = 'open'"),
        {"state": state, "due": due_at},
    )


async def make_due(
    session: Session, state: str, at: datetime, *, ladder: int | None = None, reason: str | None = None
) -> None:
    await session.execute(
        text(
            "UPDATE obligations SET due_at = :at, ladder = coalesce(CAST(:ladder AS int), ladder),"
            " reason = coalesce(:reason, reason) WHERE state = :state AND status = 'open'"
        ),
        {"state": state, "at": at, "ladder": ladder, "reason": reason},
    )


async def due(session: Session, *, limit: int) -> list[Obligation]:
    """Open obligations past their time whose state has no open destroy."""
    rows = await session.execute(
        text(
            "SELECT o.* FROM obligations o WHERE o.status = 'open' AND o.due_at <= clock_timestamp()"
            " AND NOT EXISTS (SELECT 1 FROM operations d WHERE d.state = o.state AND d.kind = 'destroy'"
            f" AND d.status NOT IN {ENDED_SQL})"
            " ORDER BY o.due_at LIMIT :limit"
        ),
        {"limit": limit},
    )
    return [_obligation(r) for r in rows.mappings()]


async def release_waived(session: Session) -> list[str]:
    """Free what waived states leased, where no target shows anything of theirs. Returns the accounts."""
    rows = await session.execute(
        text(
            "UPDATE leases l SET released_at = clock_timestamp() FROM stack_states s"
            " WHERE s.id = l.state AND s.status = 'waived' AND l.released_at IS NULL AND NOT EXISTS"
            " (SELECT 1 FROM inventory i WHERE i.run = s.parent_operation AND i.test = s.test)"
            " RETURNING s.account"
        )
    )
    return sorted(set(rows.scalars()))


async def close(session: Session, state: str, *, status: str, reason: str, waived_by: str | None = None) -> None:
    await session.execute(
        text(
            "UPDATE obligations SET status = :status, reason = :reason, waived_by = :by, closed_at = clock_timestamp()"
            " WHERE state = :state AND status = 'open'"
        ),
        {"state": state, "status": status, "reason": reason, "by": waived_by},
    )


async def store_inventory(
    session: Session,
    *,
    target: str,
    agent: str,
    items: Sequence[Mapping[str, Any]],
    owner_run: str = "",
    owner_test: str = "",
) -> None:
    """Replace what this agent's target held: of one owner, or of all when `owner_run` is ''."""
    at = (await session.execute(text("SELECT clock_timestamp()"))).scalar_one()
    for item in items:
        await session.execute(
            text(
                "INSERT INTO inventory (target, resource, kind, agent, run, test, last_seen)"
                " VALUES (:target, :resource, :kind, :agent, :run, :test, :at)"
                " ON CONFLICT (target, resource) DO UPDATE SET last_seen = excluded.last_seen, run = excluded.run,"
                " test = excluded.test, agent = excluded.agent"
            ),
            {
                "target": f"{target}@{agent}",
                "resource": item["id"],
                "kind": item["kind"],
                "agent": agent,
                "run": item.get("run") or None,
                "test": item.get("test") or None,
                "at": at,
            },
        )
    await session.execute(
        text(
            "DELETE FROM inventory WHERE target = :target AND agent = :agent AND last_seen < :at"
            " AND (:run = '' OR (run = :run AND test = :test))"
        ),
        {"target": f"{target}@{agent}", "agent": agent, "at": at, "run": owner_run, "test": owner_test},
    )
