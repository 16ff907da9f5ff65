"""Rows of agents and the one-time tokens they enrol with."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, text
from sqlalchemy.orm import Mapped, mapped_column

from stackly.db import Base


class AgentRow(Base):
    __tablename__ = "agents"
    __table_args__ = (
        CheckConstraint("role IN ('site','edge')", name="role"),
        CheckConstraint("status IN ('expected','online','offline','gone','revoked')", name="status"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    account: Mapped[str] = mapped_column(ForeignKey("accounts.id", ondelete="RESTRICT"))
    role: Mapped[str]
    name: Mapped[str]
    certificate: Mapped[str | None] = mapped_column(unique=True)  # serial number, hex
    incarnation: Mapped[str | None]  # one life of the process; a new one means the old processes are gone
    version: Mapped[str | None]
    labels: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    capabilities: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    run: Mapped[str | None]
    test: Mapped[str | None]
    machine: Mapped[str | None]
    beat: Mapped[int] = mapped_column(BigInteger, server_default="0")
    status: Mapped[str] = mapped_column(server_default="expected")
    reason: Mapped[str | None]  # why it is gone before its test was over
    seen_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))


class EnrolmentRow(Base):
    __tablename__ = "enrolments"

    hash: Mapped[str] = mapped_column(primary_key=True)
    agent: Mapped[str] = mapped_column(ForeignKey("agents.id", ondelete="RESTRICT"))
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class GatewayServiceRow(Base):
    """One row: the counter moves while any gateway serves agents."""

    __tablename__ = "gateway_service"
    __table_args__ = (CheckConstraint("one", name="one"),)

    one: Mapped[bool] = mapped_column(primary_key=True, server_default=text("true"))
    served: Mapped[int] = mapped_column(BigInteger, server_default="0")
