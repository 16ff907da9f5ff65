"""A lease ends by a counter that stood still on the reaper's own clock, and by nothing else."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from stackly.db import Transactions
from stackly.runs import steps
from stackly.runs.steps import Seen, StepId
from stackly.stacks.versions import StateUnreadable, read_head
from stackly.temporal.steps import StepKey
from tests.api.grpc.rows import World, expect, sql

TTL = timedelta(seconds=30)
STEP = StepId("r", "t", "apply", 1)


async def _begun(transactions: Transactions, world: World, key: StepKey) -> None:
    await expect(transactions, key, world.site)
    async with transactions() as session:
        assert (await steps.begin(session, key, world.site, "one")).verdict is steps.Verdict.GRANTED


async def test_nobody_renews_what_is_only_expected(transactions: Transactions, world: World) -> None:
    await expect(transactions, world.key(), world.site)
    async with transactions() as session:
        assert await steps.beats(session) == {}
        assert not (await steps.renew(session, world.key(), world.site, "")).held


async def test_a_silent_step_is_gone_and_a_renewed_one_is_not(transactions: Transactions, world: World) -> None:
    dead, alive = world.key("apply"), world.key("boot")
    for key in (dead, alive):
        await _begun(transactions, world, key)
    seen = Seen[StepId](TTL)
    for at in (0.0, 10.0, 29.9):
        async with transactions() as session:
            await steps.renew(session, alive, world.site, "one")
            assert await steps.reap(session, seen, at) == []
    async with transactions() as session:
        await steps.renew(session, alive, world.site, "one")
        assert [s.step for s in await steps.reap(session, seen, 30.1)] == ["apply"]
    rows = await sql(transactions, "SELECT step, status FROM steps ORDER BY step")
    assert rows == [("apply", "gone"), ("boot", "running")]


async def test_a_beat_between_the_look_and_the_mark_saves_the_step(transactions: Transactions, world: World) -> None:
    key = world.key()
    await _begun(transactions, world, key)
    async with transactions() as session:
        seen = await steps.beats(session)
        await steps.renew(session, key, world.site, "one")
        assert await steps.mark_gone(session, seen) == []


def test_a_reaper_that_starts_counts_anew() -> None:
    assert Seen[StepId](TTL).silent({STEP: 7}, 1e9) == {}


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 20)), max_size=30))
def test_only_a_counter_that_stood_for_the_whole_ttl_is_silent(looks: list[tuple[int, float]]) -> None:
    seen, at, since, last = Seen[StepId](TTL), 0.0, 0.0, None
    for beat, passed in looks:
        at += passed
        if beat != last:
            last, since = beat, at
        assert (STEP in seen.silent({STEP: beat}, at)) == (at - since >= 30)


async def test_readers_are_fenced_by_their_own_epoch(transactions: Transactions, world: World) -> None:
    """A preview does not hold the state, and must not be refused for that."""
    await sql(transactions, "UPDATE operations SET kind = 'preview', status = 'planning', epoch = 3")
    stale, current = world.key("plan 1", test="", epoch=1), world.key("plan 2", test="", epoch=3)
    for key in (stale, current):
        await expect(transactions, key, world.site)
    async with transactions() as session:
        refused = await steps.begin(session, stale, world.site, "one")
        granted = await steps.begin(session, current, world.site, "one")
    assert (refused.verdict, granted.verdict) == (steps.Verdict.REFUSED, steps.Verdict.GRANTED)


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_noise_is_no_state(noise: bytes) -> None:
    try:
        read_head(noise)
    except StateUnreadable:
        return
    raise AssertionError(noise)
