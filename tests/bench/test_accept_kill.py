"""kill -9 of the API under load: what was acknowledged is stored; a mutation that acknowledges first is caught."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import pytest

from stackly import db
from stackly.accounts import service
from stackly.api.hooks import HookBook
from stackly.events.reads import rows
from stackly.ids import RepoId
from tests.bench.accept_load import Load
from tests.bench.accept_servers import OneKey

if TYPE_CHECKING:
    from tests.bench.conftest import Server

Serve = Callable[[str], Awaitable["Server"]]
# Under 2,000 deliveries, and in the middle of them.
KILLS = 3
EACH = 700


@pytest.fixture
async def hook(transactions: db.Transactions) -> tuple[str, bytes]:
    async with transactions() as session:
        account = await service.ensure_account(session)
        found, secret = await HookBook(transactions, OneKey()).create(session, account.id, RepoId("repo-1"))
    return f"/webhooks/github/{found}", secret


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
    async with transactions() as session:
        [bells] = await rows(session, "SELECT count(*) AS n FROM outbox WHERE key = 'repo-1'")
    assert bells["n"] > 0


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
