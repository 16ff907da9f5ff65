"""A push whose webhook was lost: every repository is looked at again every few minutes, each at its own moment."""

import zlib
from collections.abc import Iterable

from stackly import clock
from stackly.db import Transactions
from stackly.events import store as events
from stackly.events.model import Bell
from stackly.stacks import store as stacks

# Units: seconds. A lost webhook costs at most SLOTS * SLOT_S.
SLOT_S = 10.0
SLOTS = 30


def due(repos: Iterable[str], slot: int, slots: int = SLOTS) -> list[str]:
    """The repositories whose turn it is: each has one slot of the round, spread by its id."""
    return [repo for repo in repos if zlib.crc32(repo.encode()) % slots == slot % slots]


async def resync(transactions: Transactions) -> int:
    """Ring the repositories of this moment's slot. A sync that finds nothing changed writes nothing."""
    slot = int(clock.monotonic() // SLOT_S)
    async with transactions() as session:
        repos = due([r.id for r in await stacks.list_active_repos(session)], slot)
        for repo in repos:
            await events.ring(session, Bell.REPO_SYNC, repo)
    return len(repos)
