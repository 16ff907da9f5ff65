"""SQL of the queue: who may be admitted, what is stuck, whose lease stands still."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import text
from sqlalchemy.engine import RowMapping

from stackly.db import Session, notify
from stackly.runs.model import WAYS, Run
from stackly.runs.store import OPEN, as_run
from stackly.spec.runs import ENDED_SQL, MUTATING_SQL


async def lock_account(session: Session, account: str) -> tuple[int, int]:
    """The account's row, locked: admission of one account is one at a time. Shape: (max_starting, max_concurrent)."""
    # NO KEY: whoever inserts a row of this account shares the row's key and must not wait for a long admission.
    rows = await session.execute(
        text("SELECT max_starting, max_concurrent FROM accounts WHERE id = :id FOR NO KEY UPDATE"), {"id": account}
    )
    row = rows.one_or_none()
    return (0, 0) if row is None else (row.max_starting, row.max_concurrent)


async def starting(session: Session, account: str) -> int:
    rows = await session.execute(
        text("SELECT count(*) FROM operations WHERE account = :account AND status = 'starting'"), {"account": account}
    )
    count: int = rows.scalar_one()
    return count


async def starting_in_all(session: Session) -> int:
    count: int = (await session.execute(text("SELECT count(*) FROM operations WHERE status = 'starting'"))).scalar_one()
    return count


@dataclass(frozen=True, slots=True)
class Candidate:
    """A waiting run, not read yet: a row that cannot be read must cost no other its turn."""

    id: str
    state: str


async def admissible(session: Session, account: str, *, limit: int) -> list[Candidate]:
    """Waiting runs whose state is free and whose time has come, in order of priority and age, one a state."""
    rows = await session.execute(
        text(
            "SELECT * FROM (SELECT DISTINCT ON (o.state) o.* FROM operations o WHERE o.account = :account"
            f" AND o.epoch IS NULL AND o.{OPEN} AND (o.next_check IS NULL OR o.next_check <= clock_timestamp())"
            " AND NOT EXISTS (SELECT 1 FROM operations c WHERE c.state = o.state AND c.epoch IS NOT NULL"
            f" AND c.status NOT IN {ENDED_SQL}"
            f" AND c.kind IN {MUTATING_SQL})"
            " ORDER BY o.state, o.priority, o.created_at, o.id) q ORDER BY priority, created_at, id LIMIT :limit"
        ),
        {"account": account, "limit": limit},
    )
    return [Candidate(r["id"], r["state"]) for r in rows.mappings()]


async def lock_waiting(session: Session, runs: Sequence[str]) -> dict[str, RowMapping]:
    """Shape: id -> its row as it is now, for `as_run`; what no longer waits is absent."""
    rows = await session.execute(
        text(f"SELECT * FROM operations WHERE id = ANY(:ids) AND epoch IS NULL AND {OPEN} ORDER BY id FOR UPDATE"),
        {"ids": list(runs)},
    )
    return {r["id"]: r for r in rows.mappings()}


async def put_off(session: Session, run: str, reason: str, *, first: timedelta, cap: timedelta) -> None:
    """What nobody foresaw: its next look comes after as long as it has waited so, at least `first`, at most `cap`."""
    await session.execute(
        text(
            "UPDATE operations SET blocker = 'policy', waiting_reason = :reason,"
            " since = CASE WHEN waiting_reason = :reason THEN since ELSE clock_timestamp() END,"
            " next_check = clock_timestamp() + least(CAST(:cap AS interval), greatest(CAST(:first AS interval),"
            "   CASE WHEN waiting_reason = :reason THEN clock_timestamp() - since END)) WHERE id = :id"
        ),
        {"id": run, "reason": reason, "first": first, "cap": cap},
    )
    await notify(session, "run", run)


async def prolong(session: Session, run: str, *, by: timedelta) -> None:
    """It could not be ended at its deadline: that is tried again."""
    await session.execute(
        text("UPDATE operations SET deadline = clock_timestamp() + :by WHERE id = :id"), {"id": run, "by": by}
    )


async def blocked_behind(session: Session, account: str) -> list[tuple[Run, str]]:
    """Queued runs whose state has a current run: what they wait for has a name, and so has what holds that up.

    Shape: (run, current run's id).
    """
    rows = await session.execute(
        text(
            "SELECT o.*, c.id AS current FROM operations o JOIN operations c ON c.state = o.state"
            f" AND c.epoch IS NOT NULL AND c.kind IN {MUTATING_SQL}"
            f" AND c.status NOT IN {ENDED_SQL}"
            " WHERE o.account = :account AND o.epoch IS NULL AND o.status = 'queued'"
            " AND (o.blocker <> 'queue' OR coalesce(o.waiting_reason, '') NOT LIKE '%' || c.id || '%' OR EXISTS"
            "   (SELECT 1 FROM obligations b WHERE b.run = c.id AND b.status = 'open' AND b.ladder > 0"
            "    AND coalesce(o.waiting_reason, '') NOT LIKE '%' || b.id || '%')) LIMIT 100"
        ),
        {"account": account},
    )
    return [(as_run(r), r["current"]) for r in rows.mappings()]


async def running_tests(session: Session, account: str) -> int:
    """Quota counts tests and deploys, not benchmark parents (engine rule 16)."""
    rows = await session.execute(
        text(
            "SELECT (SELECT count(*) FROM tests t JOIN operations o ON o.id = t.operation WHERE o.account = :account"
            "   AND t.state IS NOT NULL AND t.status IN ('running','tearing_down'))"
            f" + (SELECT count(*) FROM operations WHERE account = :account AND kind = 'deploy'"
            f"   AND epoch IS NOT NULL AND {OPEN})"
        ),
        {"account": account},
    )
    count: int = rows.scalar_one()
    return count


async def unplanned(session: Session, *, limit: int, state: str | None = None) -> list[str]:
    """Loose states (or this one) that wait to follow a valid stack, and no plan against it was asked for since."""
    rows = await session.execute(
        text(
            "SELECT s.id FROM stack_states s JOIN stack_codes c ON c.id = s.successor JOIN repos r ON r.id = c.repo"
            " WHERE s.successor IS NOT NULL AND s.status = 'loose' AND c.status = 'active' AND r.status = 'active'"
            " AND c.kind = 'plain' AND (CAST(:state AS text) IS NULL OR s.id = :state)"
            " AND NOT EXISTS (SELECT 1 FROM operations o WHERE o.state = s.id AND o.kind = 'preview'"
            " AND o.code = c.id AND o.created_at >= s.since AND o.status <> 'superseded')"
            " ORDER BY s.since, s.id LIMIT :limit"
        ),
        {"limit": limit, "state": state},
    )
    return list(rows.scalars())


async def accounts_with_due(session: Session) -> list[str]:
    """Accounts with a waiting run whose next look is due."""
    rows = await session.execute(
        text(
            f"SELECT DISTINCT account FROM operations WHERE epoch IS NULL AND {OPEN}"
            " AND (next_check IS NULL OR next_check <= clock_timestamp())"
        )
    )
    return [r.account for r in rows]


_EXPIRED = f"epoch IS NULL AND {OPEN} AND deadline <= clock_timestamp()"


async def expired(session: Session, *, limit: int) -> list[str]:
    """Waiting runs past their deadline. Nothing waits for ever (R5)."""
    rows = await session.execute(
        text(f"SELECT id FROM operations WHERE {_EXPIRED} ORDER BY deadline, id LIMIT :limit"), {"limit": limit}
    )
    return list(rows.scalars())


async def lock_expired(session: Session, run: str) -> Run | None:
    """None where it no longer is past its deadline, or another has it."""
    rows = await session.execute(
        text(f"SELECT * FROM operations WHERE {_EXPIRED} AND id = :run FOR UPDATE SKIP LOCKED"), {"run": run}
    )
    row = rows.mappings().one_or_none()
    return None if row is None else as_run(row)


@dataclass(frozen=True, slots=True)
class Carried:
    """A row that a workflow must be carrying out. Shape: `test` '' for a run; `outdated`: earlier code took it on."""

    run: str
    test: str
    restarts: int
    overdue: bool
    outdated: bool = False


async def carried(session: Session, *, older_than_s: float) -> list[Carried]:
    """Admitted, open runs and open, begun tests that have been so for a while."""
    rows = await session.execute(
        text(
            "SELECT id AS run, '' AS test, restarts, coalesce(deadline < clock_timestamp(), false) AS overdue,"
            f" execution IS NOT NULL AND ways <> {WAYS} AS outdated"
            f" FROM operations WHERE epoch IS NOT NULL AND {OPEN}"
            " AND since < clock_timestamp() - make_interval(secs => :age)"
            " UNION ALL SELECT t.operation, t.test, t.restarts, coalesce(t.deadline < clock_timestamp(), false),"
            f" t.ways <> {WAYS}"
            " FROM tests t JOIN operations o ON o.id = t.operation"
            " WHERE t.status IN ('running','tearing_down') AND t.execution IS NOT NULL"
            " AND o.since < clock_timestamp() - make_interval(secs => :age)"
        ),
        {"age": older_than_s},
    )
    return [Carried(r.run, r.test, r.restarts, r.overdue, r.outdated) for r in rows]


async def forget_execution(session: Session, carried: Carried, *, counted: bool) -> int:
    """Free the row for a new workflow; returns how often that was its own doing (`counted`)."""
    table, key = ("tests", "operation = :run AND test = :test") if carried.test else ("operations", "id = :run")
    rows = await session.execute(
        text(
            f"UPDATE {table} SET execution = NULL, ways = {WAYS}, restarts = restarts + :n WHERE {key}"
            " RETURNING restarts"
        ),
        {"run": carried.run, "n": int(counted)} | ({"test": carried.test} if carried.test else {}),
    )
    restarts: int = rows.scalar_one()
    return restarts


async def prune_live(session: Session, *, days: int) -> int:
    """Live rows expire; what counts is in storage by then."""
    gone = 0
    for table in ("log_chunks", "series_points", "appended"):
        done = await session.execute(
            text(f"DELETE FROM {table} WHERE at < clock_timestamp() - make_interval(days => :days)"), {"days": days}
        )
        gone += done.rowcount
    return gone
