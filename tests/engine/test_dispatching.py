"""E3 and engine rules 3, 5, 6, 20: doorbells are acted upon once, by whoever lives."""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from sqlalchemy import text

from stackly.control.dispatcher.outbox import HOLD, drain
from stackly.db import Session
from stackly.engine.contracts.control import RefChange
from stackly.engine.moves import Passage
from stackly.engine.pushes import Intake, Pushed
from stackly.engine.registration import register
from stackly.events import store as events
from stackly.events.model import Bell, Doorbell
from stackly.spec.runs import RunKind, RunStatus
from stackly.stacks import store as stacks
from stackly.stacks.store import RefMoved
from tests.engine.rows import Rows

BELLS = 30


async def _ring(rows: Rows, count: int = BELLS) -> None:
    async with rows.transactions() as session:
        for n in range(count):
            await events.ring(session, Bell.RUN_START, f"r{n}")
            await events.ring(session, Bell.RUN_START, f"r{n}")


async def test_a_run_that_was_committed_is_started_whoever_dies(rows: Rows) -> None:
    """Killed between commit and dispatch: the doorbell is a row, and another dispatcher takes it over."""
    await _ring(rows)
    async with rows.transactions() as session:
        held = await events.claim(session, "dead", limit=1000, hold=HOLD)
    assert len(held) == BELLS
    await drain(rows.replica("alive"))
    assert rows.temporal.started.total() == 0, "whoever claimed them may still act"
    await rows.execute("UPDATE outbox SET available_at = available_at - CAST(:hold AS interval)", hold=HOLD)
    await rows.drained(rows.replica("alive"))
    assert rows.temporal.started == {f"run/r{n}": 1 for n in range(BELLS)}
    assert await rows.scalar("SELECT count(*) FROM outbox") == 0


async def _two_drain(rows: Rows) -> None:
    await asyncio.gather(*(rows.drained(rows.replica(name)) for name in "ab"))


async def test_two_dispatchers_start_each_workflow_once(rows: Rows) -> None:
    await _ring(rows)
    await _two_drain(rows)
    assert rows.temporal.started == {f"run/r{n}": 1 for n in range(BELLS)}


@dataclass
class _ClaimNothing:
    """Mutation: looks at the doorbells and does not take them; nobody acts before both have looked once."""

    looked: asyncio.Barrier = field(default_factory=lambda: asyncio.Barrier(2))
    looks: int = 0

    async def __call__(self, session: Session, claimant: str, *, limit: int, hold: timedelta) -> list[Doorbell]:
        rows = await session.execute(text("SELECT min(id) AS id, kind, key FROM outbox GROUP BY kind, key"))
        self.looks += 1
        if self.looks <= self.looked.parties:
            await self.looked.wait()
        return [Doorbell(r.kind, r.key, (r.id,), 1) for r in rows]


async def test_without_claims_workflows_are_asked_for_twice(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control."""
    monkeypatch.setattr(events, "claim", _ClaimNothing())
    await _ring(rows)
    await _two_drain(rows)
    assert max(rows.temporal.started.values()) > 1


async def test_one_workflow_that_cannot_be_reached_blocks_no_other(rows: Rows) -> None:
    rows.temporal.away.add("run/r0")
    await _ring(rows)
    await drain(rows.dispatch)
    assert set(rows.temporal.started) == {f"run/r{n}" for n in range(1, BELLS)}
    left = await rows.scalar("SELECT array_agg(DISTINCT key) FROM outbox WHERE available_at > clock_timestamp()")
    assert left == ["r0"]
    assert "Timeout" in await rows.scalar("SELECT min(reason) FROM outbox")
    rows.temporal.away.clear()
    await rows.execute("UPDATE outbox SET available_at = clock_timestamp()")
    await rows.drained()
    assert rows.temporal.started["run/r0"] == 1


async def test_two_attempts_of_one_sync_register_once(rows: Rows) -> None:
    async with rows.transactions() as session:
        repo = await stacks.get_repo(session, rows.repo_id)
    change = RefChange(rows.repo_id, "refs/heads/main", "d" * 40, "", 0)
    pushed = Pushed(repo, change, author="a", committer="a", pusher=None, subject="s")

    async def attempt() -> bool:
        try:
            async with rows.transactions() as session:
                await register(session, pushed, Intake(Passage((), {}, (), ())))
        except RefMoved:
            return False
        return True

    assert sorted(await asyncio.gather(attempt(), attempt())) == [False, True]
    assert not await attempt()
    assert await rows.scalar("SELECT count(*) FROM events WHERE name = 'push_processed'") == 1
    assert await rows.scalar("SELECT generation FROM repo_refs") == 1


async def test_a_push_supersedes_no_destroy_and_no_person(rows: Rows) -> None:
    pushed = await rows.asked(1)
    person = await rows.asked(1, slot=None, cause="person:ada")
    destroy = await rows.asked(1, RunKind.DESTROY, slot=None, cause="sweep")
    newer = await rows.asked(2)
    statuses = {
        name: (await rows.run(run.id)).status
        for name, run in {"pushed": pushed, "person": person, "destroy": destroy, "newer": newer}.items()
    }
    assert statuses == {
        "pushed": RunStatus.SUPERSEDED,
        "person": RunStatus.QUEUED,
        "destroy": RunStatus.QUEUED,
        "newer": RunStatus.QUEUED,
    }
    await rows.drained()
    assert (await rows.run(destroy.id)).status is RunStatus.STARTING, "destroy goes first"
    assert {(await rows.run(r.id)).status for r in (person, newer)} == {RunStatus.QUEUED}


async def test_an_older_push_that_comes_late_makes_no_run(rows: Rows) -> None:
    """Order comes from git, not from deliveries (engine rule 4)."""
    newer = await rows.asked(2)
    assert await rows.ask(1) is None
    assert await rows.ask(2) is None
    assert (await rows.run(newer.id)).status is RunStatus.QUEUED
