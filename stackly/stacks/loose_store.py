"""SQL of what becomes of states whose code moved or went: statuses, successors, timers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from stackly.db import Session
from stackly.stacks.model import StackState
from stackly.stacks.store import _state

_COLUMNS = frozenset(
    {
        "status",
        "reason",
        "successor",
        "destroy_at",
        "destroy_left_s",
        "waived_by",
        "code",
        "name",
        "commit",
        "agent",
        "target",
    }
)


async def write_state(session: Session, state: str, **values: Any) -> StackState:
    """Shape: columns of a state; a new status restarts `since`. For `lifecycle` and `association`, which decide."""
    if not values or set(values) - _COLUMNS:
        raise ValueError(f"cannot set {sorted(set(values) - _COLUMNS)}")
    sets = [f"{name} = :{name}" for name in values]
    if "status" in values:
        sets.append("since = CASE WHEN status = :status THEN since ELSE clock_timestamp() END")
    statement = f"UPDATE stack_states SET {', '.join(sets)} WHERE id = :id RETURNING *"  # noqa: S608 - names of _COLUMNS
    rows = await session.execute(text(statement), {"id": state, **values})
    return _state(rows.mappings().one())


async def waiting_for(session: Session, codes: Sequence[str]) -> list[StackState]:
    """Loose states that wait to follow one of these stacks, locked. Shape: by id."""
    rows = await session.execute(
        text("SELECT * FROM stack_states WHERE successor = ANY(:codes) AND status = 'loose' ORDER BY id FOR UPDATE"),
        {"codes": list(codes)},
    )
    return [_state(r) for r in rows.mappings()]


async def due(session: Session, *, limit: int, state: str | None = None) -> list[str]:
    """Loose states (or this one) whose time has come by the database's clock, of repositories within reach."""
    rows = await session.execute(
        text(
            "SELECT s.id FROM stack_states s JOIN stack_codes c ON c.id = s.code JOIN repos r ON r.id = c.repo"
            " WHERE s.destroy_at <= clock_timestamp() AND s.status = 'loose' AND s.successor IS NULL"
            " AND r.status = 'active' AND (CAST(:state AS text) IS NULL OR s.id = :state)"
            " ORDER BY s.destroy_at, s.id LIMIT :limit"
        ),
        {"limit": limit, "state": state},
    )
    return list(rows.scalars())


async def clear_timer(session: Session, state: str) -> bool:
    """False when there was none, running or standing still."""
    done = await session.execute(
        text(
            "UPDATE stack_states SET destroy_at = NULL, destroy_left_s = NULL"
            " WHERE id = :id AND (destroy_at IS NOT NULL OR destroy_left_s IS NOT NULL)"
        ),
        {"id": state},
    )
    return bool(done.rowcount)


async def stop_timers(session: Session, repo: str) -> None:
    await session.execute(
        text(
            "UPDATE stack_states s SET destroy_at = NULL, destroy_left_s ="
            " greatest(0, extract(epoch FROM s.destroy_at - clock_timestamp())) FROM stack_codes c"
            " WHERE c.id = s.code AND c.repo = :repo AND s.destroy_at IS NOT NULL"
        ),
        {"repo": repo},
    )


async def go_on_with_timers(session: Session, repo: str, *, least_s: float) -> None:
    """Units: seconds; no timer ends sooner than `least_s` from now, so that a sync may find the code first."""
    await session.execute(
        text(
            "UPDATE stack_states s SET destroy_at ="
            " clock_timestamp() + make_interval(secs => greatest(s.destroy_left_s, :least)), destroy_left_s = NULL"
            " FROM stack_codes c WHERE c.id = s.code AND c.repo = :repo AND s.destroy_left_s IS NOT NULL"
        ),
        {"repo": repo, "least": least_s},
    )


async def emptied_codes(session: Session, *, limit: int, code: str | None = None) -> Sequence[str]:
    """Loose stacks of which no state holds anything any more, locked; one that somebody works on is left for later."""
    rows = await session.execute(
        text(
            "SELECT c.id FROM stack_codes c WHERE c.status = 'loose'"
            " AND (CAST(:code AS text) IS NULL OR c.id = :code) AND NOT EXISTS (SELECT 1 FROM stack_states s"
            " WHERE s.code = c.id AND s.test IS NULL AND s.status IN ('active','loose','destroying'))"
            " ORDER BY c.id LIMIT :limit FOR UPDATE SKIP LOCKED"
        ),
        {"limit": limit, "code": code},
    )
    return list(rows.scalars())


@dataclass(frozen=True, slots=True)
class Standing:
    """How things stand for a run: its code, its repository, and which code its state belongs to now."""

    code: str
    path: str
    code_status: str
    code_reason: str | None
    repo: str
    repo_status: str
    state_code: str
    state_name: str


async def standing(session: Session, code: str, state: str) -> Standing:
    rows = await session.execute(
        text(
            "SELECT c.id, c.path, c.status, c.reason, r.full_name, r.status AS repo_status, s.code AS state_code,"
            " s.name AS state_name"
            " FROM stack_codes c JOIN repos r ON r.id = c.repo, stack_states s WHERE c.id = :code AND s.id = :state"
        ),
        {"code": code, "state": state},
    )
    row = rows.one()
    return Standing(
        row.id, row.path, row.status, row.reason, row.full_name, row.repo_status, row.state_code, row.state_name
    )
