"""Rows of runs (table `operations`), their tests, phases and steps, and the live data that agents append."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Double, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from stackly.db import Base
from stackly.spec.runs import ENDED_SQL, KINDS_SQL, MUTATING_SQL

_ENDED = f"status IN {ENDED_SQL}"


class RunRow(Base):
    __tablename__ = "operations"
    __table_args__ = (
        # One admitted, open, mutating run per long-lived or ephemeral state.
        Index(
            "uq_operations_current",
            "state",
            unique=True,
            postgresql_where=text(f"epoch IS NOT NULL AND NOT ({_ENDED}) AND kind IN {MUTATING_SQL}"),
        ),
        # Latest wins: one waiting push-caused run per state and slot.
        Index(
            "uq_operations_slot",
            "state",
            "slot",
            unique=True,
            postgresql_where=text(f"epoch IS NULL AND NOT ({_ENDED})"),
        ),
        Index(
            "uq_operations_destroy",
            "state",
            unique=True,
            postgresql_where=text(f"kind = 'destroy' AND NOT ({_ENDED})"),
        ),
        UniqueConstraint("state", "generation", "cause"),
        CheckConstraint(f"{_ENDED} OR deadline IS NOT NULL", name="open_has_deadline"),
        CheckConstraint(f"kind IN {KINDS_SQL}", name="kind"),
        Index("ix_operations_queue", "account", "priority", "created_at", postgresql_where=text("epoch IS NULL")),
        Index("ix_operations_open", "status", postgresql_where=text(f"NOT ({_ENDED})")),
        Index("ix_operations_listed", "account", text("created_at DESC"), text("id DESC")),
        Index(None, "parent"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    account: Mapped[str] = mapped_column(ForeignKey("accounts.id", ondelete="RESTRICT"))
    parent: Mapped[str | None] = mapped_column(ForeignKey("operations.id", ondelete="RESTRICT"))
    code: Mapped[str] = mapped_column(ForeignKey("stack_codes.id", ondelete="RESTRICT"))
    state: Mapped[str] = mapped_column(ForeignKey("stack_states.id", ondelete="RESTRICT"))
    kind: Mapped[str]
    slot: Mapped[str | None]
    cause: Mapped[str]
    generation: Mapped[int] = mapped_column(BigInteger)
    seq: Mapped[int] = mapped_column(BigInteger)
    priority: Mapped[int]
    status: Mapped[str]
    changed: Mapped[bool | None]
    verdict: Mapped[str | None]
    gate: Mapped[dict[str, Any] | None]
    reason: Mapped[str | None]  # why it ended so
    epoch: Mapped[int | None] = mapped_column(BigInteger)  # null until admitted
    digest: Mapped[str | None]
    branch: Mapped[str]
    commit: Mapped[str]
    trigger: Mapped[dict[str, Any]]
    baseline: Mapped[dict[str, Any] | None]
    spec: Mapped[dict[str, Any]]  # what is carried out: resolved suite, variables, bundle, policies' digests
    decision: Mapped[str | None]
    agent: Mapped[str | None]
    cancel_requested: Mapped[bool] = mapped_column(server_default="false")
    execution: Mapped[str | None]  # Temporal's run id of the workflow that carries it out; null: none does
    ways: Mapped[int] = mapped_column(server_default="1")  # the generation of workflow code that took it on
    restarts: Mapped[int] = mapped_column(server_default="0")
    blocker: Mapped[str | None]
    waiting_reason: Mapped[str | None]
    since: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))
    deadline: Mapped[datetime | None]
    next_check: Mapped[datetime | None]
    not_before: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]


class TestRow(Base):
    __tablename__ = "tests"
    __test__ = False  # pytest: a row, not a test

    operation: Mapped[str] = mapped_column(ForeignKey("operations.id", ondelete="RESTRICT"), primary_key=True)
    test: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    cell: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    spec: Mapped[dict[str, Any]]
    state: Mapped[str | None] = mapped_column(ForeignKey("stack_states.id", ondelete="RESTRICT"))
    agent: Mapped[str | None]  # the site agent
    placement: Mapped[dict[str, Any] | None]
    status: Mapped[str]  # waiting, running, tearing_down, succeeded, failed, cancelled
    deadline: Mapped[datetime | None]
    execution: Mapped[str | None]
    ways: Mapped[int] = mapped_column(server_default="1")
    restarts: Mapped[int] = mapped_column(server_default="0")
    verdict: Mapped[str | None]
    reasons: Mapped[list[Any]] = mapped_column(JSONB, server_default="[]")
    warnings: Mapped[list[Any]] = mapped_column(JSONB, server_default="[]")
    thresholds: Mapped[list[Any]] = mapped_column(JSONB, server_default="[]")
    comparisons: Mapped[list[Any]] = mapped_column(JSONB, server_default="[]")


class PhaseRow(Base):
    __tablename__ = "phases"

    operation: Mapped[str] = mapped_column(ForeignKey("operations.id", ondelete="RESTRICT"), primary_key=True)
    test: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    status: Mapped[str]  # running, succeeded, failed, skipped
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    iterations: Mapped[int] = mapped_column(server_default="1")
    detail: Mapped[str | None]


class StepRow(Base):
    __tablename__ = "steps"
    __table_args__ = (
        CheckConstraint("status IN ('expected','running','done','gone')", name="status"),
        CheckConstraint("status <> 'expected' OR input IS NOT NULL", name="expected_has_input"),
        CheckConstraint("(status = 'done') = (outcome IS NOT NULL)", name="outcome_when_done"),
        CheckConstraint("(status = 'gone') = (gone_by IS NOT NULL)", name="gone_by_when_gone"),
        CheckConstraint("gone_by IN ('stopped','cut_off','died')", name="gone_by"),
    )

    operation: Mapped[str] = mapped_column(ForeignKey("operations.id", ondelete="RESTRICT"), primary_key=True)
    test: Mapped[str] = mapped_column(primary_key=True)
    step: Mapped[str] = mapped_column(primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    epoch: Mapped[int] = mapped_column(BigInteger)
    agent: Mapped[str]  # the one that may execute it
    process: Mapped[str]  # the agent's incarnation that executes it; '' before
    beat: Mapped[int] = mapped_column(BigInteger, server_default="0")
    status: Mapped[str] = mapped_column(server_default="expected")
    input: Mapped[dict[str, Any] | None]  # null where an earlier release began it
    outcome: Mapped[dict[str, Any] | None]  # written once
    gone_by: Mapped[str | None]  # how an attempt ended that has no outcome
    started_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))
    ended_at: Mapped[datetime | None]


class LogChunkRow(Base):
    __tablename__ = "log_chunks"
    __table_args__ = (UniqueConstraint("run", "source", "n"), Index(None, "run", "id"), Index(None, "at"))

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    run: Mapped[str]
    test: Mapped[str]
    source: Mapped[str]  # agent and step; `n` counts within it, so a repeated append is ignored
    n: Mapped[int] = mapped_column(BigInteger)
    at: Mapped[datetime]
    level: Mapped[str]
    text: Mapped[str]


class AppendedRow(Base):
    """What one sender (test and agent) has appended to a run, and what was dropped of it."""

    __tablename__ = "appended"
    __table_args__ = (Index(None, "at"),)

    run: Mapped[str] = mapped_column(primary_key=True)
    sender: Mapped[str] = mapped_column(primary_key=True)
    lines: Mapped[int] = mapped_column(BigInteger, server_default="0")
    size: Mapped[int] = mapped_column(BigInteger, server_default="0")  # bytes of text
    points: Mapped[int] = mapped_column(BigInteger, server_default="0")
    dropped_lines: Mapped[int] = mapped_column(BigInteger, server_default="0")
    dropped_points: Mapped[int] = mapped_column(BigInteger, server_default="0")
    at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))


class SeriesPointRow(Base):
    __tablename__ = "series_points"
    __table_args__ = (UniqueConstraint("run", "test", "sample", "second"), Index(None, "run", "id"))

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    run: Mapped[str]
    test: Mapped[str]
    sample: Mapped[int]
    second: Mapped[int]
    at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))
    tps: Mapped[float] = mapped_column(Double)
    latency_ms: Mapped[float | None] = mapped_column(Double)
    p95_ms: Mapped[float | None] = mapped_column(Double)
    errors: Mapped[int] = mapped_column(server_default="0")
