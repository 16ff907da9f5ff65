"""The outbox loop: claim, act once per key, delete exactly what was claimed."""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta

from temporalio.client import Client

from stackly import log
from stackly.control.dispatcher.bells import ACTS
from stackly.db import Transactions
from stackly.engine import acts
from stackly.engine.admission import Limits, admit
from stackly.engine.policies import PolicyBook
from stackly.errors import Invalid, StacklyError
from stackly.events import store
from stackly.events.model import Bell, Doorbell

_log = log.get("engine")

# Longer than any act's deadline: another replica takes a doorbell over only when its claimant is dead.
HOLD = timedelta(seconds=15)
BATCH = 100
AT_ONCE = 16
BACKOFF_FIRST = timedelta(milliseconds=500)
BACKOFF_CAP = timedelta(seconds=30)


@dataclass(frozen=True)
class Dispatch:
    """What every loop of a dispatcher needs. Shape: `name` tells replicas apart."""

    name: str
    transactions: Transactions
    client: Client
    book: PolicyBook
    limits: Limits = field(default_factory=Limits)
    unreconciled: acts.Delays = field(default_factory=acts.Delays)


async def drain(dispatch: Dispatch) -> int:
    """Act on what is due now. Returns how many doorbells were claimed."""
    async with dispatch.transactions() as session:
        bells = await store.claim(session, dispatch.name, limit=BATCH, hold=HOLD)
    if not bells:
        return 0
    room = asyncio.Semaphore(AT_ONCE)

    async def one(bell: Doorbell) -> None:
        async with room:
            await _act(dispatch, bell)

    await asyncio.gather(*(one(bell) for bell in bells))
    return len(bells)


async def _act(dispatch: Dispatch, bell: Doorbell) -> None:
    """Whatever happens costs this doorbell alone. What cannot even be put off comes back when its hold ends."""
    try:
        await _ring(dispatch, bell)
        async with dispatch.transactions() as session:
            await store.settle(session, bell.ids)
    except Exception as e:  # noqa: BLE001 - one doorbell may not end the dispatcher, nor hold up another
        await acts.note(dispatch.transactions, f"doorbell {_kind(bell)}", bell.key, e)
        await _later(dispatch, bell, e)


async def _ring(dispatch: Dispatch, bell: Doorbell) -> None:
    if bell.kind == Bell.ADMIT:
        await admit(dispatch.transactions, bell.key, dispatch.book, dispatch.limits)
        return
    act = ACTS.get(bell.kind)
    if act is None:
        raise Invalid(f"No doorbell of the kind {bell.kind!r} is known to this version; a newer one may know it.")
    await act(dispatch.client, bell.key)


def _kind(bell: Doorbell) -> str:
    """Shape: of a fixed few, for it becomes a metric's label."""
    return bell.kind if bell.kind in set(Bell) else "unknown"


async def _later(dispatch: Dispatch, bell: Doorbell, error: Exception) -> None:
    """A back-off of its own for every key: one that cannot be reached holds no other up."""
    cap = BACKOFF_CAP if acts.is_outage(error) else acts.UNFORESEEN_CAP
    delay = min(BACKOFF_FIRST * 2 ** min(bell.attempts, 11), cap)
    try:
        async with dispatch.transactions() as session:
            await store.postpone(session, bell.ids, by=delay, reason=acts.reason(error))
    except (StacklyError, OSError) as e:
        _log.warning("doorbell.not_postponed", kind=bell.kind, key=bell.key, reason=acts.reason(e))
        return
    _log.warning("doorbell.postponed", kind=bell.kind, key=bell.key, seconds=delay.total_seconds())
