"""SQL of step rows: the right to execute (ENGINE rules 1, 2, 9, 11, 12, 18) and the fences around it.

Locks are taken state before operation before step (rule 10).
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

from sqlalchemy import text

from stackly.db import Session
from stackly.errors import NotFound

TERMINAL = frozenset({"succeeded", "failed", "cancelled", "rejected", "superseded"})
_MUTATING = frozenset({"deploy", "benchmark", "destroy"})
CANCELLED = "cancelled"  # the reason that tells a cancel from a stale epoch


class StepKey(Protocol):
    """What `engine.contracts.steps.StepKey` and the wire's message have in common."""

    @property
    def run(self) -> str: ...
    @property
    def test(self) -> str: ...
    @property
    def step(self) -> str: ...
    @property
    def attempt(self) -> int: ...
    @property
    def epoch(self) -> int: ...


class StepId(NamedTuple):
    run: str
    test: str
    step: str
    attempt: int


class Verdict(StrEnum):
    GRANTED = "granted"
    ATTACH = "attach"
    DONE = "done"
    GONE = "gone"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Begun:
    verdict: Verdict
    outcome: Mapping[str, Any] | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Renewed:
    held: bool
    cancel_requested: bool


@dataclass(frozen=True, slots=True)
class StepRecord:
    """A row of `steps`."""

    id: StepId
    epoch: int
    agent: str
    process: str
    beat: int
    status: str
    outcome: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Owner:
    run: str
    test: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Hold:
    """Who holds the state that (run, test) works on, and what the run is.

    Shape: `state` is '' while a test has none; `agents` are the site agents that may act for it.
    """

    account: str
    kind: str
    status: str
    cancel_requested: bool
    run_epoch: int | None
    bundle: str
    state: str
    state_key: str
    holder: str | None
    epoch: int
    agents: frozenset[str]
    test_over: bool
    repo: str = ""
    commit: str = ""
    path: str = ""

    def is_current(self, run: str, epoch: int) -> bool:
        """Equality, never order. Runs that only read the state do not hold it: their own epoch is the fence."""
        if self.kind not in _MUTATING:
            return self.run_epoch == epoch
        return bool(self.state) and (self.holder, self.epoch) == (run, epoch)

    def objection(self, run: str, step: str, epoch: int) -> str:
        """Why no step may begin; '' when one may."""
        if self.status in TERMINAL or self.test_over:
            return f"the run or test has ended ({self.status})"
        if not self.is_current(run, epoch):
            return f"epoch {epoch} of this run is not the state's current one"
        return CANCELLED if self.is_cancelled_for(step) else ""

    def is_cancelled_for(self, step: str) -> bool:
        return self.cancel_requested and self.kind != "destroy" and not undoes(step)


def undoes(step: str) -> bool:
    """Taking down goes on after a cancel (rule 9)."""
    return step in {"remove", "destroy"} or step.startswith("inventory")


class StepUnknown(NotFound):
    title = "There is no such run or test."


async def hold_of(session: Session, run: str, test: str, *, lock: bool = False) -> Hold:
    """Raises: StepUnknown. With `lock` the state's and the run's row stay as they are until the transaction ends."""
    if lock:
        await _lock(session, run, test)
    rows = await session.execute(
        text(
            "SELECT o.account, o.kind, o.status, o.cancel_requested, o.epoch AS run_epoch, o.agent AS run_agent,"
            " coalesce(o.spec->>'bundle', '') AS bundle, t.agent AS test_agent, t.status AS test_status,"
            " s.id AS state, s.key AS state_key, s.holder, s.epoch, s.agent AS state_agent,"
            " c.repo, o.commit, coalesce(o.spec->>'path', '') AS path"
            " FROM operations o LEFT JOIN stack_codes c ON c.id = o.code"
            " LEFT JOIN tests t ON t.operation = o.id AND t.test = :test"
            " LEFT JOIN stack_states s ON s.id = CASE WHEN :test = '' THEN o.state ELSE t.state END"
            " WHERE o.id = :run AND (:test = '' OR t.test IS NOT NULL)"
        ),
        {"run": run, "test": test},
    )
    row = rows.mappings().one_or_none()
    if row is None:
        raise StepUnknown(run=run, test=test)
    own = (row["test_agent"],) if test else (row["run_agent"], row["state_agent"])
    return Hold(
        account=row["account"],
        kind=row["kind"],
        status=row["status"],
        cancel_requested=row["cancel_requested"],
        run_epoch=row["run_epoch"],
        bundle=row["bundle"],
        state=row["state"] or "",
        state_key=row["state_key"] or "",
        holder=row["holder"],
        epoch=row["epoch"] or 0,
        agents=frozenset(a for a in own if a),
        test_over=row["test_status"] in {"succeeded", "failed", "cancelled"},
        repo=row["repo"] or "",
        commit=row["commit"] or "",
        path=row["path"],
    )


async def _lock(session: Session, run: str, test: str) -> None:
    await session.execute(
        text(
            "SELECT 1 FROM stack_states WHERE id = (SELECT CASE WHEN :test = '' THEN o.state ELSE t.state END"
            " FROM operations o LEFT JOIN tests t ON t.operation = o.id AND t.test = :test WHERE o.id = :run)"
            " FOR SHARE"
        ),
        {"run": run, "test": test},
    )
    await session.execute(text("SELECT 1 FROM operations WHERE id = :run FOR SHARE"), {"run": run})


def _at(key: StepKey) -> dict[str, Any]:
    return {"run": key.run, "test": key.test, "step": key.step, "attempt": key.attempt}


_WHERE = "operation = :run AND test = :test AND step = :step AND attempt = :attempt"


async def get_step(session: Session, key: StepKey, *, lock: bool = False) -> StepRecord | None:
    rows = await session.execute(text(f"SELECT * FROM steps WHERE {_WHERE} {'FOR UPDATE' if lock else ''}"), _at(key))
    row = rows.mappings().one_or_none()
    if row is None:
        return None
    return StepRecord(
        id=StepId(row["operation"], row["test"], row["step"], row["attempt"]),
        epoch=row["epoch"],
        agent=row["agent"],
        process=row["process"],
        beat=row["beat"],
        status=row["status"],
        outcome=row["outcome"],
    )


async def begin(session: Session, key: StepKey, agent: str, process: str) -> Begun:
    """Grant the step once. `process` is the incarnation that asks.

    A row that is there answers first, whatever became of the run meanwhile: who executes it must be waited for, and a
    stored outcome stays true.
    """
    hold = await hold_of(session, key.run, key.test, lock=True)
    found = await get_step(session, key, lock=True)
    if found is None:
        objection = hold.objection(key.run, key.step, key.epoch)
        if objection:
            return Begun(Verdict.REFUSED, reason=objection)
        if await _insert(session, key, agent, process):
            return Begun(Verdict.GRANTED)
        found = await get_step(session, key, lock=True)
        assert found is not None, "step rows are never deleted"
    return _answer(found, key, agent, process)


async def _insert(session: Session, key: StepKey, agent: str, process: str) -> bool:
    rows = await session.execute(
        text(
            "INSERT INTO steps (operation, test, step, attempt, epoch, agent, process)"
            " VALUES (:run, :test, :step, :attempt, :epoch, :agent, :process) ON CONFLICT DO NOTHING RETURNING 1"
        ),
        _at(key) | {"epoch": key.epoch, "agent": agent, "process": process},
    )
    return rows.first() is not None


def _answer(found: StepRecord, key: StepKey, agent: str, process: str) -> Begun:
    if found.epoch != key.epoch:
        return Begun(Verdict.REFUSED, reason=f"this attempt was begun under epoch {found.epoch}, not {key.epoch}")
    if found.status == "done":
        return Begun(Verdict.DONE, outcome=found.outcome)
    if found.status == "running" and (found.agent, found.process) == (agent, process):
        return Begun(Verdict.ATTACH)
    return Begun(Verdict.GONE, reason="another life of the agent began this attempt")


async def renew(session: Session, key: StepKey, agent: str, process: str) -> Renewed:
    """Count one more beat. Not held: the row is another's, has ended, or the state was handed to another run."""
    hold = await hold_of(session, key.run, key.test)
    rows = await session.execute(
        text(
            f"UPDATE steps SET beat = beat + 1 WHERE {_WHERE} AND status = 'running' AND epoch = :epoch"
            " AND agent = :agent AND process = :process RETURNING 1"
        ),
        _at(key) | {"epoch": key.epoch, "agent": agent, "process": process},
    )
    is_current = hold.is_current(key.run, key.epoch)
    return Renewed(
        held=rows.first() is not None and is_current,
        cancel_requested=hold.is_cancelled_for(key.step) or not is_current,
    )


async def end(session: Session, key: StepKey, agent: str, process: str, outcome: Mapping[str, Any]) -> bool:
    """Write the outcome, once. True also when this very outcome is there already; False when it is not this one's."""
    told = _at(key) | {"agent": agent, "process": process, "outcome": json.dumps(dict(outcome))}
    rows = await session.execute(
        text(
            f"UPDATE steps SET status = 'done', outcome = CAST(:outcome AS jsonb), ended_at = clock_timestamp()"
            f" WHERE {_WHERE} AND status = 'running' AND agent = :agent AND process = :process RETURNING 1"
        ),
        told,
    )
    if rows.first() is not None:
        return True
    again = await session.execute(
        text(
            f"SELECT 1 FROM steps WHERE {_WHERE} AND status = 'done' AND agent = :agent AND process = :process"
            " AND outcome = CAST(:outcome AS jsonb)"
        ),
        told,
    )
    return again.first() is not None


@dataclass(frozen=True, slots=True)
class GoneStep:
    id: StepId
    epoch: int


async def report_gone(session: Session, agent: str, process: str) -> list[GoneStep]:
    """A new life of the agent: what its earlier lives were executing is not executed any more."""
    rows = await session.execute(
        text(
            "UPDATE steps SET status = 'gone', ended_at = clock_timestamp()"
            " WHERE agent = :agent AND process <> :process AND status = 'running'"
            " RETURNING operation, test, step, attempt, epoch"
        ),
        {"agent": agent, "process": process},
    )
    return [GoneStep(StepId(r[0], r[1], r[2], r[3]), r[4]) for r in rows.all()]


async def owners(session: Session, agent: str) -> list[Owner]:
    """What the agent must not reap: its open runs and tests, and every state of its target that is not yet gone."""
    rows = await session.execute(
        text(
            "SELECT o.id, '' AS test, coalesce(o.epoch, 0) FROM operations o WHERE o.agent = :agent"
            " AND o.status NOT IN ('succeeded','failed','cancelled','rejected','superseded')"
            " UNION SELECT t.operation, t.test, coalesce(s.epoch, 0) FROM tests t"
            " LEFT JOIN stack_states s ON s.id = t.state WHERE t.agent = :agent"
            " AND t.status NOT IN ('succeeded','failed','cancelled')"
            " UNION SELECT coalesce(s.parent_operation, s.holder), coalesce(s.test, ''), s.epoch FROM stack_states s"
            " WHERE s.agent = :agent AND s.status NOT IN ('destroyed','waived')"
            " AND coalesce(s.parent_operation, s.holder) IS NOT NULL"
        ),
        {"agent": agent},
    )
    return [Owner(run, test, epoch) for run, test, epoch in rows.all()]


@dataclass(slots=True)
class Seen:
    """The reaper's memory of running steps' counters, on its own monotonic clock (rule 18).

    Make it anew after a reconnect to Postgres: what was not seen was not silent.
    """

    ttl: timedelta
    _since: dict[StepId, tuple[int, float]] = field(default_factory=dict)

    def silent(self, beats: Mapping[StepId, int], at: float) -> dict[StepId, int]:
        """Steps whose counter stood still for `ttl`. Units: `at` in monotonic seconds."""
        self._since = {
            step: kept if (kept := self._since.get(step)) is not None and kept[0] == beat else (beat, at)
            for step, beat in beats.items()
        }
        limit = self.ttl.total_seconds()
        return {step: beat for step, (beat, since) in self._since.items() if at - since >= limit}


async def beats(session: Session) -> dict[StepId, int]:
    rows = await session.execute(
        text("SELECT operation, test, step, attempt, beat FROM steps WHERE status = 'running'")
    )
    return {StepId(r[0], r[1], r[2], r[3]): r[4] for r in rows.all()}


async def mark_gone(session: Session, silent: Mapping[StepId, int] | Iterable[tuple[StepId, int]]) -> list[StepId]:
    """Those that still stand at the beat they were seen at; one that was renewed meanwhile lives."""
    gone = []
    for step, beat in dict(silent).items():
        rows = await session.execute(
            text(
                f"UPDATE steps SET status = 'gone', ended_at = clock_timestamp() WHERE {_WHERE}"
                " AND status = 'running' AND beat = :beat RETURNING 1"
            ),
            step._asdict() | {"beat": beat},
        )
        if rows.first() is not None:
            gone.append(step)
    return gone


async def reap(session: Session, seen: Seen, at: float) -> list[StepId]:
    """One look of the reaper: the steps that are gone from now on. Whoever waits for them is the caller's to ring."""
    return await mark_gone(session, seen.silent(await beats(session), at))
