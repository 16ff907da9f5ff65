"""Alembic on an async engine; one lock at a time, five seconds of patience for each."""

import asyncio
import importlib
import os
from pathlib import Path

from alembic import context
from sqlalchemy import Connection, text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

import stackly
from stackly.db import Base

_PACKAGE = Path(stackly.__file__).parent
for _tables in sorted(_PACKAGE.glob("*/tables.py")):
    importlib.import_module(f"stackly.{_tables.parent.name}.tables")


def _url() -> str:
    """The caller's URL (`-x url=…` or the attribute `url`), else the one of STACKLY_HOME."""
    given = context.config.attributes.get("url") or context.get_x_argument(as_dictionary=True).get("url")
    if given:
        return str(given)
    from stackly.settings import Settings

    return Settings.load(Path(os.environ.get("STACKLY_HOME", ".stackly"))).database_url


def _migrate(connection: Connection) -> None:
    # Two starters at once: the second waits here and finds the work done.
    connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('stackly.migrations'))"))
    connection.execute(text("SET LOCAL lock_timeout = '5s'"))
    context.configure(connection=connection, target_metadata=Base.metadata, compare_server_default=True)
    context.run_migrations()


async def _online() -> None:
    engine = create_async_engine(make_url(_url()).set(drivername="postgresql+asyncpg"), poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_migrate)
    finally:
        await engine.dispose()


def _offline() -> None:
    context.configure(dialect_name="postgresql", target_metadata=Base.metadata, literal_binds=True)
    with context.begin_transaction():
        context.execute("SET LOCAL lock_timeout = '5s'")
        context.run_migrations()


if context.is_offline_mode():
    _offline()
else:
    asyncio.run(_online())
