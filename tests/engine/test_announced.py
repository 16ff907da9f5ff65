"""A webhook that is quicker than git: waited for once, looked for a while, and never taken for true."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from stackly.db import Json, Transactions
from stackly.engine import announcing
from stackly.events import announced_store as announcements
from stackly.events.announced_store import Announcement
from stackly.git.payloads import Announced
from tests.engine.sweeping import MAIN, Sky, plain, sky

SIDE = "refs/heads/side"
NONE = "0" * 40
GENEROUS = 60.0


@pytest.fixture
async def world(transactions: Transactions, database: str, tmp_path: Path) -> AsyncIterator[Sky]:
    """One stack is registered; its pushes have told of themselves."""
    async with sky(transactions, database, tmp_path) as made:
        await made.tree.pushed(plain("a", "a"))
        await made.attempted(2)
        await made.settled()
        assert len(await made.registry()) == 1
        yield made


def _patience(world: Sky, seconds: float) -> None:
    world.sync._source = replace(world.sync._source, patience=seconds)


async def _announced(world: Sky) -> list[Announcement]:
    async with world.transactions() as session:
        return await announcements.announced(session, world.repo_id, within=announcing.LOOKED_FOR)


async def _reasons(world: Sky) -> list[str]:
    rows = await world.rows("SELECT reason FROM deliveries WHERE event = 'push' AND reason IS NOT NULL ORDER BY reason")
    return [r["reason"] for r in rows]


async def _bells(world: Sky) -> list[Json]:
    return await world.rows("SELECT kind, available_at > clock_timestamp() AS later FROM outbox")


async def _later_is_now(world: Sky) -> None:
    await world.rows("UPDATE outbox SET available_at = clock_timestamp() RETURNING id")


async def test_a_push_told_before_git_serves_it_is_registered_by_that_ring(world: Sky) -> None:
    _patience(world, GENEROUS)
    await world.faults(behind_s=2)
    head = await world.tree.pushed(plain("b", "b"))
    await world.attempted(3)
    assert "repo-sync" in await world.settled()
    assert await world.processed() == {MAIN: head}
    assert len(await world.registry()) == 2
    assert await _reasons(world) == []
    assert await _bells(world) == []


async def test_what_git_does_not_serve_in_time_is_told_and_looked_for_again(world: Sky) -> None:
    before = await world.processed()
    side = await world.tree.pushed(plain("c", "c"), f"HEAD:{SIDE}")
    _patience(world, 0.3)
    await world.faults(behind_s=600)
    head = await world.tree.pushed(plain("b", "b"))
    await world.attempted(4)
    await world.settled()
    assert await world.processed() == before | {SIDE: side}, "the other branch does not wait for it"
    assert await _reasons(world) == [f"git does not serve main at {head[:7]} yet; it is looked for again"]
    assert await _bells(world) == [{"kind": "repo-sync", "later": True}]

    _patience(world, GENEROUS)
    async with asyncio.timeout(GENEROUS / 2):  # it was waited for; no sync does again
        await world.synced(world.repo_id)
    assert await _bells(world) == [{"kind": "repo-sync", "later": True}], "one ring is enough"

    await world.faults()
    await _later_is_now(world)
    await world.settled()
    assert await world.processed() == {MAIN: head, SIDE: side}
    assert await _reasons(world) == []


async def test_a_deletion_that_git_does_not_show_yet_is_waited_for_as_well(world: Sky) -> None:
    await world.tree.git("push", "-q", "origin", f"HEAD:{SIDE}")
    await world.attempted(3)
    await world.settled()
    _patience(world, GENEROUS)
    await world.faults(behind_s=2)
    await world.tree.git("push", "-q", "origin", f":{SIDE}")
    await world.attempted(4)
    await world.settled()
    gone = await world.rows("SELECT gone_since IS NOT NULL AS gone FROM repo_refs WHERE ref = :ref", ref=SIDE)
    assert gone == [{"gone": True}]


async def test_a_commit_that_is_pushed_over_is_not_waited_for_where_that_was_told(world: Sky) -> None:
    await world.tree.pushed(plain("b", "b"))
    await world.tree.git("reset", "-q", "--hard", "HEAD~1")
    head = await world.tree.pushed(plain("c", "c"))
    await world.attempted(4)
    assert [a.push.after for a in await _announced(world) if a.push.after != head] == []
    _patience(world, GENEROUS)
    async with asyncio.timeout(GENEROUS / 2):
        await world.settled()
    assert await world.processed() == {MAIN: head}


async def test_a_commit_that_never_comes_delays_one_sync_and_is_given_up(world: Sky) -> None:
    """It was pushed over, and nobody told that."""
    lost = await world.tree.pushed(plain("b", "b"))
    await world.attempted(3)
    await world.faults(drop=1)
    await world.tree.git("reset", "-q", "--hard", "HEAD~1")
    head = await world.tree.pushed(plain("c", "c"))
    _patience(world, 0.3)
    await world.settled()
    assert await world.processed() == {MAIN: head}, "git's truth is registered, whatever was told"
    assert len(await _reasons(world)) == 1

    _patience(world, GENEROUS)
    await world.rows("UPDATE deliveries SET received_at = received_at - interval '11 minutes' RETURNING guid")
    await _later_is_now(world)
    async with asyncio.timeout(GENEROUS / 2):
        await world.settled()
    assert await _bells(world) == [], "nobody rings for it any more"
    why = f"git did not serve main at {lost[:7]} within 10 minutes; the sweep takes what is there"
    assert await _reasons(world) == [why]
    assert await world.processed() == {MAIN: head}


async def test_only_fresh_deliveries_are_waited_for(world: Sky) -> None:
    await world.faults(behind_s=600)
    await world.tree.pushed(plain("b", "b"))
    await world.attempted(3)
    _patience(world, GENEROUS)
    await world.rows("UPDATE deliveries SET received_at = received_at - interval '3 minutes' RETURNING guid")
    async with asyncio.timeout(GENEROUS / 2):
        await world.settled()
    assert len(await _reasons(world)) == 1
    assert await _bells(world) == [{"kind": "repo-sync", "later": True}], "older ones are looked for still"


async def test_a_tag_is_nobodys_to_wait_for(world: Sky) -> None:
    await world.faults(behind_s=600)
    await world.tree.git("push", "-q", "origin", "HEAD:refs/tags/v1")
    await world.attempted(3)
    assert [a.push.ref for a in await _announced(world)] == [MAIN]


@pytest.mark.parametrize(
    ("age", "reason", "is_awaited"),
    [
        (timedelta(0), None, True),
        (announcing.FRESH - timedelta(seconds=1), None, True),
        (announcing.FRESH, None, False),
        (timedelta(0), "git does not serve it yet", False),
    ],
)
def test_a_delivery_is_waited_for_once_and_while_it_is_fresh(
    age: timedelta, reason: str | None, *, is_awaited: bool
) -> None:
    push = Announced(MAIN, NONE, "a" * 40)
    waiting = announcing.Waiting([Announcement("h", "g", push, age, reason)])
    assert bool(waiting.awaited) == is_awaited
    assert waiting.all == [push]


def test_looks_are_ever_farther_apart_and_few() -> None:
    age, looks = timedelta(seconds=5), 0
    while age < announcing.LOOKED_FOR:
        pause = announcing.next_look(age)
        assert pause >= min(age, announcing.FIRST_LOOK)
        age, looks = age + pause, looks + 1
    assert looks < 10
