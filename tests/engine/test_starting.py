"""engine rules 6 and 8: a push's run that was admitted and has not begun is replaced like one that waits."""

import pytest

from stackly.engine.activities.runs import Runs
from stackly.engine.contracts.control import Claim
from stackly.spec.runs import RunKind, RunStatus
from tests.engine.rows import Rows


@pytest.mark.parametrize("kind", [RunKind.BENCHMARK, RunKind.DEPLOY, RunKind.PREVIEW])
async def test_a_newer_push_replaces_a_run_that_is_starting(rows: Rows, kind: RunKind) -> None:
    older = await rows.asked(1, kind)
    await rows.drained()
    assert (await rows.run(older.id)).status is RunStatus.STARTING
    newer = await rows.asked(2, kind)
    assert (await rows.run(older.id)).status is RunStatus.SUPERSEDED
    begun = await Runs(rows.transactions, rows.dispatch.book).begin(Claim(older.id, "its-workflow"))
    assert not begun.carry, "its workflow, on the way already, finds that it is over"
    await rows.drained()
    assert (await rows.run(newer.id)).status is RunStatus.STARTING


@pytest.mark.parametrize("kind", [RunKind.BENCHMARK, RunKind.DEPLOY])
async def test_one_that_began_first_goes_its_way(rows: Rows, kind: RunKind) -> None:
    """A deploy that plans is replaced up to its gate; a benchmark that runs is not."""
    older = await rows.asked(1, kind)
    await rows.drained()
    assert (await Runs(rows.transactions, rows.dispatch.book).begin(Claim(older.id, "its-workflow"))).carry
    await rows.asked(2, kind)
    wanted = RunStatus.SUPERSEDED if kind is RunKind.DEPLOY else RunStatus.RUNNING
    assert (await rows.run(older.id)).status is wanted


async def test_a_persons_run_and_a_destroy_that_are_starting_are_not_replaced(rows: Rows) -> None:
    destroy = await rows.asked(1, RunKind.DESTROY, slot=None, cause="sweep")
    await rows.drained()
    await rows.asked(2)
    assert (await rows.run(destroy.id)).status is RunStatus.STARTING
