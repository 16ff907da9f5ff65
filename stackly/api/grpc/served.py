"""A gateway records that it serves: only then does an agent's silence mean something (engine rule 18)."""

import asyncio

from stackly import log
from stackly.agents import store as agents
from stackly.db import Transactions
from stackly.errors import Unavailable

_log = log.get("gateway")
EVERY_S = 1.0


async def record(transactions: Transactions) -> None:
    """Runs until it is cancelled. Without Postgres no heartbeat could be stored either: nothing is recorded then."""
    while True:
        try:
            async with transactions() as session:
                await agents.note_served(session)
        except Unavailable:
            pass
        except Exception:  # noqa: BLE001 - it goes on: without it no silence would count
            _log.exception("served.not_recorded")
        await asyncio.sleep(EVERY_S)
