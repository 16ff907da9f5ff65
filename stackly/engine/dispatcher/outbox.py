"""The outbox loop: claim, act once per key, delete exactly what was claimed."""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta

from temporalio.client import Client
from temporalio.service import RPCError

from stackly import log
from stackly.db import Transactions
from stackly.engine.admission import Limits, admit
from stackly.engine.dispatcher.bells import ACTS
from stackly.engine.policies import PolicyBook
from stackly.errors import StacklyError
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
    try:
        if bell.kind == Bell.ADMIT:
            await admit(dispatch.transactions, bell.key, dispatch.book, dispatch.limits)
        else:
            await ACTS[bell.kind](dispatch.client, bell.key)
    except (RPCError, StacklyError, TimeoutError) as e:
        await _later(dispatch, bell, str(e))
        return
    async with dispatch.transactions() as session:
        await store.settle(session, bell.ids)


async def _later(dispatch: Dispatch, bell: Doorbell, reason: str) -> None:
    """A back-off of its own for every key: one that cannot be reached holds no other up."""
    delay = min(BACKOFF_FIRST * 2 ** min(bell.attempts, 10), BACKOFF_CAP)
    _log.warning("doorbell.postponed", kind=bell.kind, key=bell.key, seconds=delay.total_seconds(), reason=reason)
    async with dispatch.transactions() as session:
        await store.postpone(session, bell.ids, by=delay, reason=reason)
