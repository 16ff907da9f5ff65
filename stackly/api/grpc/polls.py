"""Agents' open calls that last: a bounded number each, and none goes on for an agent that counts no more."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager

from stackly import log
from stackly.agents.model import AgentRevoked
from stackly.errors import Exhausted, Unavailable

_log = log.get("gateway")
AT_ONCE = 8  # a site agent asks with four; after a reconnect the older ones may still be open
_LOOK_EVERY_S = 2.0

# Those of these agents, each with its certificate's serial, that count. Raises: Unavailable when it cannot be told.
StillCount = Callable[[Collection[tuple[str, str]]], Awaitable[set[tuple[str, str]]]]


class Polls:
    """Of one kind: polls for work, or uploads."""

    def __init__(self, still_count: StillCount, at_once: int = AT_ONCE) -> None:
        self._still_count = still_count
        self._at_once = at_once
        self._open: dict[tuple[str, str], set[asyncio.Timeout]] = {}

    @property
    def count(self) -> int:
        return sum(map(len, self._open.values()))

    @asynccontextmanager
    async def one(self, agent: str, serial: str) -> AsyncIterator[None]:
        """While one call is open. Raises: Exhausted; AgentRevoked as soon as the agent counts no more."""
        mine = self._open.setdefault((agent, serial), set())
        if len(mine) >= self._at_once:
            raise Exhausted(f"An agent has {self._at_once} such calls open at once at most.")
        try:
            async with asyncio.timeout(None) as end:
                mine.add(end)
                try:
                    yield
                finally:
                    mine.discard(end)
                    if not mine:
                        self._open.pop((agent, serial), None)
        except TimeoutError as e:
            raise AgentRevoked from e

    async def watch(self, every_s: float = _LOOK_EVERY_S) -> None:
        """Runs until it is cancelled."""
        while True:
            await asyncio.sleep(every_s)
            try:
                await self.look()
            except Unavailable:  # it cannot be told who counts: they go on
                continue
            except Exception:  # noqa: BLE001 - it goes on: without it a revoked agent would be served
                _log.exception("polls.not_judged")

    async def look(self) -> None:
        """End the polls of whoever counts no more. Raises: Unavailable."""
        counting = await self._still_count(list(self._open)) if self._open else set()
        for one in [one for one in self._open if one not in counting]:
            _log.info("calls.ended", agent=one[0], reason="revoked, or replaced by a newer certificate")
            for end in self._open[one]:
                end.reschedule(asyncio.get_running_loop().time())
