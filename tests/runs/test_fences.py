"""engine rules 1, 9 and 17 on step rows: who may begin."""

import pytest

from stackly.engine.activities.runs import Runs
from stackly.engine.contracts.control import Claim
from stackly.runs import service, steps, store
from stackly.runs.model import Run
from stackly.runs.steps import Verdict
from stackly.spec.runs import RunKind, RunStatus
from stackly.temporal.steps import StepKey
from tests.engine.rows import Rows


@pytest.fixture
async def admitted(rows: Rows) -> Run:
    run = await rows.asked(1, RunKind.DEPLOY)
    await rows.drained()
    await Runs(rows.transactions, rows.dispatch.book).begin(Claim(run.id, "w"))
    return await rows.run(run.id)


async def begin(rows: Rows, run: Run, step: str, *, epoch: int | None = None, process: str = "p1") -> Verdict:
    key = StepKey(run.id, "", step, 1, run.epoch or 0 if epoch is None else epoch)
    async with rows.transactions() as session:
        await steps.expect(session, key, "pretend", {})
        return (await steps.begin(session, key, "pretend", process)).verdict


async def test_a_step_is_granted_once(rows: Rows, admitted: Run) -> None:
    assert await begin(rows, admitted, "plan 1") is Verdict.GRANTED
    assert await begin(rows, admitted, "plan 1") is Verdict.ATTACH
    assert await begin(rows, admitted, "plan 1", process="p2") is Verdict.GONE


async def test_cancel_refuses_what_is_expected(rows: Rows, admitted: Run) -> None:
    await _cancel(rows, admitted)
    assert await begin(rows, admitted, "plan 1") is Verdict.REFUSED


async def test_cancel_does_not_stop_a_destroy(rows: Rows, admitted: Run) -> None:
    await _cancel(rows, admitted)
    await rows.execute("UPDATE operations SET kind = 'destroy', status = 'tearing_down'")
    for step in ("remove", "destroy", "inventory 1"):
        assert await begin(rows, admitted, step) is Verdict.GRANTED


async def _cancel(rows: Rows, run: Run) -> None:
    async with rows.transactions() as session:
        await service.cancel(session, rows.account, run.id, actor="ada")


async def test_without_the_cancel_column_they_begin(rows: Rows, admitted: Run) -> None:
    """Negative control."""
    await _cancel(rows, admitted)
    await rows.execute("UPDATE operations SET cancel_requested = false")
    assert await begin(rows, admitted, "plan 1") is Verdict.GRANTED


async def test_cancel_of_a_queued_run_ends_it(rows: Rows) -> None:
    run = await rows.asked(1)
    async with rows.transactions() as session:
        assert (await service.cancel(session, rows.account, run.id, actor="ada")).status is RunStatus.CANCELLED
    await rows.drained()
    assert rows.temporal.started.total() == 0


@pytest.mark.parametrize("off", [-1, 1])
async def test_epochs_are_compared_for_equality(rows: Rows, admitted: Run, off: int) -> None:
    assert await begin(rows, admitted, "plan 1", epoch=(admitted.epoch or 0) + off) is Verdict.REFUSED


async def test_only_transition_writes_a_status(rows: Rows, admitted: Run) -> None:
    with pytest.raises(ValueError, match="only transition"):
        async with rows.transactions() as session:
            await store.update_run(session, admitted.id, status="succeeded")
