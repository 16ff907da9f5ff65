"""Short connections to the server under test, by TCP and password only."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import asyncpg

from agent.context import Credentials
from stackly import clock
from stackly.errors import Unavailable

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
CONNECT_S = 10.0
_MAINTENANCE = "postgres"


@dataclass(frozen=True, slots=True)
class Address:
    host: str
    port: int


class Door:
    """Opens connections as the superuser or as the load role."""

    def __init__(self, address: Address, credentials: Credentials) -> None:
        self.address = address
        self._credentials = credentials

    @property
    def load_role(self) -> str:
        return self._credentials.user

    @asynccontextmanager
    async def superuser(self, database: str = _MAINTENANCE) -> AsyncIterator[Connection]:
        opened = self._open(self._credentials.superuser, self._credentials.superuser_password, database)
        async with opened as connection:
            yield connection

    @asynccontextmanager
    async def load(self, database: str) -> AsyncIterator[Connection]:
        async with self._open(self._credentials.user, self._credentials.user_password, database) as connection:
            yield connection

    @asynccontextmanager
    async def _open(self, user: str, password: str, database: str) -> AsyncIterator[Connection]:
        try:
            # Every argument is given: asyncpg reads PGHOST and its like where one is not.
            connection = await asyncpg.connect(
                host=self.address.host,
                port=self.address.port,
                user=user,
                password=password,
                database=database,
                ssl=False,
                timeout=CONNECT_S,
                statement_cache_size=0,
            )
        except (OSError, TimeoutError, asyncpg.PostgresError) as error:
            where = f"{self.address.host}:{self.address.port}"
            raise Unavailable(f"The database at {where} does not take {user}: {error}") from error
        try:
            yield connection
        finally:
            await connection.close(timeout=CONNECT_S)


async def until_answers(door: Door, database: str, deadline: float, cancelled: asyncio.Event) -> Any:
    """Ask `SELECT 1` through TCP as the load role until it answers.

    Units: `deadline` on clock.monotonic(). Raises: Unavailable with the last refusal.
    """
    while True:
        try:
            async with door.load(database) as connection:
                return await connection.fetchval("SELECT 1")
        except Unavailable:
            if clock.monotonic() >= deadline or cancelled.is_set():
                raise
        await asyncio.sleep(0.1)
