"""ENGINE rules 1, 9 and 17 on step rows: who may begin."""

import pytest

from stackly.engine.contracts.steps import StepKey
from stackly.runs import service, steps, store
from stackly.runs.model import Run, RunKind, RunStatus
from stackly.runs.steps import Verdict
from tests.engine.rows import Rows


@pytest.fixture
async def admitted(rows: Rows) -> Run:
    run = await rows.asked(1, RunKind.DEPLOY)
    await rows.drained()
    return await rows.run(run.id)


async def begin(rows: Rows, run: Run, step: str, *, epoch: int | None = None, process: str = "p1") -> Verdict:
    key = StepKey(run.id, "", step, 1, run.epoch or 0 if epoch is None else epoch)
    async with rows.transactions() as session:
        return (await steps.begin(session, key, "pretend", process)).verdict


async def test_a_step_is_granted_once(rows: Rows, admitted: Run) -> None:
    assert await begin(rows, admitted, "apply") is Verdict.GRANTED
    assert await begin(rows, admitted, "apply") is Verdict.ATTACH
    assert await begin(rows, admitted, "apply", process="p2") is Verdict.GONE


async def test_cancel_refuses_every_step_but_teardown(rows: Rows, admitted: Run) -> None:
    async with rows.transactions() as session:
        await service.cancel(session, rows.account, admitted.id, actor="ada")
    for step in ("plan 1", "apply", "measure 1", "boot"):
        assert await begin(rows, admitted, step) is Verdict.REFUSED
    for step in ("remove", "destroy", "inventory 1"):
        assert await begin(rows, admitted, step) is Verdict.GRANTED


async def test_without_the_cancel_column_they_begin(rows: Rows, admitted: Run) -> None:
    """Negative control."""
    async with rows.transactions() as session:
        await service.cancel(session, rows.account, admitted.id, actor="ada")
    await rows.execute("UPDATE operations SET cancel_requested = false")
    assert await begin(rows, admitted, "apply") is Verdict.GRANTED


async def test_cancel_of_a_queued_run_ends_it(rows: Rows) -> None:
    run = await rows.asked(1)
    async with rows.transactions() as session:
        assert (await service.cancel(session, rows.account, run.id, actor="ada")).status is RunStatus.CANCELLED
    await rows.drained()
    assert rows.temporal.started.total() == 0


@pytest.mark.parametrize("off", [-1, 1])
async def test_epochs_are_compared_for_equality(rows: Rows, admitted: Run, off: int) -> None:
    assert await begin(rows, admitted, "apply", epoch=(admitted.epoch or 0) + off) is Verdict.REFUSED


async def test_only_transition_writes_a_status(rows: Rows, admitted: Run) -> None:
    with pytest.raises(ValueError, match="only transition"):
        async with rows.transactions() as session:
            await store.update_run(session, admitted.id, status="succeeded")
