"""SQL of a benchmark's tests and of phases."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import RowMapping

from stackly.db import Session, notify
from stackly.errors import NotFound
from stackly.ids import RunId
from stackly.runs.model import WAYS, TestRecord
from stackly.spec.runs import TEST_ENDED_SQL, TestStatus


class TestNotFound(NotFound):
    __test__ = False
    title = "The run has no such test."


def _test(row: RowMapping) -> TestRecord:
    return TestRecord(
        run=RunId(row["operation"]),
        test=row["test"],
        name=row["name"],
        spec=row["spec"],
        state=row["state"],
        agent=row["agent"],
        placement=row["placement"],
        status=TestStatus(row["status"]),
        execution=row["execution"],
        restarts=row["restarts"],
        verdict=row["verdict"],
        reasons=tuple(row["reasons"]),
        deadline=row["deadline"],
    )


async def insert_tests(session: Session, run: str, tests: Sequence[Mapping[str, Any]], *, agent: str) -> None:
    """Shape: each of `tests` has test, name, cell and the spec that its workflow carries out."""
    for test in tests:
        await session.execute(
            text(
                "INSERT INTO tests (operation, test, name, cell, spec, agent, status) VALUES (:run, :test, :name,"
                " CAST(:cell AS jsonb), CAST(:spec AS jsonb), :agent, 'waiting') ON CONFLICT DO NOTHING"
            ),
            {
                "run": run,
                "test": test["test"],
                "name": test["name"],
                "cell": json.dumps(test.get("cell", {})),
                "spec": json.dumps(test),
                "agent": agent,
            },
        )


async def list_tests(session: Session, run: str) -> list[TestRecord]:
    rows = await session.execute(text("SELECT * FROM tests WHERE operation = :run ORDER BY test"), {"run": run})
    return [_test(r) for r in rows.mappings()]


async def get_test(session: Session, run: str, test: str, *, lock: bool = False) -> TestRecord:
    rows = await session.execute(
        text(f"SELECT * FROM tests WHERE operation = :run AND test = :test {'FOR UPDATE' if lock else ''}"),
        {"run": run, "test": test},
    )
    row = rows.mappings().one_or_none()
    if row is None:
        raise TestNotFound(run=run, test=test)
    return _test(row)


async def claim_execution(session: Session, run: str, test: str, execution: str) -> TestRecord | None:
    """This workflow carries the test out; None when another does, or it has ended."""
    rows = await session.execute(
        text(
            f"UPDATE tests SET execution = :execution, ways = {WAYS},"
            " status = CASE WHEN status = 'waiting' THEN 'running' ELSE status END"
            f" WHERE operation = :run AND test = :test AND status NOT IN {TEST_ENDED_SQL}"
            " AND (execution IS NULL OR execution = :execution) RETURNING *"
        ),
        {"run": run, "test": test, "execution": execution},
    )
    row = rows.mappings().one_or_none()
    return None if row is None else _test(row)


_JSON = frozenset({"placement", "reasons", "warnings", "thresholds", "comparisons"})


async def update_test(session: Session, run: str, test: str, **values: Any) -> None:
    """Shape: columns of `tests`; statuses go waiting -> running -> tearing_down -> an end, and never back."""
    sets = ", ".join(f"{n} = CAST(:{n} AS jsonb)" if n in _JSON else f"{n} = :{n}" for n in values)
    given = {k: json.dumps(v) if k in _JSON else v for k, v in values.items()}
    await session.execute(
        text(f"UPDATE tests SET {sets} WHERE operation = :run AND test = :test"),
        {"run": run, "test": test, **given},
    )
    await notify(session, "run", run)


async def start_phase(session: Session, run: str, test: str, name: str, at: datetime) -> None:
    """Starting a phase that is there already changes nothing: a workflow may be started anew from its row.

    A deploy whose plan moved plans, and asks, once more: that is another iteration of the same phase.
    """
    await session.execute(
        text(
            "INSERT INTO phases AS p (operation, test, name, status, started_at)"
            " VALUES (:run, :test, :name, 'running', :at) ON CONFLICT (operation, test, name) DO UPDATE"
            " SET status = 'running', ended_at = NULL, detail = NULL, iterations = p.iterations + 1"
            " WHERE p.test = '' AND p.name IN ('plan','approve') AND p.status <> 'running' AND p.iterations <"
            " (SELECT coalesce(CAST(o.spec->>'plans' AS int), 1) FROM operations o WHERE o.id = p.operation)"
        ),
        {"run": run, "test": test, "name": name, "at": at},
    )
    await notify(session, "run", run)


async def end_phase(
    session: Session, run: str, test: str, name: str, at: datetime, status: str, detail: str | None = None
) -> None:
    await session.execute(
        text(
            "UPDATE phases SET status = :status, ended_at = greatest(:at, started_at), detail = :detail"
            " WHERE operation = :run AND test = :test AND name = :name AND status = 'running'"
        ),
        {"run": run, "test": test, "name": name, "at": at, "status": status, "detail": detail},
    )
    await notify(session, "run", run)


async def end_open_phases(session: Session, run: str, test: str, at: datetime, status: str, detail: str | None) -> None:
    """What was running when the test failed has failed with it."""
    await session.execute(
        text(
            "UPDATE phases SET status = :status, ended_at = greatest(:at, started_at), detail = :detail"
            " WHERE operation = :run AND test = :test AND status = 'running'"
        ),
        {"run": run, "test": test, "at": at, "status": status, "detail": detail},
    )


async def again_phase(session: Session, run: str, test: str, name: str) -> None:
    """One more iteration of a phase (another sample)."""
    await session.execute(
        text("UPDATE phases SET iterations = iterations + 1 WHERE operation = :run AND test = :test AND name = :name"),
        {"run": run, "test": test, "name": name},
    )


async def note_phase(session: Session, run: str, test: str, name: str, detail: str) -> None:
    """What an open phase waits for. Its end overwrites it."""
    done = await session.execute(
        text(
            "UPDATE phases SET detail = :detail WHERE operation = :run AND test = :test AND name = :name"
            " AND status = 'running' AND detail IS DISTINCT FROM :detail"
        ),
        {"run": run, "test": test, "name": name, "detail": detail},
    )
    if done.rowcount:
        await notify(session, "run", run)


async def phase_is_open(session: Session, run: str, test: str, name: str) -> bool:
    rows = await session.execute(
        text("SELECT 1 FROM phases WHERE operation = :run AND test = :test AND name = :name AND status = 'running'"),
        {"run": run, "test": test, "name": name},
    )
    return rows.one_or_none() is not None


async def has_open_test(session: Session, state: str) -> bool:
    """Whether a test that has not ended holds this state."""
    rows = await session.execute(
        text("SELECT 1 FROM tests WHERE state = :state AND status IN ('waiting','running') LIMIT 1"),
        {"state": state},
    )
    return rows.one_or_none() is not None
