"""One act that fails unforeseen costs itself: logged, counted, tried again later; the process and the rest live."""

from collections.abc import Awaitable, Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import TypeVar

from temporalio.service import RPCError, RPCStatusCode

from stackly import clock, log
from stackly.db import Transactions
from stackly.errors import StacklyError, Unavailable, of_os, reason_of
from stackly.events import troubles_store

_log = log.get("engine")
T = TypeVar("T")

# What nobody foresaw is rarely over soon, and each try fills the log.
UNFORESEEN_CAP = timedelta(minutes=15)

_FIRST_PAUSE_S = 15.0

# What Temporal says of one workflow or one call, and not of itself.
_OF_ONE = frozenset(
    {
        RPCStatusCode.INVALID_ARGUMENT,
        RPCStatusCode.NOT_FOUND,
        RPCStatusCode.ALREADY_EXISTS,
        RPCStatusCode.PERMISSION_DENIED,
        RPCStatusCode.FAILED_PRECONDITION,
        RPCStatusCode.OUT_OF_RANGE,
        RPCStatusCode.UNIMPLEMENTED,
        RPCStatusCode.INTERNAL,
        RPCStatusCode.DATA_LOSS,
        RPCStatusCode.UNKNOWN,
    }
)
# One that gets no answer is not yet an outage: each such try costs a deadline.
_IN_A_ROW = 3


def reason(error: BaseException) -> str:
    """What people are shown. Temporal's own sentence is passed on: it names the call that found nobody."""
    return (error.message or str(error.status)) if isinstance(error, RPCError) else reason_of(error)


def is_outage(error: BaseException) -> bool:
    """Something that all acts need is away: there is little use in trying the next one now."""
    if isinstance(error, RPCError):
        return error.status not in _OF_ONE
    if isinstance(error, OSError) and of_os(error) is not None:
        return True
    return isinstance(error, Unavailable | TimeoutError | ConnectionError)


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


@dataclass(slots=True)
class Delays:
    """What failed unforeseen is left alone ever longer, where no row of its own says until when.

    Shape: lives as long as its process; the next one tries at once. `now` is a monotonic clock. Units: seconds.
    """

    now: Callable[[], float] = clock.monotonic
    _until: dict[str, tuple[float, float]] = field(default_factory=dict)

    def is_due(self, name: str) -> bool:
        return self._until.get(name, (0.0, 0.0))[0] <= self.now()

    def failed(self, name: str) -> None:
        pause = min(self._until.get(name, (0.0, _FIRST_PAUSE_S / 2))[1] * 2, UNFORESEEN_CAP.total_seconds())
        self._until[name] = (self.now() + pause, pause)

    def went_well(self, name: str) -> None:
        self._until.pop(name, None)

    def keep(self, names: Collection[str]) -> None:
        """What is not looked at any more is forgotten."""
        for name in self._until.keys() - set(names):
            del self._until[name]


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
    """Do it for each item, whatever becomes of another. Returns how many gave something true.

    Raises: as `one`, once all were tried, or so many in a row failed so that there is no use in going on.
    """
    done, in_a_row, outage = 0, 0, None
    for item in items:
        try:
            done += bool(await one(transactions, act, name(item), partial(do, item)))
            in_a_row = 0
        except Exception as e:  # noqa: BLE001 - raised below
            outage, in_a_row = outage or e, in_a_row + 1
            if in_a_row == _IN_A_ROW:
                break
    if outage is not None:
        raise outage
    return done
