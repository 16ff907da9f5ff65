"""A fresh copy of the prepared database for every sample, and proof that each sample had one.

Trap 3: a load that was measured once is another load. The prepared database is kept as a template that nobody may
connect to. What a copy has been through is written in its own comment: it survives our restart, and vanishes with
the copy. Shape: `stackly fresh 3`, `stackly warmed 3`, `stackly measured 3`.
"""

from agent.postgres.connection import Connection, Door
from agent.postgres.evidence import is_fifteen, quote_name, quote_text
from stackly.errors import Conflict

_MARK = "stackly"


def template_of(database: str) -> str:
    return f"{database}_prepared"


async def end_sessions(connection: Connection, database: str) -> int:
    """Cancel and end every session in a database: a generator that was killed leaves backends behind (trap 5)."""
    return int(
        await connection.fetchval(
            "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity "
            "WHERE datname = $1 AND pid <> pg_backend_pid()",
            database,
        )
    )


async def empty(door: Door, database: str) -> None:
    """An empty database to prepare in; an earlier template goes."""
    role, template = quote_name(door.load_role), template_of(database)
    async with door.superuser() as connection:
        await _drop(connection, template)
        await _drop(connection, database)
        await connection.execute(f"CREATE DATABASE {quote_name(database)} OWNER {role}")


async def keep(door: Door, database: str) -> int:
    """The prepared database becomes the template. Units: its size in bytes."""
    name, template = quote_name(database), quote_name(template_of(database))
    async with door.superuser() as connection:
        await end_sessions(connection, database)
        await connection.execute(f"ALTER DATABASE {name} RENAME TO {template}")
        await connection.execute(f"ALTER DATABASE {template} WITH IS_TEMPLATE true ALLOW_CONNECTIONS false")
        return int(await connection.fetchval("SELECT pg_database_size($1::name)", template_of(database)))


async def fresh(door: Door, database: str, sample: int) -> None:
    """Raises: Conflict when nothing was prepared."""
    name, template = quote_name(database), quote_name(template_of(database))
    async with door.superuser() as connection:
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", template_of(database)):
            raise Conflict("There is no prepared load to copy; prepare comes before warm-up and measure.")
        await _drop(connection, database)
        strategy = "STRATEGY file_copy" if await is_fifteen(connection) else ""  # the only one before
        await connection.execute(
            f"CREATE DATABASE {name} TEMPLATE {template} {strategy} OWNER {quote_name(door.load_role)}"
        )
        await _mark(connection, database, "fresh", sample)
        await connection.execute("CHECKPOINT")


async def mark(door: Door, database: str, state: str, sample: int) -> None:
    async with door.superuser() as connection:
        await _mark(connection, database, state, sample)


async def require(door: Door, database: str, state: str, sample: int) -> None:
    """Raises: Conflict when the copy is not in that state for that sample."""
    async with door.superuser() as connection:
        found = await connection.fetchval(
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = $1", database
        )
    if found != f"{_MARK} {state} {sample}":
        raise Conflict(
            f"Sample {sample} has no fresh copy of the load (it is '{found or 'not a copy'}'); "
            f"warm up sample {sample} first.",
            sample=sample,
        )


async def _mark(connection: Connection, database: str, state: str, sample: int) -> None:
    text = quote_text(f"{_MARK} {state} {sample}")
    await connection.execute(f"COMMENT ON DATABASE {quote_name(database)} IS {text}")


async def _drop(connection: Connection, database: str) -> None:
    if await connection.fetchval("SELECT datistemplate FROM pg_database WHERE datname = $1", database):
        await connection.execute(f"ALTER DATABASE {quote_name(database)} WITH IS_TEMPLATE false")
    await connection.execute(f"DROP DATABASE IF EXISTS {quote_name(database)} WITH (FORCE)")
