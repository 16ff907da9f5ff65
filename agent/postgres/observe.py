"""The server's own counters around a measurement: what the generator says is checked against them."""

import asyncio
from dataclasses import dataclass
from typing import Any

from agent.postgres.connection import Connection, Door

_NEW_CHECKPOINTER = 170000


@dataclass(frozen=True, slots=True)
class Counters:
    """Shape: `started` is the postmaster's start, which changes with a restart; `version_num` 160014."""

    commits: int
    checkpoints: int
    started: str
    version: str
    version_num: int
    fsync: bool
    database_bytes: int


async def counters(door: Door, database: str) -> Counters:
    async with door.superuser() as connection:
        number = int(await connection.fetchval("SELECT current_setting('server_version_num')"))
        row = await connection.fetchrow(
            "SELECT coalesce((SELECT xact_commit FROM pg_stat_database WHERE datname = $1::name), 0) AS commits, "
            "pg_postmaster_start_time()::text AS started, current_setting('server_version') AS version, "
            "current_setting('fsync') AS fsync, pg_database_size($1::name) AS bytes",
            database,
        )
        assert row is not None
        checkpoints = await _checkpoints(connection, number)
    return Counters(
        commits=int(row["commits"]),
        checkpoints=checkpoints,
        started=str(row["started"]),
        version=str(row["version"]),
        version_num=number,
        fsync=row["fsync"] == "on",
        database_bytes=int(row["bytes"]),
    )


async def _checkpoints(connection: Connection, number: int) -> int:
    """Statistics of 17 and later moved; both count those that were asked for too."""
    query = (
        "SELECT num_timed + num_requested FROM pg_stat_checkpointer"
        if number >= _NEW_CHECKPOINTER
        else "SELECT checkpoints_timed + checkpoints_req FROM pg_stat_bgwriter"
    )
    return int(await connection.fetchval(query))


async def settled(door: Door, database: str) -> Counters:
    """Counters after the load: a backend that ends reports a moment later, so until two readings agree."""
    last = await counters(door, database)
    for _ in range(10):
        await asyncio.sleep(0.2)
        now = await counters(door, database)
        if now.commits == last.commits:
            return now
        last = now
    return last


async def effective_settings(door: Door) -> dict[str, Any]:
    """Every setting that is not the built-in default."""
    async with door.superuser() as connection:
        rows = await connection.fetch(
            "SELECT name, setting, unit, source FROM pg_settings WHERE source <> 'default' ORDER BY name"
        )
    return {r["name"]: {"setting": r["setting"], "unit": r["unit"], "source": r["source"]} for r in rows}
