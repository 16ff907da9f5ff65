"""One act that fails unforeseen costs itself: logged, counted, tried again later; the process and the rest live."""

from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import TypeVar

from temporalio.service import RPCError

from stackly import log
from stackly.db import Transactions
from stackly.errors import StacklyError, Unavailable, of_os, reason_of
from stackly.events import troubles_store

_log = log.get("engine")
T = TypeVar("T")


def reason(error: BaseException) -> str:
    """What people are shown. Temporal's own sentence is passed on: it names the call that found nobody."""
    return (error.message or str(error.status)) if isinstance(error, RPCError) else reason_of(error)


def is_outage(error: BaseException) -> bool:
    """Something that all acts need is away: there is no use in trying the next one now."""
    if isinstance(error, OSError) and of_os(error) is not None:
        return True
    return isinstance(error, Unavailable | RPCError | TimeoutError | ConnectionError)


async def note(transactions: Transactions, act: str, about: str, error: BaseException) -> None:
    """Log and count a failure; never raises, for its caller has to go on."""
    foreseen = is_outage(error) or isinstance(error, StacklyError)
    if foreseen:
        _log.warning("act.failed", act=act, about=about, reason=reason(error))
        return
    _log.error("act.failed_unforeseen", act=act, about=about, exc_info=error)
    with suppress(Exception):  # Postgres may be what fails: the log has it
        async with transactions() as session:
            await troubles_store.note(session, act, about, reason(error))


async def one(transactions: Transactions, act: str, about: str, do: Callable[[], Awaitable[T]]) -> T | None:
    """None where it failed unforeseen, and that was noted. Raises: what says that Postgres or Temporal is away."""
    try:
        return await do()
    except Exception as e:
        if is_outage(e):
            raise
        await note(transactions, act, about, e)
        return None


async def each(
    transactions: Transactions,
    act: str,
    items: Iterable[T],
    do: Callable[[T], Awaitable[object]],
    name: Callable[[T], str] = str,
) -> int:
    """Do it for each item, whatever becomes of another. Returns how many gave something true. Raises: as `one`."""
    done = 0
    for item in items:
        done += bool(await one(transactions, act, name(item), partial(do, item)))
    return done
