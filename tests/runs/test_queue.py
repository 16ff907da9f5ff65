"""Locks of the queue."""

import asyncio

from stackly.runs import queue
from stackly.stacks import store as stacks
from tests.engine.rows import Rows


async def test_admission_does_not_hold_up_what_is_written_for_the_account(rows: Rows) -> None:
    """A state refers to its account; it is made while admission has the account's row. Red with FOR UPDATE."""
    async with rows.transactions() as admitting:
        await queue.lock_account(admitting, rows.account)
        async with asyncio.timeout(5), rows.transactions() as session:
            made = await stacks.ensure_state(session, rows.code, "meanwhile")
        assert made.account == rows.account


async def test_admissions_of_one_account_take_turns(rows: Rows) -> None:
    second = asyncio.Event()

    async def admit_too() -> None:
        async with rows.transactions() as session:
            await queue.lock_account(session, rows.account)
            second.set()

    async with rows.transactions() as admitting:
        await queue.lock_account(admitting, rows.account)
        waiting = asyncio.create_task(admit_too())
        await asyncio.sleep(0.2)
        assert not second.is_set()
    await waiting
