"""`python -m stackly.control.dispatcher`: outbox, admission ticks, reconciler, reaper, sweeps. Any number of them."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from functools import partial

from stackly import db, ids, log
from stackly.agents import service as agents
from stackly.control.dispatcher.outbox import BATCH, Dispatch, drain
from stackly.control.dispatcher.reaper import Reaper
from stackly.control.dispatcher.schedules import ensure_sweep
from stackly.control.reconciler import expire, reconcile, sweep_obligations
from stackly.db import Transactions
from stackly.engine import acts, loose
from stackly.engine.admission import Limits, admit
from stackly.engine.policies import PolicyBook
from stackly.engine.process import account_id, settings_of, until_signal
from stackly.events import inbox
from stackly.runs import queue
from stackly.secrets import Keyring
from stackly.settings import Settings
from stackly.stacks import code_store
from stackly.temporal.client import client

_log = log.get("engine")

# Units: seconds between looks. Doorbells wake the outbox loop at once; these are for what no doorbell told.
OUTBOX_S = 1.0
TICK_S = 2.0
REAP_S = 2.0
SWEEP_S = 10.0
RECONCILE_S = 15.0
SCHEDULES_S = 60.0
PRUNE_S = 3600.0
# After a failure: Postgres or Temporal is asked again soon, what nobody foresaw ever more seldom.
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 5.0
UNFORESEEN_PAUSE_S = 60.0
LIVE_DAYS = 7
DELIVERY_DAYS = 30
CACHE_DAYS = 30


async def _forever(
    transactions: Transactions,
    what: str,
    every: float,
    step: Callable[[], Awaitable[object]],
    rung: asyncio.Event | None = None,
) -> None:
    """Run `step` again and again; whatever it raises is noted, and its next turn comes after a growing pause."""
    pause = FIRST_PAUSE_S
    while True:
        try:
            await step()
        except Exception as e:  # noqa: BLE001 - no loop may end the others
            await acts.note(transactions, f"loop {what}", "", e)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_S if acts.is_outage(e) else UNFORESEEN_PAUSE_S)
        else:
            pause = FIRST_PAUSE_S
        if rung is None:
            await asyncio.sleep(every)
            continue
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(rung.wait(), every)
        rung.clear()


async def _listen(url: str, rung: asyncio.Event) -> None:
    """Postgres rings when a doorbell is written. A lost connection costs a second: the loop looks by itself."""
    while True:
        with contextlib.suppress(Exception):  # a listener must never end the dispatcher; polling goes on meanwhile
            lost = asyncio.Event()
            connection = await db.listen(url, ["outbox"], lambda _c, _p: rung.set())
            connection.add_termination_listener(lambda _c, lost=lost: lost.set())
            await lost.wait()
        await asyncio.sleep(1)


async def _tick(dispatch: Dispatch) -> None:
    """Windows open, limits free up: what is due is looked at without anybody ringing."""
    async with dispatch.transactions() as session:
        accounts = await queue.accounts_with_due(session)
    await acts.each(
        dispatch.transactions,
        "tick",
        accounts,
        lambda account: admit(dispatch.transactions, account, dispatch.book, dispatch.limits),
    )


async def _drain_all(dispatch: Dispatch) -> None:
    while await drain(dispatch) >= BATCH:
        pass


async def _sweep(dispatch: Dispatch) -> None:
    """Several acts that need nothing of each other: one that fails holds no other up."""

    async def offline() -> None:
        async with dispatch.transactions() as session:
            await agents.mark_offline(session)

    await _all(
        dispatch.transactions,
        {
            "sweep obligations": lambda: sweep_obligations(dispatch),
            "sweep expired": lambda: expire(dispatch),
            "sweep loose": lambda: loose.sweep(dispatch.transactions),
            "sweep agents": offline,
        },
    )


async def _all(transactions: Transactions, steps: Mapping[str, Callable[[], Awaitable[object]]]) -> None:
    for what, step in steps.items():
        await acts.one(transactions, what, "", step)


async def _reap(reaper: Reaper) -> None:
    try:
        await reaper.look()
    except Exception:
        reaper.forget()
        raise


async def _prune(transactions: Transactions) -> None:
    async def live() -> None:
        async with transactions() as session:
            await queue.prune_live(session, days=LIVE_DAYS)

    async def deliveries() -> None:
        async with transactions() as session:
            await inbox.prune(session, days=DELIVERY_DAYS)

    async def cache() -> None:
        async with transactions() as session:
            await code_store.expire(session, days=CACHE_DAYS)

    await _all(transactions, {"prune live": live, "prune deliveries": deliveries, "prune cache": cache})


async def run(settings: Settings) -> None:
    """All loops, until a signal."""
    engine = db.engine(settings.database_url, size=settings.database_pool, application="stackly-dispatcher")
    transactions = db.transactions(engine)
    keys = Keyring(settings.keyring)
    account = await account_id(transactions, settings.account)
    rung = asyncio.Event()
    async with client(settings.temporal_address, settings.temporal_namespace, keys, account) as temporal:
        name = f"{socket.gethostname()}-{ids.new_id()}"
        book = PolicyBook(settings.policy_folders)
        dispatch = Dispatch(name, transactions, temporal, book, Limits(settings.max_starting * 4))
        reaper = Reaper(transactions)
        forever = partial(_forever, transactions)
        every = timedelta(seconds=settings.sweep_every_s)
        async with asyncio.TaskGroup() as group:
            loops = [
                group.create_task(_listen(settings.database_url, rung)),
                group.create_task(forever("outbox", OUTBOX_S, lambda: _drain_all(dispatch), rung)),
                group.create_task(forever("tick", TICK_S, lambda: _tick(dispatch))),
                group.create_task(forever("reaper", REAP_S, lambda: _reap(reaper))),
                group.create_task(forever("sweep", SWEEP_S, lambda: _sweep(dispatch))),
                group.create_task(forever("reconciler", RECONCILE_S, lambda: reconcile(dispatch))),
                group.create_task(forever("schedules", SCHEDULES_S, lambda: ensure_sweep(temporal, account, every))),
                group.create_task(forever("prune", PRUNE_S, lambda: _prune(transactions))),
            ]
            _log.info("dispatcher.started", name=name)
            await until_signal()
            for loop in loops:
                loop.cancel()
    await engine.dispose()


def main() -> None:
    asyncio.run(run(settings_of("dispatcher")))


if __name__ == "__main__":
    main()
