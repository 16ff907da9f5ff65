"""Rows of approval requests and votes."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from stackly.db import Base


class ApprovalRow(Base):
    __tablename__ = "approvals"
    __table_args__ = (
        Index("uq_approvals_open", "operation", unique=True, postgresql_where=text("status = 'open'")),
        CheckConstraint("status IN ('open','approved','denied','expired','void')", name="status"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    account: Mapped[str]
    operation: Mapped[str] = mapped_column(ForeignKey("operations.id", ondelete="RESTRICT"))
    digest: Mapped[str]
    needed: Mapped[int]
    groups: Mapped[list[str]]
    policy: Mapped[str]
    status: Mapped[str] = mapped_column(server_default="open")
    reason: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))
    expires: Mapped[datetime]


class VoteRow(Base):
    __tablename__ = "votes"
    __table_args__ = (UniqueConstraint("approval", "person"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    approval: Mapped[str] = mapped_column(ForeignKey("approvals.id", ondelete="RESTRICT"))
    person: Mapped[str] = mapped_column(ForeignKey("identities.id", ondelete="RESTRICT"))
    value: Mapped[str]  # approve, deny
    reason: Mapped[str | None]
    at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))
