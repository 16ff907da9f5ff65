"""What the running server itself says: version, settings, roles. Nothing here is believed because we wrote it."""

import asyncio
from collections.abc import Mapping

from agent.context import Cancelled, Credentials
from agent.postgres.config import Reported, not_in_effect
from agent.postgres.connection import Connection, Door, until_answers
from agent.postgres.scram import verifier
from stackly import clock
from stackly.engine.contracts.edge import DatabaseInput
from stackly.errors import Faulty, Unavailable

# A role for CHECKPOINT, and a choice of how a database is copied; an image may hold an older server.
_FIFTEEN = 150000


def quote_name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def quote_text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


async def superuser_answers(door: Door, deadline: float, cancelled: asyncio.Event) -> None:
    """Raises: Unavailable with the last refusal; Cancelled."""
    while True:
        try:
            async with door.superuser() as connection:
                await connection.fetchval("SELECT 1")
                return
        except Unavailable:
            if cancelled.is_set():
                raise Cancelled from None
            if clock.monotonic() >= deadline:
                raise
        await asyncio.sleep(0.1)


async def is_fifteen(connection: Connection) -> bool:
    """Whether the server is of 15 or later."""
    return int(await connection.fetchval("SELECT current_setting('server_version_num')")) >= _FIFTEEN


async def create_load_role(door: Door, credentials: Credentials) -> None:
    """The role the generator uses and its database; again is the same."""
    role, database = quote_name(credentials.user), quote_name(credentials.database)
    async with door.superuser() as connection:
        there = await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", credentials.user)
        verb = "ALTER" if there else "CREATE"
        secret = quote_text(verifier(credentials.user_password))
        await connection.execute(f"{verb} ROLE {role} LOGIN NOSUPERUSER PASSWORD {secret}")
        # CHECKPOINT and statistics of other sessions, without being a superuser.
        granted = "pg_checkpoint, pg_monitor" if await is_fifteen(connection) else "pg_monitor"
        await connection.execute(f"GRANT {granted} TO {role}")
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", credentials.database):
            await connection.execute(f"CREATE DATABASE {database} OWNER {role}")


async def settings_report(connection: Connection, names: list[str]) -> list[Reported]:
    rows = await connection.fetch(
        "SELECT name, setting, unit, vartype, pending_restart FROM pg_settings WHERE lower(name) = ANY($1)",
        [n.lower() for n in names],
    )
    return [Reported(r["name"], r["setting"], r["unit"], r["vartype"], r["pending_restart"]) for r in rows]


async def assert_as_asked(connection: Connection, version: str, settings: Mapping[str, str]) -> dict[str, str]:
    """What the server reports for each setting asked. Raises: Faulty naming what is not as asked."""
    number = int(await connection.fetchval("SELECT current_setting('server_version_num')"))
    if str(number // 10000) != version.partition(".")[0]:
        raise Faulty(f"The suite asks for Postgres {version}, and the server says it is {number // 10000}.")
    reported = await settings_report(connection, list(settings))
    wrong = not_in_effect(settings, reported)
    if wrong:
        raise Faulty("Not in effect: " + "; ".join(wrong) + ".", settings=wrong)
    return {r.name: str(await connection.fetchval("SELECT current_setting($1)", r.name)) for r in reported}


async def full_version(connection: Connection) -> str:
    return str(await connection.fetchval("SELECT current_setting('server_version')"))


async def ready(
    door: Door, given: DatabaseInput, credentials: Credentials, deadline: float, cancelled: asyncio.Event
) -> tuple[str, dict[str, str]]:
    """From "a process is there" to "it answers the load as asked". Shape: (version, settings as reported)."""
    await superuser_answers(door, deadline, cancelled)
    await create_load_role(door, credentials)
    await until_answers(door, credentials.database, deadline, cancelled)
    async with door.superuser() as connection:
        reported = await assert_as_asked(connection, given.version, given.settings)
        return await full_version(connection), reported
