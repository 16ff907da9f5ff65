"""Outcomes that are on disk until the gateway has stored them."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Protocol, TypeVar

from agent.context import Cancelled
from stackly import clock, log
from stackly.errors import StacklyError, Unavailable
from stackly.temporal.steps import StepKey

_log = log.get("agent.steps")
T = TypeVar("T")
_BACKOFF_S = (0.2, 0.5, 1.0, 2.0)


class Stores(Protocol):
    """The part of agent.gateway.Gateway that stores outcomes."""

    async def end_step(self, key: StepKey, incarnation: str, outcome_json: str) -> bool: ...


async def patiently(call: Callable[[], Awaitable[T]], cancelled: asyncio.Event | None = None) -> T:
    """Ask until the gateway answers. Raises: Cancelled when the step is; other errors as they come."""
    attempt = 0
    while True:
        try:
            return await call()
        except Unavailable:
            if cancelled is not None and cancelled.is_set():
                raise Cancelled from None
            await asyncio.sleep(_BACKOFF_S[min(attempt, len(_BACKOFF_S) - 1)])
            attempt += 1


class Outbox:
    """Outcomes on disk until they are stored; an earlier life's are sent under its own incarnation."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory

    def put(self, key: StepKey, incarnation: str, outcome_json: str) -> Path:
        name = f"{clock.iso(clock.now())}-{key.step}.{key.attempt}.json".replace("/", "_").replace(":", "")
        path = self._directory / f"{incarnation}-{name}"
        part = path.with_suffix(".part")
        part.write_text(json.dumps({"key": asdict(key), "incarnation": incarnation, "outcome": outcome_json}))
        part.replace(path)
        return path

    async def send_leftovers(self, gateway: Stores) -> None:
        """Before the earlier life is reported gone."""
        for path in sorted(self._directory.glob("*.json")):
            try:
                told = json.loads(path.read_bytes())
                key, before, outcome = StepKey(**told["key"]), str(told["incarnation"]), str(told["outcome"])
            except (ValueError, KeyError, TypeError):
                path.unlink()
                continue
            stored = await store(gateway, key, before, outcome)
            _log.info("outcome.sent_late", run=key.run, step=key.step, stored=stored)
            path.unlink(missing_ok=True)


async def store(gateway: Stores, key: StepKey, incarnation: str, outcome_json: str) -> bool:
    """Ask until an answer comes. False: the row is not ours (any more)."""
    try:
        return await patiently(lambda: gateway.end_step(key, incarnation, outcome_json))
    except StacklyError as e:
        _log.warning("outcome.refused", run=key.run, step=key.step, reason=e.detail)
        return False
