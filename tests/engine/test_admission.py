"""Waiting is a row: for a window, for room, for an agent, behind another run; and nothing waits for ever."""

from datetime import timedelta
from pathlib import Path

import pytest

from stackly import db
from stackly.control.dispatcher.__main__ import _tick
from stackly.control.reconciler import expire
from stackly.engine.admission import JITTER_S, Limits, admit
from stackly.runs.model import RunEvent
from stackly.spec.runs import RunKind, RunStatus
from tests.engine.deploying import Policies, under
from tests.engine.rows import NIGHTLY, Rows


async def closed_for(rows: Rows, minutes: int) -> str:
    """A policy whose window opens at the next full minute, `minutes` later."""
    async with rows.transactions() as session:
        opens = (await db.now(session)).replace(second=0, microsecond=0) + timedelta(minutes=1 + minutes)
    at = f"{opens:%H:%M}"
    until = f"{opens + timedelta(minutes=30):%H:%M}"
    return f'policy "agreed" {{\n  schedule {{\n    allowed_hours = ["{at}-{until}"]\n  }}\n}}\n'


OPEN = 'policy "agreed" {\n  schedule {\n    allowed_hours = ["0-24"]\n  }\n}\n'


async def test_a_closed_window_holds_a_row_and_its_opening_admits_it(rows: Rows, tmp_path: Path) -> None:
    policies = Policies(tmp_path).say(await closed_for(rows, 60))
    run = await under(rows, policies, RunKind.BENCHMARK)
    await rows.drained()
    held = await rows.run(run.id)
    assert (held.status, held.blocker, held.epoch) == (RunStatus.QUEUED, "window", None)
    assert held.not_before is not None
    assert (held.not_before.second, held.not_before.microsecond) == (0, 0)
    check = await rows.scalar("SELECT next_check FROM operations WHERE id = :r", r=run.id)
    assert held.not_before <= check <= held.not_before + timedelta(seconds=JITTER_S)
    await _tick(rows.dispatch)
    assert (await rows.run(run.id)).status is RunStatus.QUEUED
    policies.say(OPEN)
    await rows.execute("UPDATE operations SET next_check = clock_timestamp()")
    await _tick(rows.dispatch)
    assert (await rows.run(run.id)).status is RunStatus.STARTING


async def test_a_window_opens_by_the_clock(rows: Rows, tmp_path: Path) -> None:
    """Nothing but ticks, for up to a minute: nightly, and otherwise a window that is open already."""
    text = await closed_for(rows, 0) if NIGHTLY else OPEN
    run = await under(rows, Policies(tmp_path).say(text), RunKind.BENCHMARK)
    await rows.drained()

    async def admitted() -> bool:
        await _tick(rows.dispatch)
        return (await rows.run(run.id)).is_admitted

    await rows.until(admitted, seconds=75)


@pytest.mark.parametrize("limits", [Limits(starting_in_all=1), Limits(starting_in_all=2)])
async def test_no_more_start_at_once_than_may(rows: Rows, limits: Limits) -> None:
    runs = [await rows.asked(1, state=f"s{n}") for n in range(4)]
    admitted = await admit(rows.transactions, rows.account, rows.dispatch.book, limits)
    assert admitted == [run.id for run in runs[: limits.starting_in_all]], "the oldest first"
    assert await admit(rows.transactions, rows.account, rows.dispatch.book, limits) == []
    assert (await rows.run(runs[-1].id)).blocker == "quota"
    await rows.move(runs[0], RunEvent.LOAD)
    await rows.execute("UPDATE operations SET next_check = clock_timestamp() WHERE next_check IS NOT NULL")
    assert len(await admit(rows.transactions, rows.account, rows.dispatch.book, limits)) == 1


async def test_a_state_has_one_current_run_and_the_next_says_behind_which(rows: Rows) -> None:
    first = await rows.asked(1)
    await rows.drained()
    await rows.move(first, RunEvent.LOAD)
    second = await rows.asked(2)
    await rows.drained()
    reason = await rows.scalar("SELECT waiting_reason FROM operations WHERE id = :r", r=second.id)
    assert first.id in reason
    assert (await rows.run(second.id)).blocker == "queue"


async def test_without_an_agent_it_waits_and_says_so(rows: Rows) -> None:
    await rows.execute("UPDATE agents SET status = 'offline'")
    run = await rows.asked(1)
    await rows.drained()
    assert (await rows.run(run.id)).blocker == "agent"
    await rows.execute("UPDATE agents SET status = 'online', seen_at = clock_timestamp()")
    await rows.execute("UPDATE operations SET next_check = clock_timestamp()")
    await _tick(rows.dispatch)
    assert (await rows.run(run.id)).status is RunStatus.STARTING


async def test_what_waited_until_its_deadline_fails_and_says_for_what(rows: Rows) -> None:
    run = await rows.asked(1)
    await rows.execute("UPDATE operations SET deadline = clock_timestamp(), blocker = 'agent'")
    assert await expire(rows.dispatch) == 1
    ended = await rows.run(run.id)
    assert ended.status is RunStatus.FAILED
    assert "agent" in (ended.reason or "")
