"""Activities that take long beat while they work: a worker that was killed under one costs seconds, not its timeout."""

import asyncio
import functools
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, ParamSpec, TypeVar

from temporalio import activity

from stackly.temporal.timings import BEAT_EVERY

P = ParamSpec("P")
T = TypeVar("T")


def beating(method: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Beat from the event loop: it says that this worker lives, and that its loop turns."""

    @functools.wraps(method)
    async def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        if not activity.in_activity():
            return await method(*args, **kwargs)
        beats = asyncio.create_task(_beat())
        try:
            return await method(*args, **kwargs)
        finally:
            beats.cancel()

    return wrapped


async def _beat() -> None:
    with suppress(RuntimeError):  # the activity is over
        while True:
            activity.heartbeat()
            await asyncio.sleep(BEAT_EVERY.total_seconds())
