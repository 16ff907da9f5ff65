"""Deliveries add up for ever: what a sync asks of them costs the same, and those of long ago go."""

import json
from typing import Any

import pytest
from sqlalchemy import text

from stackly import db
from stackly.events import announced_store, inbox, store

_BODY = {
    "ref": "refs/heads/main",
    "before": "a" * 40,
    "after": "b" * 40,
    "repository": {"id": 7},
    "pusher": {"name": "p"},
}
_FILL = """
INSERT INTO deliveries (hook, guid, event, body, body_sha256, status, repo, received_at)
SELECT 'hook', 'g' || n, CASE n % 100 WHEN 0 THEN 'repository' ELSE 'push' END, CAST(:body AS bytea), 'x', 'received',
       'repo-' || n % :repos, clock_timestamp() - n * interval '1 minute'
FROM generate_series(1, :count) AS n
"""


async def _filled(session: db.Session, count: int, repos: int) -> None:
    body = json.dumps(_BODY).encode()
    await session.execute(text(_FILL), {"body": body, "count": count, "repos": repos})
    await session.execute(text("ANALYZE deliveries"))


async def _read(session: db.Session, statement: str, **given: Any) -> int:
    """Pages that a statement looks at."""
    told = await session.execute(text(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}"), given)
    plan = told.scalar_one()[0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


async def test_the_pusher_is_found_among_a_hundred_times_as_many(transactions: db.Transactions) -> None:
    newest = (
        "SELECT body FROM deliveries WHERE repo = :repo AND event = 'push' AND status = 'received'"
        " AND length(body) < 262144 ORDER BY received_at DESC LIMIT 20"
    )
    pages = {}
    for count in (300, 30_000):
        async with transactions() as session:
            await session.execute(text("DELETE FROM deliveries"))
            await _filled(session, count, repos=count // 100)
            pages[count] = await _read(session, newest, repo="repo-1")
            assert await store.pusher_of(session, "repo-1", "refs/heads/main", "b" * 40) == "p"
    assert pages[30_000] <= 3 * pages[300] + 10, pages


@pytest.mark.parametrize(("days", "left"), [(30, 200), (1, 2)])
async def test_what_is_old_goes_unless_it_told_of_the_repository(
    transactions: db.Transactions, days: int, left: int
) -> None:
    async with transactions() as session:
        await _filled(session, 200, repos=2)
        await session.execute(text("UPDATE deliveries SET received_at = received_at - interval '2 days'"))
    async with transactions() as session:
        assert await inbox.prune(session, days=days) == 200 - left
    async with transactions() as session:
        kept = (await session.execute(text("SELECT event FROM deliveries"))).scalars().all()
        assert len(kept) == left
        assert kept.count("repository") == 2


async def test_a_push_of_another_repository_is_not_announced(transactions: db.Transactions) -> None:
    async with transactions() as session:
        await _filled(session, 4, repos=2)
        day = announced_store.REMEMBERED
        assert {a.guid for a in await announced_store.announced(session, "repo-1", within=day)} == {"g1", "g3"}
