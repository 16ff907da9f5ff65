"""Rows of accounts, the people in them, and their keys."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from stackly.db import Base


class AccountRow(Base):
    __tablename__ = "accounts"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    max_starting: Mapped[int] = mapped_column(server_default="8")
    max_concurrent: Mapped[int] = mapped_column(server_default="32")  # tests and deploys at once
    created_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))


class IdentityRow(Base):
    __tablename__ = "identities"
    __table_args__ = (UniqueConstraint("account", "login"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    account: Mapped[str] = mapped_column(ForeignKey("accounts.id", ondelete="RESTRICT"))
    login: Mapped[str]
    roles: Mapped[list[str]]
    groups: Mapped[list[str]]
    created_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))


class TokenRow(Base):
    __tablename__ = "api_tokens"

    hash: Mapped[str] = mapped_column(primary_key=True)  # SHA-256 of the token; the token itself is never stored
    identity: Mapped[str] = mapped_column(ForeignKey("identities.id", ondelete="RESTRICT"))
    name: Mapped[str]
    kind: Mapped[str]  # token, session, login_key
    created_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))
    expires_at: Mapped[datetime | None]
    used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class IdempotencyRow(Base):
    __tablename__ = "idempotency_keys"

    account: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    request_sha256: Mapped[str]
    status: Mapped[int | None]
    response: Mapped[dict[str, Any] | None]
    # Of a request whose effect lies outside Postgres: what of it is done, and until when nobody else may carry it out.
    done: Mapped[list[str]] = mapped_column(server_default="{}")
    held_until: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))
