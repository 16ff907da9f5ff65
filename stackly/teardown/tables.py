"""Rows of teardown obligations and of what inventories saw."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from stackly.db import Base


class ObligationRow(Base):
    __tablename__ = "obligations"
    __table_args__ = (
        Index("uq_obligations_open", "state", unique=True, postgresql_where=text("status = 'open'")),
        CheckConstraint("status IN ('open','met','waived')", name="status"),
        CheckConstraint("status <> 'waived' OR waived_by IS NOT NULL", name="waived_by_a_person"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    account: Mapped[str]
    state: Mapped[str] = mapped_column(ForeignKey("stack_states.id", ondelete="RESTRICT"))
    run: Mapped[str] = mapped_column(ForeignKey("operations.id", ondelete="RESTRICT"))
    kit: Mapped[dict[str, Any]]  # everything needed to destroy: bundle, variables, placement, agent
    status: Mapped[str] = mapped_column(server_default="open")
    due_at: Mapped[datetime]
    ladder: Mapped[int] = mapped_column(server_default="0")
    reason: Mapped[str | None]
    waived_by: Mapped[str | None] = mapped_column(ForeignKey("identities.id", ondelete="RESTRICT"))
    created_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))
    closed_at: Mapped[datetime | None]


class InventoryRow(Base):
    __tablename__ = "inventory"
    # `class` of a row (managed, orphan, …) is computed when read: it depends on the owner's status at that moment.
    target: Mapped[str] = mapped_column(primary_key=True)
    resource: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]  # process, directory, container, network, volume
    agent: Mapped[str]
    state: Mapped[str | None]
    run: Mapped[str | None]
    test: Mapped[str | None]
    first_seen: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))
    last_seen: Mapped[datetime]
