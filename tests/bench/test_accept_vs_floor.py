"""The accept path against what one would write first: same Postgres, same load, five alternating rounds."""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import pytest

from stackly import db
from tests.bench.accept_load import Load
from tests.bench.accept_servers import SECRET
from tests.bench.connecting import connected, is_rung
from tests.bench.recording import record

if TYPE_CHECKING:
    from tests.bench.conftest import Server

Serve = Callable[[str], Awaitable["Server"]]
CONNECTIONS = 64
ROUNDS = 5
SECONDS = 2.0


@pytest.fixture
async def hook(transactions: db.Transactions) -> tuple[str, bytes]:
    return await connected(transactions)


async def _rate(serve: Serve, which: str, path: str, secret: bytes) -> float:
    server = await serve(which)
    try:
        await Load(server.port, path, secret).run(CONNECTIONS, 0.5)  # connections, statements, caches
        load = Load(server.port, path, secret)
        rate = await load.run(CONNECTIONS, SECONDS)
    finally:
        await server.kill()
    assert load.refused == 0
    return rate


@pytest.mark.bench
async def test_accepting_costs_no_more_than_the_naive_floor(
    serve: Serve, hook: tuple[str, bytes], transactions: db.Transactions
) -> None:
    path, secret = hook
    ratios, ours, floors = [], [], []
    for _ in range(ROUNDS):
        floors.append(await _rate(serve, "floor", path, SECRET))
        ours.append(await _rate(serve, "stackly", path, secret))
        ratios.append(ours[-1] / floors[-1])
    assert await is_rung(transactions)
    ratio = statistics.median(ratios)
    print(f"\naccept: {[round(r) for r in ours]}/s, floor: {[round(r) for r in floors]}/s, ratio {ratio:.2f}")  # noqa: T201 - a bench prints
    record(accept_vs_floor=round(ratio, 3))
    assert ratio >= 1.0
