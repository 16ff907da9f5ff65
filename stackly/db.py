"""Postgres: the engine, one transaction per request, activity or dispatcher step, and nothing else."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from typing import Any, TypeAlias

import asyncpg
from sqlalchemy import MetaData, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import Text

from stackly.errors import Invalid, Unavailable, of_os

# A session is a connection inside a transaction: rows become frozen models at the store, and nothing maps identities.
Session: TypeAlias = AsyncConnection
Json: TypeAlias = dict[str, Any]
Transactions: TypeAlias = Callable[[], AbstractAsyncContextManager[Session]]

_NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=_NAMES)
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's own hook
        str: Text,
        datetime: TIMESTAMP(timezone=True),
        dict[str, Any]: JSONB,
        list[Any]: JSONB,
        list[str]: ARRAY(Text),
    }


def engine(url: str, *, size: int = 10, application: str = "stackly") -> AsyncEngine:
    """Shape: `url` is postgresql://…; the driver is chosen here. Connecting fails within 5 s, a statement in 30 s."""
    return create_async_engine(
        make_url(url).set(drivername="postgresql+asyncpg"),
        pool_size=size,
        max_overflow=size,
        pool_timeout=10,
        pool_pre_ping=True,
        connect_args={
            "timeout": 5,
            "command_timeout": 30,
            "server_settings": {
                "application_name": application,
                "statement_timeout": "30s",
                "lock_timeout": "10s",
                "idle_in_transaction_session_timeout": "60s",
                "jit": "off",
            },
        },
    )


def transactions(on: AsyncEngine) -> Transactions:
    """A factory of transactions: commits at the end, rolls back on any error.

    Raises: Unavailable when Postgres cannot be reached, went away, is too busy, or ran out of something; other errors
    pass through.
    """

    @asynccontextmanager
    async def transaction() -> AsyncIterator[Session]:
        try:
            async with on.begin() as session:
                yield session
        except (DBAPIError, PoolTimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as e:
            known = _refused(e) or kind_of(e)  # the driver takes a bad text for a bad connection
            if known is None:
                raise
            raise known from e

    return transaction


# Class 57P: admin shutdown, crash shutdown, cannot connect now. 40001 and 40P01 are worth another try as well.
_RESTARTING = frozenset({"57P01", "57P02", "57P03", "57P05", "40001", "40P01"})
_BUSY = frozenset({"55P03", "57014"})  # a lock, or the whole statement, took longer than it may
# Class 53: no disk, no memory, no connection, no room in a table of the server. Class 58: its files fail it.
_SHORT = {
    "53100": "its disk is full",
    "53200": "it has no memory left",
    "53300": "it has no connection left",
    "58030": "its disk cannot be read or written",
}


def kind_of(e: Exception) -> Unavailable | None:
    """What an error of the driver, of SQLAlchemy or of the socket is, where trying again may help. None: a defect."""
    cause = e.orig if isinstance(e, DBAPIError) else e
    state = str(getattr(cause, "sqlstate", None) or "")
    if state in _BUSY:
        return Unavailable("Postgres is busy: a lock or a statement took too long; it is retried.")
    if state[:2] in {"53", "58"}:
        short = _SHORT.get(state, "it lacks resources")
        return Unavailable(f"Postgres is short of something: {short} (SQLSTATE {state}); it is retried.")
    if state in _RESTARTING or (isinstance(e, DBAPIError) and e.connection_invalidated):
        return Unavailable("Postgres went away; it is retried.")
    if isinstance(e, OSError) and not isinstance(e, ConnectionError) and (known := of_os(e)) is not None:
        return known
    unreachable = (OperationalError, InterfaceError, PoolTimeoutError, OSError, asyncpg.PostgresConnectionError)
    if isinstance(e, unreachable) or isinstance(cause, asyncpg.InterfaceError) or state[:2] == "08":
        return Unavailable("Postgres is not reachable; it is retried.")
    return None


# Postgres' own words for U+0000 in a text and in JSON; and its driver's, for half a surrogate pair.
_NO_TEXT = frozenset({"22021", "22P05"})


class TextRefused(Invalid):
    title = "A text cannot be stored."


def _refused(e: Exception) -> TextRefused | None:
    """The last line of defence: each text is looked at where it enters (`texts`)."""
    orig = e.orig if isinstance(e, DBAPIError) else e
    state = str(getattr(orig, "sqlstate", ""))
    detail = getattr(getattr(orig, "__cause__", None), "detail", None) or ""
    if state in _NO_TEXT or "surrogates not allowed" in str(orig) or (state == "22P02" and "surrogate" in detail):
        return TextRefused("It holds the character U+0000, or half a surrogate pair; take that out.")
    return None


def violates(e: IntegrityError, constraint: str) -> bool:
    """Tell whether an IntegrityError is the violation of this very constraint or unique index."""
    cause = getattr(e.orig, "__cause__", None)
    return getattr(cause, "constraint_name", None) == constraint


async def listen(url: str, channels: list[str], heard: Callable[[str, str], None]) -> "asyncpg.Connection[Any]":
    """A connection of its own that calls `heard(channel, payload)` for each NOTIFY. The caller closes it."""
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    connection = await asyncpg.connect(plain, timeout=5)
    for channel in channels:
        await connection.add_listener(channel, lambda _c, _p, ch, payload: heard(ch, payload))
    return connection


async def notify(session: Session, channel: str, payload: str = "") -> None:
    """Ring at commit; lost when nobody listens, so every listener polls as well."""
    await session.execute(text("SELECT pg_notify(:c, :p)"), {"c": channel, "p": payload})


async def now(session: Session) -> datetime:
    """The deciding clock: `clock_timestamp()` of this transaction's server (engine rule 18)."""
    at = (await session.execute(text("SELECT clock_timestamp()"))).scalar_one()
    assert isinstance(at, datetime)
    return at
