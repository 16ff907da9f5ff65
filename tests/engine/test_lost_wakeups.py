"""E4, engine rule 7: whatever ends while something else queues, nobody waits for ever."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

import pytest
from sqlalchemy import text

from stackly import db
from stackly.control.dispatcher.outbox import HOLD, drain
from stackly.db import Session
from stackly.engine.admission import admit
from stackly.events import store as events
from stackly.runs import queue, service, store
from stackly.runs.model import Run, RunEvent
from stackly.spec.runs import RunKind
from tests.engine.rows import NIGHTLY, Rows, side_by_side

pytestmark = pytest.mark.timeout(1800 if NIGHTLY else 300)

PAIRS = 2000 if NIGHTLY else 40
LOOKS = 1000 if NIGHTLY else 20


async def current_runs(rows: Rows, count: int) -> list[Run]:
    """One admitted run on each of `count` states."""
    made = [await rows.asked(1, RunKind.DEPLOY, state=f"s{n}") for n in range(count)]
    await rows.drained()
    moved = [await rows.run(run.id) for run in made]
    assert all(run.is_admitted for run in moved)
    return moved


async def finish(session: Session, run: Run) -> None:
    held = await store.get_run(session, run.id, lock=True)
    if not held.is_terminal:  # else the push that crossed it took its place
        await store.transition(session, held, RunEvent.FAIL, at=await db.now(session))


async def test_no_run_waits_for_ever_when_ends_and_pushes_cross(rows: Rows) -> None:
    """Rung once each, with two dispatchers and no tick: what is queued is admitted when the outbox is empty."""
    before = await current_runs(rows, PAIRS)

    async def end(run: Run) -> None:
        async with rows.transactions() as session:
            await finish(session, run)

    async def push(n: int) -> None:
        await rows.asked(2, RunKind.DEPLOY, state=f"s{n}")

    over = asyncio.Event()

    async def dispatch(name: str) -> None:
        while not over.is_set():
            await drain(rows.replica(name))
            await asyncio.sleep(0)

    pairs = [job for n, run in enumerate(before) for job in (partial(end, run), partial(push, n))]
    async with asyncio.TaskGroup() as group:
        for name in ("a", "b"):
            group.create_task(dispatch(name))
        await side_by_side(pairs, at_once=8)
        over.set()
    await rows.drained()
    waiting = await rows.scalar("SELECT count(*) FROM operations WHERE status = 'queued'")
    assert waiting == 0, f"{waiting} of {PAIRS} wait for ever"
    assert await rows.scalar("SELECT count(*) FROM operations WHERE status = 'starting'") == PAIRS


async def _settle_by_key(session: Session, ids: Sequence[int]) -> None:
    """Mutation: every doorbell of the key goes, also those that were rung while it was acted upon."""
    await session.execute(
        text("DELETE FROM outbox WHERE (kind, key) IN (SELECT kind, key FROM outbox WHERE id = ANY(:ids))"),
        {"ids": list(ids)},
    )


async def _rung_while_admitting(rows: Rows, settle: Callable[[Session, Sequence[int]], Awaitable[None]]) -> bool:
    """A push commits after admission looked and before its doorbell is settled. Whether its run is admitted."""
    await rows.asked(1, state="first")
    async with rows.transactions() as session:
        bells = await events.claim(session, "slow", limit=10, hold=HOLD)
    await admit(rows.transactions, rows.account, rows.dispatch.book, rows.dispatch.limits)
    late = await rows.asked(1, state="late")
    async with rows.transactions() as session:
        await settle(session, [i for bell in bells for i in bell.ids])
    await rows.drained()
    return (await rows.run(late.id)).is_admitted


async def test_a_ring_during_the_act_is_heard(rows: Rows) -> None:
    assert await _rung_while_admitting(rows, events.settle)


async def test_settling_by_key_loses_a_ring(rows: Rows) -> None:
    """Negative control: why exactly the claimed ids are deleted."""
    assert not await _rung_while_admitting(rows, _settle_by_key)


@dataclass
class Look:
    """Lock the account and look for what may start, inside the transaction that ends or queues."""

    rows: Rows
    in_one_statement: bool

    async def __call__(self, session: Session, state: str) -> bool:
        if not self.in_one_statement:
            await queue.lock_account(session, self.rows.account)
            return state in {run.state for run in await queue.admissible(session, self.rows.account, limit=100_000)}
        found = await session.execute(
            text(
                "WITH locked AS MATERIALIZED (SELECT id FROM accounts WHERE id = :account FOR NO KEY UPDATE)"
                f" SELECT 1 FROM locked a JOIN operations o ON o.account = a.id WHERE o.state = :state"
                f" AND o.epoch IS NULL AND o.{store.OPEN} AND NOT EXISTS (SELECT 1 FROM operations c"
                f" WHERE c.state = o.state AND c.epoch IS NOT NULL AND c.{store.OPEN})"
            ),
            {"account": self.rows.account, "state": state},
        )
        return found.first() is not None


async def _missed(rows: Rows, look: Look) -> int:
    """How many pairs end with nobody having seen that the queued run may start."""
    before = await current_runs(rows, LOOKS)
    missed = 0

    async def pair(n: int, run: Run) -> None:
        nonlocal missed
        written = asyncio.Barrier(2)

        async def ends() -> bool:
            async with rows.transactions() as session:
                await finish(session, run)
                await written.wait()
                return await look(session, run.state)

        async def queues() -> bool:
            async with rows.transactions() as session:
                # Of another branch: a push of the same one would replace the run that is ending, and wait for its row.
                new = await rows.new_run(session, 2, RunKind.DEPLOY, state=f"s{n}", slot="b", cause="push:b")
                await service.create_run(session, new)
                await written.wait()
                return await look(session, run.state)

        missed += not any(await asyncio.gather(ends(), queues()))

    await side_by_side([partial(pair, n, run) for n, run in enumerate(before)], at_once=4)
    return missed


async def test_lock_then_look_sees_every_pair(rows: Rows) -> None:
    assert await _missed(rows, Look(rows, in_one_statement=False)) == 0


async def test_lock_and_look_in_one_statement_misses(rows: Rows) -> None:
    """Negative control: the statement's snapshot is older than its lock."""
    missed = await _missed(rows, Look(rows, in_one_statement=True))
    assert missed > 0
