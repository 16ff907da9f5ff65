"""The migrated schema is the schema of the tables, and going down and up again changes nothing."""

import asyncio
from collections.abc import Callable

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from stackly.db import Base
from stackly.local import schema

_CATALOG = {
    "columns": "SELECT table_name, column_name, data_type, udt_name, is_nullable, column_default"
    " FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'alembic_version'",
    "constraints": "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
    " WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text <> 'alembic_version'",
    "indexes": "SELECT tablename, indexname, indexdef FROM pg_indexes"
    " WHERE schemaname = 'public' AND tablename <> 'alembic_version'",
    "views": "SELECT viewname, definition FROM pg_views WHERE schemaname = 'public'",
}


async def _catalog(url: str, *, create: bool = False) -> dict[str, set[tuple[object, ...]]]:
    engine = create_async_engine(make_url(url).set(drivername="postgresql+asyncpg"))
    async with engine.begin() as connection:
        if create:
            await connection.run_sync(Base.metadata.create_all)
        seen = {name: {tuple(row) for row in await connection.execute(text(query))} for name, query in _CATALOG.items()}
    await engine.dispose()
    return seen


async def test_migrated_equals_the_tables(fresh_database: Callable[[], str], empty_database: Callable[[], str]) -> None:
    migrated = await _catalog(fresh_database())
    created = await _catalog(empty_database(), create=True)
    for part in _CATALOG:
        assert migrated[part] == created[part], f"{part}: migrations (left) and tables.py (right) differ"


async def test_up_down_up(empty_database: Callable[[], str]) -> None:
    url = empty_database()
    schema.upgrade(url)
    once = await _catalog(url)
    schema.downgrade(url)
    assert (await _catalog(url)) == {part: set() for part in _CATALOG}
    schema.upgrade(url)
    assert (await _catalog(url)) == once


async def test_one_migration_waits_at_most_five_seconds_for_a_lock(empty_database: Callable[[], str]) -> None:
    url = empty_database()
    schema.upgrade(url)
    engine = create_async_engine(make_url(url).set(drivername="postgresql+asyncpg"))
    async with engine.begin() as blocker:
        await blocker.execute(text("LOCK TABLE votes IN ACCESS SHARE MODE"))
        with pytest.raises(DBAPIError, match="lock timeout"):
            await asyncio.to_thread(schema.downgrade, url)
    await engine.dispose()
