"""kill -9 of the API under load: what was acknowledged is stored; a mutation that acknowledges first is caught."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import pytest

from stackly import db
from stackly.events.reads import rows
from tests.bench.accept_load import Load
from tests.bench.connecting import connected, is_rung

if TYPE_CHECKING:
    from tests.bench.conftest import Server

Serve = Callable[[str], Awaitable["Server"]]
# Under 2,000 deliveries, and in the middle of them.
KILLS = 3
EACH = 700


@pytest.fixture
async def hook(transactions: db.Transactions) -> tuple[str, bytes]:
    return await connected(transactions)


async def _acked_but_lost(
    serve: Serve, which: str, hook: tuple[str, bytes], transactions: db.Transactions, kills: int = KILLS
) -> tuple[int, int]:
    """Shape: (acknowledged, of these not in Postgres) over some kills in the middle of a load."""
    acked: list[str] = []
    for n in range(kills):
        server = await serve(which)
        load = Load(server.port, *hook)
        running = asyncio.create_task(load.run(64, 60))
        while len(load.acked) < EACH + 10 * n:  # noqa: ASYNC110 - the load is a plain counter
            await asyncio.sleep(0.001)
        await server.kill()
        load.stopping = True
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        acked += load.acked
    await asyncio.sleep(0.5)  # a statement that was on its way ends
    async with transactions() as session:
        stored = {row["guid"] for row in await rows(session, "SELECT guid FROM deliveries")}
    return len(acked), len(set(acked) - stored)


async def test_what_was_acknowledged_survives_a_kill(
    serve: Serve, hook: tuple[str, bytes], transactions: db.Transactions
) -> None:
    acked, lost = await _acked_but_lost(serve, "stackly", hook, transactions)
    assert acked >= KILLS * EACH
    assert lost == 0
    assert await is_rung(transactions)


async def test_an_acknowledgement_before_the_commit_is_caught(
    serve: Serve, hook: tuple[str, bytes], transactions: db.Transactions
) -> None:
    """Negative control: a kill finds the mutation, or the next: a commit is likely under way, no more than that."""
    for _ in range(5):
        acked, lost = await _acked_but_lost(serve, "ack-first", hook, transactions, kills=1)
        assert acked > 0
        if lost:
            return
    pytest.fail("a platform that acknowledges before its commit was not found out")
