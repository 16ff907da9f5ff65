"""What the state machine found once, each in its shortest form."""

from pathlib import Path

from stackly.db import Transactions
from tests.engine import syncing
from tests.engine.syncing import measured, plain


async def test_a_push_that_breaks_a_stack_ends_what_waits_for_it(transactions: Transactions, tmp_path: Path) -> None:
    world = await syncing.build(transactions, tmp_path)
    await world.pushed(plain("a", "one"))
    await world.pushed({"a/stackly.hcl": "stack {{{\n"})
    (run,) = await world.runs()
    assert (run.status, "asks for no such run" in (run.reason or "")) == ("superseded", True)


async def test_a_push_that_leaves_a_branch_out_ends_what_waits_for_it(
    transactions: Transactions, tmp_path: Path
) -> None:
    world = await syncing.build(transactions, tmp_path)
    await world.pushed(measured("a", "one"))
    await world.pushed(measured("a", "one", 'trigger {\n branches = ["release"]\n}'))
    assert [r.status for r in await world.runs()] == ["superseded"]
