"""Read-only queries for lists: deliveries, events, decisions."""

from typing import Any

from sqlalchemy import text

from stackly.db import Json, Session


async def rows(session: Session, statement: str, **given: Any) -> list[Json]:
    """Shape: one dictionary a row, keys in the order of the SELECT."""
    found = await session.execute(text(statement), given)
    return [dict(row) for row in found.mappings()]


async def list_deliveries(
    session: Session, account: str, repo: str, *, limit: int, after: list[str] | None
) -> list[Json]:
    """Shape: newest first; `limit` + 1 rows when there are more. Bodies are left out."""
    return await rows(
        session,
        """
        SELECT d.guid, d.hook, d.event, d.attempts, d.status, d.reason, d.received_at,
               d.about AS repository_id, d.about_name AS repository
        FROM deliveries d JOIN hooks h ON h.id = d.hook
        WHERE h.account = :account AND d.repo = :repo
          AND (CAST(:at AS text) IS NULL OR (d.received_at, d.guid) < (CAST(CAST(:at AS text) AS timestamptz), :guid))
        ORDER BY d.received_at DESC, d.guid DESC LIMIT :limit
        """,
        account=account,
        repo=repo,
        at=after[0] if after else None,
        guid=after[1] if after else "",
        limit=limit + 1,
    )


async def unconnected_deliveries(session: Session, account: str, *, limit: int, after: list[str] | None) -> list[Json]:
    """Of repositories that are not connected. Shape: as `list_deliveries`."""
    return await rows(
        session,
        """
        SELECT d.guid, d.hook, d.event, d.attempts, d.status, d.reason, d.received_at,
               d.about AS repository_id, d.about_name AS repository
        FROM deliveries d JOIN hooks h ON h.id = d.hook
        WHERE h.account = :account AND d.repo IS NULL AND d.about IS NOT NULL
          AND (CAST(:at AS text) IS NULL OR (d.received_at, d.guid) < (CAST(CAST(:at AS text) AS timestamptz), :guid))
        ORDER BY d.received_at DESC, d.guid DESC LIMIT :limit
        """,
        account=account,
        at=after[0] if after else None,
        guid=after[1] if after else "",
        limit=limit + 1,
    )


async def list_events(
    session: Session,
    account: str,
    *,
    limit: int,
    before: int | None,
    subject: str | None = None,
    name: str | None = None,
) -> list[Json]:
    """Shape: newest first. Only what no open transaction can still precede: a feed never skips a late commit."""
    return await rows(
        session,
        """
        SELECT id, subject, name, payload, at FROM events
        WHERE account = :account AND xid < pg_snapshot_xmin(pg_current_snapshot())
          AND (CAST(:before AS bigint) IS NULL OR id < :before)
          AND (CAST(:subject AS text) IS NULL OR subject = :subject)
          AND (CAST(:name AS text) IS NULL OR name = :name)
        ORDER BY id DESC LIMIT :limit
        """,
        account=account,
        before=before,
        subject=subject,
        name=name,
        limit=limit + 1,
    )


async def find_event(session: Session, account: str, event: int) -> Json | None:
    found = await rows(
        session,
        "SELECT id, subject, name, payload, at FROM events WHERE account = :account AND id = :id",
        account=account,
        id=event,
    )
    return found[0] if found else None


async def decisions_about(
    session: Session, account: str, *, operation: str | None = None, subjects: list[str] | None = None
) -> list[Json]:
    """Every stored decision on a run or on any of these subjects, oldest first, with its inputs and reasons."""
    return await rows(
        session,
        """
        SELECT id, subject, generation, question, digest, operation, inputs, tzdata, at, decision, tree, next_check
        FROM decisions
        WHERE account = :account AND (operation = :operation OR subject = ANY(CAST(:subjects AS text[])))
        ORDER BY at, id LIMIT 200
        """,
        account=account,
        operation=operation,
        subjects=subjects or [],
    )


async def find_decision(session: Session, account: str, decision: str) -> Json | None:
    found = await rows(
        session,
        """
        SELECT id, subject, generation, question, digest, operation, inputs, tzdata, at, decision, tree, next_check
        FROM decisions WHERE account = :account AND id = :id
        """,
        account=account,
        id=decision,
    )
    return found[0] if found else None


async def outbox_depth(session: Session) -> int:
    return int((await session.execute(text("SELECT count(*) FROM outbox"))).scalar_one())
