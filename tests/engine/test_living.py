"""Engine rule 26: one act that fails unforeseen is put off with its reason, and the process and the others go on."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import text
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from stackly.control import reconciler
from stackly.control.dispatcher import __main__ as dispatcher
from stackly.control.dispatcher import bells
from stackly.control.dispatcher.outbox import BACKOFF_CAP, drain
from stackly.engine import acts
from stackly.errors import Unavailable
from stackly.events import store as events
from stackly.events import troubles_store
from stackly.events.model import Bell
from stackly.runs import queue
from stackly.runs.queue import Carried
from stackly.spec.runs import RunStatus
from tests.engine.rows import Rows


async def _ring(rows: Rows, *keys: str) -> None:
    async with rows.transactions() as session:
        for key in keys:
            await events.ring(session, Bell.RUN_START, key)


async def _counted(rows: Rows) -> dict[str, int]:
    async with rows.transactions() as session:
        return {t.act: t.count for t in await troubles_store.troubles(session)}


@pytest.mark.parametrize("kind", ["of-a-newer-release", "", "RUN-START", "run-start\n"])
async def test_a_doorbell_of_an_unknown_kind_costs_itself(rows: Rows, kind: str) -> None:
    await rows.execute("INSERT INTO outbox (kind, key) VALUES (:kind, 'x')", kind=kind)
    await _ring(rows, "r1", "r2")
    await drain(rows.dispatch)
    assert set(rows.temporal.started) == {"run/r1", "run/r2"}
    async with rows.transactions() as session:
        left = await troubles_store.put_off(session, limit=10)
    assert [(bell.kind, bell.key) for bell in left] == [(kind, "x")]
    assert "known" in left[0].reason
    assert await rows.scalar("SELECT available_at > clock_timestamp() FROM outbox")


@pytest.mark.parametrize("error", [KeyError("x"), RuntimeError("x"), RecursionError(), UnicodeError(), ValueError("x")])
async def test_an_act_that_raises_anything_is_put_off_ever_longer(
    rows: Rows, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    async def broken(_client: Client, _key: str) -> None:
        raise error

    monkeypatch.setattr(bells, "ACTS", None)  # whoever reads it at import time has it already
    acts: dict[str, Any] = {Bell.REPO_SYNC: broken, Bell.RUN_START: bells.start_run}
    monkeypatch.setattr("stackly.control.dispatcher.outbox.ACTS", acts)
    async with rows.transactions() as session:
        await events.ring(session, Bell.REPO_SYNC, "broken")
    await _ring(rows, "r1")
    delays = []
    for _ in range(9):
        await rows.execute("UPDATE outbox SET available_at = clock_timestamp()")
        await drain(rows.dispatch)
        delays.append(await rows.scalar("SELECT available_at - clock_timestamp() FROM outbox WHERE key = 'broken'"))
    assert rows.temporal.started == {"run/r1": 1}
    assert delays == sorted(delays)
    assert delays[-1] > BACKOFF_CAP > timedelta(0) < delays[0]
    assert (await _counted(rows)) == {"doorbell repo-sync": 9}
    async with rows.transactions() as session:
        (left,) = await troubles_store.put_off(session, limit=10)
    assert type(error).__name__ in left.reason


async def test_a_loop_goes_on_after_anything(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher, "FIRST_PAUSE_S", 0.01)
    went_on = asyncio.Event()
    raised: list[Exception] = [KeyError("x"), OSError(28, "No space left on device"), Unavailable("gone"), TypeError()]

    async def step() -> None:
        if raised:
            raise raised.pop(0)
        went_on.set()

    loop = asyncio.create_task(dispatcher._forever(rows.transactions, "tick", 0.01, step))
    try:
        await asyncio.wait_for(went_on.wait(), 20)
    finally:
        loop.cancel()
    assert await _counted(rows) == {"loop tick": 2}, "what is only away is no defect"


async def test_a_row_that_cannot_be_reconciled_holds_no_other_up(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []

    async def found(*_: Any, **__: Any) -> list[Carried]:
        return [Carried(run, "", 0, overdue=False) for run in ("bad", "good")]

    async def one(_dispatch: Any, row: Carried) -> bool:
        looked.append(row.run)
        if row.run == "bad":
            raise LookupError(row.run)
        return True

    monkeypatch.setattr(queue, "carried", found)
    monkeypatch.setattr(reconciler, "_reconcile", one)
    at = 0.0
    dispatch = replace(rows.dispatch, unreconciled=acts.Delays(now=lambda: at))
    assert await reconciler.reconcile(dispatch) == 1
    assert looked == ["bad", "good"]
    assert await _counted(rows) == {"reconcile": 1}

    tries = []
    for at in range(7200):  # seconds that pass
        looked.clear()
        if at % 15 == 0:
            await reconciler.reconcile(dispatch)
        tries += [at] if "bad" in looked else []
    assert tries[:4] == [15, 45, 105, 225], "it is left alone ever longer"
    assert {b - a for a, b in pairwise(tries)} <= {30, 60, 120, 240, 480, 900}


# What a defect, a hand in the database or an earlier release may leave in a row, each read by another part of `admit`.
POISON = {
    "spec": "spec = '{}'",
    "shape": "spec = '[]'",
    "trigger": "trigger = '\"x\"'",
    "status": "status = 'of a newer release'",
    "tests": "spec = jsonb_set(spec, '{suite,tests}', '7')",
    "policies": "spec = jsonb_set(spec, '{policies}', '[{\"name\": 1}]')",
}


@pytest.mark.parametrize("poison", POISON)
async def test_a_waiting_run_that_cannot_be_judged_costs_itself(rows: Rows, poison: str) -> None:
    bad = await rows.asked(1, state="bad")
    good = await rows.asked(2, state="good")
    async with rows.transactions() as session:
        await session.execute(text(f"UPDATE operations SET {POISON[poison]} WHERE id = :r"), {"r": bad.id})
    await rows.drained()
    assert (await rows.run(good.id)).status is RunStatus.STARTING
    status, reason = await rows.row("SELECT status, waiting_reason FROM operations WHERE id = :r", r=bad.id)
    assert status != "starting"
    assert "unforeseen" in reason
    assert await rows.scalar("SELECT next_check > clock_timestamp() FROM operations WHERE id = :r", r=bad.id)
    assert await _counted(rows) == {"admit": 1}


@pytest.mark.parametrize("poison", POISON)
async def test_a_run_past_its_deadline_that_cannot_be_ended_costs_itself(rows: Rows, poison: str) -> None:
    bad = await rows.asked(1, state="bad")
    good = await rows.asked(2, state="good")
    async with rows.transactions() as session:
        await session.execute(text(f"UPDATE operations SET {POISON[poison]} WHERE id = :r"), {"r": bad.id})
        await session.execute(text("UPDATE operations SET deadline = clock_timestamp() - interval '1 minute'"))
    await reconciler.expire(rows.dispatch)
    assert (await rows.run(good.id)).status is RunStatus.FAILED


async def test_a_run_behind_another_that_cannot_be_read_holds_no_account_up(rows: Rows) -> None:
    current = await rows.asked(1, state="bad")
    await rows.drained()
    behind = await rows.asked(2, state="bad", slot="refs/heads/other", cause="push:refs/heads/other")
    good = await rows.asked(3, state="good")
    assert (await rows.run(current.id)).status is RunStatus.STARTING
    await rows.execute("UPDATE operations SET status = 'of a newer release' WHERE id = :r", r=behind.id)
    await rows.drained()
    assert (await rows.run(good.id)).status is RunStatus.STARTING


@pytest.mark.parametrize("status", [RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.PERMISSION_DENIED])
async def test_what_temporal_refuses_of_one_workflow_holds_no_other_up(
    rows: Rows, monkeypatch: pytest.MonkeyPatch, status: RPCStatusCode
) -> None:
    looked: list[str] = []

    async def found(*_: Any, **__: Any) -> list[Carried]:
        return [Carried(run, "", 0, overdue=False) for run in ("bad", "good")]

    async def one(_dispatch: Any, row: Carried) -> bool:
        looked.append(row.run)
        if row.run == "bad":
            raise RPCError("not this one", status, b"")
        return True

    monkeypatch.setattr(queue, "carried", found)
    monkeypatch.setattr(reconciler, "_reconcile", one)
    assert await reconciler.reconcile(rows.dispatch) == 1
    assert looked == ["bad", "good"]
