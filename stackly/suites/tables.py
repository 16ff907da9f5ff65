"""Rows of network leases and results."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, literal_column, text
from sqlalchemy.dialects.postgresql import CIDR, ExcludeConstraint
from sqlalchemy.orm import Mapped, mapped_column

from stackly.db import Base


class LeaseRow(Base):
    __tablename__ = "leases"
    __table_args__ = (
        ExcludeConstraint(
            (literal_column("int4range(pool, pool, '[]')"), "&&"),
            (literal_column("cidr inet_ops"), "&&"),
            using="gist",
            where=text("released_at IS NULL"),
            name="ex_leases_no_overlap",
        ),
        Index(None, "state"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    pool: Mapped[int]
    cidr: Mapped[str] = mapped_column(CIDR)
    state: Mapped[str | None] = mapped_column(ForeignKey("stack_states.id", ondelete="RESTRICT"))
    obligation: Mapped[str | None]  # null when the block was found taken by somebody else
    created_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))
    foreign_until: Mapped[datetime | None]
    released_at: Mapped[datetime | None]


class ResultRow(Base):
    __tablename__ = "results"
    __table_args__ = (
        UniqueConstraint("operation", "test", "side", "n"),
        CheckConstraint("side IN ('candidate','baseline')", name="side"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    operation: Mapped[str] = mapped_column(ForeignKey("operations.id", ondelete="RESTRICT"))
    test: Mapped[str]
    side: Mapped[str]
    n: Mapped[int]
    order: Mapped[int]
    valid: Mapped[bool]
    reason: Mapped[str | None]
    result: Mapped[dict[str, Any]]  # the fields of suites.model.Result
    artifacts: Mapped[dict[str, Any]]  # name -> storage key
    at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))
