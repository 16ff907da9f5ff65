"""Rows of the event log, the outbox, the webhook inbox, hooks and decisions."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Index, LargeBinary, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import UserDefinedType

from stackly.db import Base


class Xid8(UserDefinedType[str]):
    """A transaction id that never wraps; feeds read only below the snapshot's xmin."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "xid8"


class EventRow(Base):
    __tablename__ = "events"
    __table_args__ = (UniqueConstraint("subject", "name", "n"), Index(None, "account", "id"))

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    account: Mapped[str]
    subject: Mapped[str]
    name: Mapped[str]
    n: Mapped[str]  # what makes it once: a run, a commit, a generation
    payload: Mapped[dict[str, Any]]
    at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))
    xid: Mapped[str] = mapped_column(Xid8, server_default=text("pg_current_xact_id()"))


class OutboxRow(Base):
    __tablename__ = "outbox"
    __table_args__ = (Index(None, "available_at"),)

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    kind: Mapped[str]
    key: Mapped[str]
    available_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))
    claim: Mapped[str | None]
    attempts: Mapped[int] = mapped_column(server_default="0")
    reason: Mapped[str | None]


class TroubleRow(Base):
    """Acts of background processes that failed unforeseen: how often, and what the last one was."""

    __tablename__ = "troubles"

    act: Mapped[str] = mapped_column(primary_key=True)  # of a fixed few: it is a metric's label
    count: Mapped[int] = mapped_column(BigInteger)
    about: Mapped[str]
    reason: Mapped[str]
    at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))


class DeliveryRow(Base):
    __tablename__ = "deliveries"
    # Deliveries only ever come at the end: a few pages tell which ones are old.
    __table_args__ = (Index(None, "repo", "received_at"), Index(None, "received_at", postgresql_using="brin"))

    hook: Mapped[str] = mapped_column(primary_key=True)
    guid: Mapped[str] = mapped_column(primary_key=True)
    event: Mapped[str]
    body: Mapped[bytes] = mapped_column(LargeBinary)
    body_sha256: Mapped[str]
    attempts: Mapped[int] = mapped_column(server_default="1")
    status: Mapped[str]  # received, ignored
    reason: Mapped[str | None]
    received_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))
    repo: Mapped[str | None]  # which of the hook's repositories it is about
    about: Mapped[int | None] = mapped_column(BigInteger)  # GitHub's number of the repository that its body names
    about_name: Mapped[str | None]


class HookRow(Base):
    __tablename__ = "hooks"

    id: Mapped[str] = mapped_column(primary_key=True)
    account: Mapped[str]
    # Repos live above events: no foreign key may look up. None: of an App or an organisation, for all its repositories.
    repo: Mapped[str | None]
    secret_sealed: Mapped[bytes] = mapped_column(LargeBinary)
    previous_sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))
    log_read_to: Mapped[int | None] = mapped_column(
        BigInteger
    )  # GitHub's number of the newest delivery a sweep has seen


class ConnectionRow(Base):
    """How a repository is reached on GitHub, and when it is looked at next."""

    __tablename__ = "connections"
    __table_args__ = (
        Index(None, "look_at"),
        Index(None, "installation", postgresql_where=text("installation IS NOT NULL")),
    )

    repo: Mapped[str] = mapped_column(primary_key=True)
    account: Mapped[str]
    installation: Mapped[int | None] = mapped_column(BigInteger)  # GitHub's number of it
    look_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))
    looked_at: Mapped[datetime | None]
    reason: Mapped[str | None]  # why the last look failed
    confirmed_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))  # by its number


class DecisionRow(Base):
    __tablename__ = "decisions"
    __table_args__ = (
        UniqueConstraint("subject", "generation", "question", "digest"),
        CheckConstraint("decision IN ('allow','hold','deny','no_run')", name="decision"),
        Index(None, "account", "at"),
        Index(None, "operation"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    account: Mapped[str]
    subject: Mapped[str]
    generation: Mapped[int]
    question: Mapped[str]
    digest: Mapped[str]
    operation: Mapped[str | None]
    inputs: Mapped[dict[str, Any]]
    tzdata: Mapped[str]
    at: Mapped[datetime]
    decision: Mapped[str]
    tree: Mapped[list[Any]] = mapped_column(JSONB)  # the reasons, one node a policy
    next_check: Mapped[datetime | None]
