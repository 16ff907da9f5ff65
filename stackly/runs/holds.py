"""Who holds the state that a run or test works on: the fence around its steps (engine rules 2, 9, 10)."""

from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import text

from stackly.db import Session
from stackly.errors import NotFound
from stackly.runs import expected
from stackly.spec.runs import ENDED, MUTATING, TEST_ENDED


class Refusal(StrEnum):
    """Why a step may not begin. Only the first means that somebody cancelled."""

    CANCELLED = "cancelled"
    OVER = "over"
    STALE_EPOCH = "stale_epoch"
    UNEXPECTED = "unexpected"
    LOST_LEASE = "lost_lease"


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
    test_status: str | None = None  # of the test; None of a run
    own_agent: str = ""  # the site agent that carries it out
    repo: str = ""
    commit: str = ""
    path: str = ""

    def is_current(self, run: str, epoch: int) -> bool:
        """Equality, never order. Runs that only read the state do not hold it: their own epoch is the fence."""
        if self.kind not in MUTATING:
            return self.run_epoch == epoch
        return bool(self.state) and (self.holder, self.epoch) == (run, epoch)

    def objection(self, run: str, step: str, epoch: int) -> tuple[Refusal, str] | None:
        """Why no step may begin, as a type and as a sentence; None when one may."""
        if self.is_cancelled_for(step):
            return Refusal.CANCELLED, "cancelled"
        if self.status in ENDED or self.test_status in TEST_ENDED:
            return Refusal.OVER, f"the run or test has ended ({self.test_status or self.status})"
        if not self.is_current(run, epoch):
            return Refusal.STALE_EPOCH, f"epoch {epoch} of this run is not the state's current one"
        return None

    @property
    def own_epoch(self) -> int:
        """Under which its steps are asked for: a run's since it was admitted, a test's since it has a state."""
        return (self.run_epoch or 0) if self.test_status is None else self.epoch

    def phases_for(self, step: str) -> frozenset[str]:
        """The phases in which the step may be expected as things stand; none: not in this status."""
        if self.test_status is None:
            return expected.phases_for(self.kind, self.status, step)
        return expected.phases_for(expected.TEST, self.test_status, step) if self.kind == "benchmark" else frozenset()

    def is_cancelled_for(self, step: str) -> bool:
        return self.cancel_requested and self.kind != "destroy" and not undoes(step)


def undoes(step: str) -> bool:
    """Taking down goes on after a cancel (engine rule 9)."""
    return expected.SIDES.get(expected.verb_of(step)) is expected.Side.TEARDOWN


class StepUnknown(NotFound):
    title = "There is no such run or test."


class Lock(StrEnum):
    """How the state's and the run's row are kept as they are until the transaction ends."""

    READ = "FOR SHARE"
    MOVE = "FOR UPDATE"


async def hold_of(session: Session, run: str, test: str, *, lock: Lock | None = None) -> Hold:
    """Raises: StepUnknown."""
    if lock is not None:
        await _lock(session, run, test, lock)
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
        test_status=row["test_status"],
        own_agent=(row["test_agent"] if test else None) or row["run_agent"] or "",
        repo=row["repo"] or "",
        commit=row["commit"] or "",
        path=row["path"],
    )


async def _lock(session: Session, run: str, test: str, lock: Lock) -> None:
    await session.execute(
        text(
            "SELECT 1 FROM stack_states WHERE id = (SELECT CASE WHEN :test = '' THEN o.state ELSE t.state END"
            " FROM operations o LEFT JOIN tests t ON t.operation = o.id AND t.test = :test WHERE o.id = :run)"
            f" {lock}"
        ),
        {"run": run, "test": test},
    )
    await session.execute(text(f"SELECT 1 FROM operations WHERE id = :run {lock}"), {"run": run})
