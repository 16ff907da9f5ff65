"""engine rules 16 and 17: what a test holds, and who takes it down."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from stackly import db
from stackly.control.reconciler import sweep_obligations
from stackly.db import Session
from stackly.engine.activities.runs import Runs
from stackly.engine.activities.tests import Tests
from stackly.engine.contracts.control import Claim
from stackly.errors import Exhausted
from stackly.runs import steps
from stackly.runs.model import Run
from stackly.runs.steps import Verdict
from stackly.suites import store as suites
from stackly.teardown import service
from stackly.teardown import store as obligations
from stackly.teardown.model import Obligation
from stackly.temporal.steps import StepKey
from tests.engine.rows import Rows

HELD = ("leases", "obligations", "stack_states WHERE test IS NOT NULL", "tests WHERE state IS NOT NULL")


async def loading(rows: Rows, state: str = "default") -> Run:
    """A benchmark whose test `tpcb` was begun and holds nothing yet."""
    run = await rows.asked(1, state=state)
    await rows.drained()
    await Runs(rows.transactions, rows.dispatch.book).begin(Claim(run.id, "w"))
    await Tests(rows.transactions).begin_test(Claim(run.id, "w", "tpcb"))
    return await rows.run(run.id)


async def held(rows: Rows) -> list[int]:
    return [await rows.scalar(f"SELECT count(*) FROM {what}") for what in HELD]


async def reserve(rows: Rows, run: Run) -> Any:
    return await Tests(rows.transactions).reserve(Claim(run.id, "w", "tpcb"))


async def obligation_of(session: Session) -> Obligation:
    state = (await session.execute(text("SELECT state FROM obligations"))).scalar_one()
    found = await obligations.find_open(session, state)
    assert found is not None
    return found


async def test_a_test_takes_everything_at_once_and_once(rows: Rows) -> None:
    run = await loading(rows)
    assert await held(rows) == [0, 0, 0, 0]
    first, again = await asyncio.gather(reserve(rows, run), reserve(rows, run))
    assert first == again
    assert first.ready
    assert await held(rows) == [1, 1, 1, 1]


async def test_a_test_that_cannot_have_a_network_holds_nothing(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    run = await loading(rows)

    async def none_left(*_: Any, **__: Any) -> None:
        raise Exhausted("no block is free")

    monkeypatch.setattr(suites, "lease_network", none_left)
    with pytest.raises(Exception, match="no block is free"):
        await reserve(rows, run)
    assert await held(rows) == [0, 0, 0, 0]


async def test_quota_counts_tests_and_the_next_waits_with_empty_hands(rows: Rows) -> None:
    await rows.execute("UPDATE accounts SET max_concurrent = 1")
    first, second = await loading(rows, "a"), await loading(rows, "b")
    answers = await asyncio.gather(reserve(rows, first), reserve(rows, second))
    assert sorted(a.ready for a in answers) == [False, True]
    assert await held(rows) == [1, 1, 1, 1]


async def test_one_open_destroy_a_state_and_the_old_run_is_refused(rows: Rows) -> None:
    run = await loading(rows)
    reserved = await reserve(rows, run)
    key = StepKey(run.id, "tpcb", "apply", 1, reserved.epoch)
    async with rows.transactions() as session:
        await steps.expect(session, key, "pretend", {})
        assert (await steps.begin(session, key, "pretend", "p")).verdict is Verdict.GRANTED
        obligation = await obligation_of(session)

    async def ask(cause: str) -> str:
        async with rows.transactions() as session:
            made = await service.request_destroy(session, obligation, cause=cause, reason="test")
            assert made is not None
            return made.id

    asked = set(await asyncio.gather(ask("test"), ask("sweep")))
    assert len(asked) == 1
    await rows.drained()
    destroy = await rows.run(asked.pop())
    epoch = reserved.epoch + 1
    assert destroy.epoch == epoch
    async with rows.transactions() as session:
        late = StepKey(run.id, "tpcb", "boot", 1, reserved.epoch)
        await steps.expect(session, late, "pretend", {})
        assert (await steps.begin(session, late, "pretend", "p")).verdict is Verdict.REFUSED
        renewed = await steps.renew(session, key, "pretend", "p")
        await Runs(rows.transactions, rows.dispatch.book).begin(Claim(destroy.id, "w"))
        own = StepKey(destroy.id, "", "destroy", 1, epoch)
        await steps.expect(session, own, "pretend", {})
        assert (await steps.begin(session, own, "pretend", "p")).verdict is Verdict.GRANTED
    assert (renewed.held, renewed.cancel_requested) == (False, False)


async def test_the_sweeper_leaves_a_live_test_alone_and_destroys_what_nobody_does(rows: Rows) -> None:
    run = await loading(rows)
    await reserve(rows, run)
    await rows.execute("UPDATE obligations SET due_at = clock_timestamp()")
    assert await sweep_obligations(rows.dispatch) == 0
    assert await rows.scalar("SELECT due_at > clock_timestamp() FROM obligations")
    await rows.execute("UPDATE obligations SET due_at = clock_timestamp()")
    await rows.execute("UPDATE tests SET status = 'failed'")
    assert await sweep_obligations(rows.dispatch) == 1
    assert await sweep_obligations(rows.dispatch) == 0


async def test_a_destroy_that_failed_is_asked_for_later_each_time(rows: Rows) -> None:
    run = await loading(rows)
    await reserve(rows, run)
    waits: list[timedelta] = []
    for n in range(3):
        async with rows.transactions() as session:
            obligation = await obligation_of(session)
            destroy = await service.request_destroy(session, obligation, cause=f"try {n}", reason="test")
            assert destroy is not None
            at = await db.now(session)
            await service.failed(session, destroy, error="still there", at=at)
            waits.append((await obligation_of(session)).due_at - at)
        async with rows.transactions() as session:
            await session.execute(text("UPDATE operations SET status = 'failed' WHERE id = :i"), {"i": destroy.id})
    assert waits == sorted(set(waits))
