"""Who waits for news of a run: one LISTEN connection wakes every stream of this process."""

import asyncio
import contextlib
from typing import Any

import asyncpg

from stackly import db, log

_log = log.get("api")
CHANNEL = "run"
_RECONNECT_S = 2.0


class RunFeed:
    """NOTIFY is lost when nobody listens, so `wait` also returns by itself: streams read rows, not messages."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._task: asyncio.Task[None] | None = None
        self.closing = False

    async def start(self) -> None:
        self._task = asyncio.create_task(self._listen(), name="run-feed")

    async def close(self) -> None:
        self.closing = True
        for events in self._waiting.values():
            for event in events:
                event.set()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def wait(self, run: str, *, timeout_s: float) -> None:
        """Return when the run was rung, or after `timeout_s`."""
        event = asyncio.Event()
        events = self._waiting.setdefault(run, set())
        events.add(event)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await event.wait()
        finally:
            events.discard(event)
            if not events:
                self._waiting.pop(run, None)

    def heard(self, _channel: str, run: str) -> None:
        for event in self._waiting.get(run, ()):
            event.set()

    async def _listen(self) -> None:
        while True:
            connection: asyncpg.Connection[Any] | None = None
            try:
                connection = await db.listen(self._url, [CHANNEL], self.heard)
                gone = asyncio.Event()
                connection.add_termination_listener(lambda _, gone=gone: gone.set())
                await gone.wait()
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as e:
                _log.warning("feed.disconnected", error=type(e).__name__)
                await asyncio.sleep(_RECONNECT_S)
            finally:
                if connection is not None:
                    connection.terminate()
