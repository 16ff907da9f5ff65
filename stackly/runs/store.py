"""SQL of runs. `transition` is the only writer of a run's status."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import RowMapping

from stackly.db import Session, notify
from stackly.errors import NotFound
from stackly.events import store as events
from stackly.events.model import Bell, EventName
from stackly.runs.model import WAYS, Run, RunEvent, Waiting, after
from stackly.spec.runs import ENDED, ENDED_SQL, RunKind, RunStatus

OPEN = f"status NOT IN {ENDED_SQL}"


class RunNotFound(NotFound):
    title = "There is no such run."


_FIELDS = (
    "id",
    "account",
    "parent",
    "code",
    "state",
    "slot",
    "cause",
    "generation",
    "seq",
    "epoch",
    "digest",
    "branch",
    "commit",
    "trigger",
    "spec",
    "agent",
    "cancel_requested",
    "execution",
    "restarts",
    "blocker",
    "verdict",
    "reason",
    "not_before",
    "deadline",
    "created_at",
    "started_at",
)


def as_run(row: RowMapping) -> Run:
    return Run(kind=RunKind(row["kind"]), status=RunStatus(row["status"]), **{name: row[name] for name in _FIELDS})


async def find_run(session: Session, run: str, *, lock: bool = False) -> Run | None:
    rows = await session.execute(
        text(f"SELECT * FROM operations WHERE id = :id {'FOR UPDATE' if lock else ''}"),
        {"id": run},
    )
    row = rows.mappings().one_or_none()
    return None if row is None else as_run(row)


async def get_run(session: Session, run: str, *, lock: bool = False, account: str | None = None) -> Run:
    found = await find_run(session, run, lock=lock)
    if found is None or (account is not None and found.account != account):
        raise RunNotFound(run=run)
    return found


async def transition(
    session: Session,
    run: Run,
    event: RunEvent,
    *,
    at: datetime,
    reason: str | None = None,
    deadline: timedelta | None = None,
    **values: Any,
) -> Run:
    """Move a run, whose row this transaction has locked, along TRANSITIONS; record the fact; ring who waits for it.

    Shape: `values` are further columns of the row (epoch, agent, verdict, gate, changed, not_before, next_check, …).
    Raises: TransitionNotAllowed.
    """
    status = after(run.status, event)
    ends = status in ENDED
    given: dict[str, Any] = {"status": status.value, "reason": reason, **values}
    if status in {RunStatus.STARTING, RunStatus.PLANNING, RunStatus.RUNNING, RunStatus.APPLYING} or ends:
        given |= {"blocker": None, "waiting_reason": None, "next_check": None, **values}
    if ends:
        given |= {"deadline": None, "ended_at": at}
    elif deadline is not None:
        given["deadline"] = at + deadline
    if status in {RunStatus.PLANNING, RunStatus.RUNNING, RunStatus.TEARING_DOWN} and run.started_at is None:
        given["started_at"] = at
    moved = await _update(session, run.id, given | {"since": at})
    await _tell(session, moved, before=run.status, reason=reason, at=at)
    return moved


_JSON_COLUMNS = frozenset({"gate", "baseline", "spec", "trigger"})


async def _update(session: Session, run: str, values: Mapping[str, Any]) -> Run:
    sets = ", ".join(
        f'"{name}" = CAST(:{name} AS jsonb)' if name in _JSON_COLUMNS else f'"{name}" = :{name}' for name in values
    )
    given = {k: json.dumps(v) if k in _JSON_COLUMNS and v is not None else v for k, v in values.items()}
    rows = await session.execute(
        text(f"UPDATE operations SET {sets} WHERE id = :id RETURNING *"),
        {"id": run, **given},
    )
    return as_run(rows.mappings().one())


async def _tell(session: Session, run: Run, *, before: RunStatus, reason: str | None, at: datetime) -> None:
    payload = {
        "run": run.id,
        "kind": run.kind,
        "from": before,
        "to": run.status,
        "reason": reason,
        "at": at.isoformat(),
    }
    # A run may pass a status twice (recovering, awaiting_approval again); the time tells the passages apart.
    await events.record(
        session, run.account, f"run/{run.id}", EventName.RUN_CHANGED, f"{run.status}@{at.isoformat()}", payload
    )
    await notify(session, "run", run.id)
    if run.status in ENDED:
        await events.ring(session, Bell.ADMIT, run.account)
        if run.parent is not None:
            await _ring_parent(session, run)


async def _ring_parent(session: Session, run: Run) -> None:
    test = run.spec.get("owner_test")
    if test:
        await events.ring(session, Bell.TEST_RING, f"{run.parent}/{test}")
    else:
        await events.ring(session, Bell.RUN_RING, str(run.parent))


async def set_waiting(session: Session, run: Run, waiting: Waiting, *, at: datetime) -> bool:
    """Write why a queued run waits. False when nothing changed, so that a tick writes no row for it."""
    rows = await session.execute(
        text(
            "UPDATE operations SET since = CASE WHEN blocker IS DISTINCT FROM :blocker THEN :at ELSE since END,"
            " blocker = :blocker, waiting_reason = :reason, deadline = :deadline, next_check = :next_check,"
            " not_before = :not_before WHERE id = :id AND (blocker, waiting_reason, next_check, not_before)"
            " IS DISTINCT FROM (CAST(:blocker AS text), CAST(:reason AS text), CAST(:next_check AS timestamptz),"
            " CAST(:not_before AS timestamptz))"
        ),
        {
            "id": run.id,
            "at": at,
            "blocker": waiting.blocker.value,
            "reason": waiting.reason,
            "deadline": waiting.deadline,
            "next_check": waiting.next_check,
            "not_before": waiting.not_before,
        },
    )
    if rows.rowcount:
        await notify(session, "run", run.id)
    return bool(rows.rowcount)


async def update_run(session: Session, run: str, **values: Any) -> Run:
    """Columns other than status. Raises: ValueError for `status`, which only `transition` writes."""
    if "status" in values:
        raise ValueError("only transition() writes a run's status")
    return await _update(session, run, values)


async def claim_execution(session: Session, run: str, execution: str) -> Run | None:
    """Compare and set: this workflow carries the run out, or none if another one does (engine rule 3)."""
    rows = await session.execute(
        text(
            f"UPDATE operations SET execution = :execution, ways = {WAYS} WHERE id = :id AND {OPEN}"
            " AND epoch IS NOT NULL"
            " AND (execution IS NULL OR execution = :execution) RETURNING *"
        ),
        {"id": run, "execution": execution},
    )
    row = rows.mappings().one_or_none()
    return None if row is None else as_run(row)


async def open_destroy(session: Session, state: str) -> Run | None:
    rows = await session.execute(
        text(f"SELECT * FROM operations WHERE state = :state AND kind = 'destroy' AND {OPEN}"),
        {"state": state},
    )
    row = rows.mappings().one_or_none()
    return None if row is None else as_run(row)


async def count_runs(session: Session, state: str) -> int:
    rows = await session.execute(text("SELECT count(*) FROM operations WHERE state = :state"), {"state": state})
    count: int = rows.scalar_one()
    return count


async def children(session: Session, run: str) -> Sequence[Run]:
    rows = await session.execute(text("SELECT * FROM operations WHERE parent = :run ORDER BY id"), {"run": run})
    return [as_run(r) for r in rows.mappings()]


async def request_cancel(session: Session, run: str) -> None:
    """A column; whoever is about to act reads it (engine rule 9)."""
    await session.execute(text("UPDATE operations SET cancel_requested = true WHERE id = :id"), {"id": run})
