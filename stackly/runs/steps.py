"""SQL of step rows: the right to execute (engine rules 1, 2, 9, 11, 12, 18) and the fences around it.

Locks are taken state before operation before step (engine rule 10).
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from sqlalchemy import text
from sqlalchemy.engine import RowMapping

from stackly.db import Session
from stackly.runs.holds import Hold, Lock, Refusal, hold_of
from stackly.spec.runs import ENDED_SQL, TEST_ENDED_SQL

K = TypeVar("K")


class Interruption(StrEnum):
    """Why an attempt is gone without an outcome. None is a cancel: the run recovers."""

    STOPPED = "stopped"  # the agent was asked to stop, and did
    CUT_OFF = "cut_off"  # its lease could not be renewed, or was another's
    DIED = "died"  # nobody heard of it again

    def told(self, step: str) -> str:
        """The sentence for people."""
        if self is Interruption.STOPPED:
            return f"the agent was stopped in {step}"
        return f"the agent was cut off in {step}" if self is Interruption.CUT_OFF else f"the agent that ran {step} died"


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
    """Shape: `given` is the step's input, for who carries it out."""

    verdict: Verdict
    given: Mapping[str, Any] | None = None
    reason: str = ""
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class Renewed:
    """Shape: `cancel_requested` is the cancel column; a state that was handed over is only not held."""

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
    given: Mapping[str, Any] | None  # the input; None where an earlier release began it
    outcome: Mapping[str, Any] | None
    gone_by: Interruption | None


@dataclass(frozen=True, slots=True)
class Owner:
    """Shape: `ended` counts for its state alone, which holds something yet."""

    run: str
    test: str
    epoch: int
    ended: bool


def _at(key: StepKey) -> dict[str, Any]:
    return {"run": key.run, "test": key.test, "step": key.step, "attempt": key.attempt}


_WHERE = "operation = :run AND test = :test AND step = :step AND attempt = :attempt"


async def get_step(session: Session, key: StepKey, *, lock: bool = False) -> StepRecord | None:
    rows = await session.execute(text(f"SELECT * FROM steps WHERE {_WHERE} {'FOR UPDATE' if lock else ''}"), _at(key))
    row = rows.mappings().one_or_none()
    return None if row is None else _record(row)


async def attempts(session: Session, run: str, test: str, step: str) -> list[StepRecord]:
    """Every attempt of one step, the first one first."""
    rows = await session.execute(
        text("SELECT * FROM steps WHERE operation = :run AND test = :test AND step = :step ORDER BY attempt"),
        {"run": run, "test": test, "step": step},
    )
    return [_record(row) for row in rows.mappings()]


def _record(row: RowMapping) -> StepRecord:
    return StepRecord(
        id=StepId(row["operation"], row["test"], row["step"], row["attempt"]),
        epoch=row["epoch"],
        agent=row["agent"],
        process=row["process"],
        beat=row["beat"],
        status=row["status"],
        given=row["input"],
        outcome=row["outcome"],
        gone_by=Interruption(row["gone_by"]) if row["gone_by"] else None,
    )


async def expect(session: Session, key: StepKey, agent: str, given: Mapping[str, Any]) -> None:
    """Write that this agent may execute this, once. The caller locked the run, and checked that it is due."""
    await session.execute(
        text(
            "INSERT INTO steps (operation, test, step, attempt, epoch, agent, process, status, input)"
            " VALUES (:run, :test, :step, :attempt, :epoch, :agent, '', 'expected', CAST(:input AS jsonb))"
            " ON CONFLICT DO NOTHING"
        ),
        _at(key) | {"epoch": key.epoch, "agent": agent, "input": json.dumps(dict(given))},
    )


async def begin(session: Session, key: StepKey, agent: str, process: str) -> Begun:
    """Grant a step that a row expects of this agent, once. `process` is the incarnation that asks.

    A row that was begun answers first, whatever became of the run meanwhile: who executes it must be waited for, and
    a stored outcome stays true.
    """
    hold = await hold_of(session, key.run, key.test, lock=Lock.READ)
    found = await get_step(session, key, lock=True)
    if found is None or found.agent != agent:
        return _refused(Refusal.UNEXPECTED, f"no row expects {key.step} (attempt {key.attempt}) of this agent")
    if found.epoch != key.epoch:
        return _refused(Refusal.STALE_EPOCH, f"this attempt is of epoch {found.epoch}, not {key.epoch}")
    if found.status != "expected":
        return _answer(found, process)
    objection = hold.objection(key.run, key.step, key.epoch)
    if objection is not None:
        return _refused(*objection)
    if not hold.phases_for(key.step):
        return _refused(Refusal.UNEXPECTED, f"{key.step} is not due while this is {hold.test_status or hold.status}")
    await session.execute(
        text(
            "UPDATE steps SET status = 'running', process = :process, started_at = clock_timestamp()"
            f" WHERE {_WHERE} AND status = 'expected'"
        ),
        _at(key) | {"process": process},
    )
    return Begun(Verdict.GRANTED, found.given)


def _refused(refusal: Refusal, reason: str) -> Begun:
    return Begun(Verdict.REFUSED, reason=reason, refusal=refusal)


def _answer(found: StepRecord, process: str) -> Begun:
    if found.status == "done":
        return Begun(Verdict.DONE)
    if found.status == "running" and found.process == process:
        return Begun(Verdict.ATTACH, found.given)
    why = "another life of the agent began this attempt"
    return Begun(Verdict.GONE, reason=why, refusal=Refusal.LOST_LEASE)


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
    return Renewed(
        held=rows.first() is not None and hold.is_current(key.run, key.epoch),
        cancel_requested=hold.is_cancelled_for(key.step),
    )


async def end(
    session: Session,
    key: StepKey,
    agent: str,
    process: str,
    outcome: Mapping[str, Any],
    interruption: Interruption | None = None,
) -> bool:
    """Write the outcome, once. True also when this very outcome is there already; False when it is not this one's.

    An interrupted attempt has none: it is gone, and recovery takes the next. Also where an agent takes for cancelled
    what nobody cancelled.
    """
    if interruption is None and await _is_uncancelled(session, key, outcome):
        interruption = Interruption.STOPPED
    if interruption is not None:
        return await _interrupt(session, key, agent, process, interruption)
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


async def _is_uncancelled(session: Session, key: StepKey, outcome: Mapping[str, Any]) -> bool:
    """Whether it calls itself cancelled where the cancel column is not set."""
    if not _calls_itself_cancelled(outcome):
        return False
    return not (await hold_of(session, key.run, key.test)).is_cancelled_for(key.step)


def _calls_itself_cancelled(outcome: Mapping[str, Any]) -> bool:
    return not outcome.get("ok") and outcome.get("slug") == "cancelled"


async def without_false_cancel(session: Session, hold: Hold, found: StepRecord) -> StepRecord:
    """The row, and gone where its stored outcome calls itself cancelled and nobody cancelled.

    An earlier release stored that of agents that were stopped. The caller locked the run.
    """
    if not _calls_itself_cancelled(found.outcome or {"ok": True}) or hold.is_cancelled_for(found.id.step):
        return found
    await session.execute(
        text(f"UPDATE steps SET status = 'gone', gone_by = 'stopped', outcome = NULL WHERE {_WHERE}"),
        found.id._asdict(),
    )
    return replace(found, status="gone", gone_by=Interruption.STOPPED, outcome=None)


async def _interrupt(session: Session, key: StepKey, agent: str, process: str, why: Interruption) -> bool:
    rows = await session.execute(
        text(
            f"UPDATE steps SET status = 'gone', gone_by = CASE WHEN status = 'gone' THEN gone_by ELSE :why END,"
            f" ended_at = coalesce(ended_at, clock_timestamp()) WHERE {_WHERE} AND status IN ('running','gone')"
            " AND agent = :agent AND process = :process RETURNING 1"
        ),
        _at(key) | {"agent": agent, "process": process, "why": why.value},
    )
    return rows.first() is not None


@dataclass(frozen=True, slots=True)
class GoneStep:
    id: StepId
    epoch: int


async def report_gone(session: Session, agent: str, process: str) -> list[GoneStep]:
    """A new life of the agent: what its earlier lives were executing is not executed any more."""
    rows = await session.execute(
        text(
            "UPDATE steps SET status = 'gone', gone_by = 'died', ended_at = clock_timestamp()"
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
            "SELECT run, test, max(epoch), bool_and(ended) FROM ("
            " SELECT o.id AS run, '' AS test, coalesce(o.epoch, 0) AS epoch, false AS ended FROM operations o"
            f" WHERE o.agent = :agent AND o.status NOT IN {ENDED_SQL}"
            " UNION ALL SELECT t.operation, t.test, coalesce(s.epoch, 0), false FROM tests t"
            " LEFT JOIN stack_states s ON s.id = t.state WHERE t.agent = :agent"
            f" AND t.status NOT IN {TEST_ENDED_SQL}"
            " UNION ALL SELECT coalesce(s.parent_operation, s.holder), coalesce(s.test, ''), s.epoch, true"
            " FROM stack_states s WHERE s.agent = :agent AND s.status NOT IN ('destroyed','waived')"
            " AND coalesce(s.parent_operation, s.holder) IS NOT NULL"
            ") AS owners GROUP BY run, test"
        ),
        {"agent": agent},
    )
    return [Owner(*row) for row in rows.all()]


@dataclass(slots=True)
class Seen(Generic[K]):
    """The reaper's memory of counters, of running steps or of agents, on its own clock (engine rule 18).

    Make it anew after a reconnect to Postgres: what was not seen was not silent.
    """

    ttl: timedelta
    _since: dict[K, tuple[int, float]] = field(default_factory=dict)

    def silent(self, beats: Mapping[K, int], at: float) -> dict[K, int]:
        """Those whose counter stood still for `ttl`. Units: `at` in seconds of a clock that never goes back."""
        self._since = {
            one: kept if (kept := self._since.get(one)) is not None and kept[0] == beat else (beat, at)
            for one, beat in beats.items()
        }
        limit = self.ttl.total_seconds()
        return {one: beat for one, (beat, since) in self._since.items() if at - since >= limit}


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
                f"UPDATE steps SET status = 'gone', gone_by = 'died', ended_at = clock_timestamp() WHERE {_WHERE}"
                " AND status = 'running' AND beat = :beat RETURNING 1"
            ),
            step._asdict() | {"beat": beat},
        )
        if rows.first() is not None:
            gone.append(step)
    return gone


async def reap(session: Session, seen: Seen[StepId], at: float) -> list[StepId]:
    """One look of the reaper: the steps that are gone from now on. Whoever waits for them is the caller's to ring."""
    return await mark_gone(session, seen.silent(await beats(session), at))
