"""The default branch gets another name: states follow as they follow `git mv`, and nothing is deployed twice."""

import pytest

from stackly.spec.runs import RunKind
from stackly.stacks import repos_store
from tests.engine.syncing import MAIN, Syncing, measured, plain

TRUNK = "refs/heads/trunk"


async def _named(syncing: Syncing, branch: str) -> None:
    async with syncing.transactions() as session:
        await repos_store.rename_repo(session, syncing.repo.id, full_name="octo/stacks", default_branch=branch)


@pytest.fixture
async def deployed(syncing: Syncing) -> Syncing:
    """A plain stack that was deployed, one that never was, and a benchmark."""
    await syncing.pushed(plain("a", "a") | plain("b", "b") | measured("m", "m"))
    state = await syncing.holds("a")
    await syncing.execute("UPDATE stack_states SET serial = 1, lineage = 'l' WHERE id = :id", id=state.id)
    await syncing.execute("UPDATE operations SET status = 'succeeded', ended_at = clock_timestamp(), blocker = NULL")
    return syncing


async def _check(syncing: Syncing, state: str) -> None:
    """The state waits to follow the stack of trunk, a plan was asked for, and no deploy of it beside that."""
    code = await syncing.code("a", TRUNK)
    async with syncing.transactions() as session:
        from stackly.stacks import store

        held = await store.get_state(session, state)
    assert (held.status, held.successor) == ("loose", code.id)
    runs = await syncing.runs(code.id)
    plans = [r for r in await syncing.runs() if r.state == state and r.kind is RunKind.PREVIEW]
    assert len(plans) == 1
    assert [r for r in runs if r.kind is RunKind.DEPLOY] == [], "nothing is deployed twice"
    measured_there = (await syncing.code("m", TRUNK)).id
    assert await syncing.runs(measured_there) == [], "nothing is measured twice"


async def _state(syncing: Syncing) -> str:
    return (await syncing.states((await syncing.code("a")).id))["default"].id


@pytest.mark.parametrize("order", ["branch first", "name first", "at once", "gone first"])
async def test_states_follow_whatever_is_seen_first(deployed: Syncing, order: str) -> None:
    state = await _state(deployed)
    deployed.upstream.branch("trunk")
    if order == "branch first":
        await deployed.sync()
        assert (await deployed.states((await deployed.code("a")).id))["default"].status == "active"
    if order == "gone first":  # a sweep learns of the name when the branch is long gone
        deployed.upstream.checkout("trunk")
        deployed.upstream.drop_branch("main")
        await deployed.sync()
    await _named(deployed, "trunk")
    if order == "at once":
        deployed.upstream.checkout("trunk")
        deployed.upstream.drop_branch("main")
    await deployed.sync()
    await _check(deployed, state)
    await deployed.sync()
    assert await deployed.sync() == []
    if order in {"branch first", "name first"}:
        deployed.upstream.checkout("trunk")
        deployed.upstream.commit({"README.md": "x"})
        await deployed.sync()
        deployed.upstream.drop_branch("main")
        await deployed.sync()
    await _check(deployed, state)
    assert await deployed.codes(MAIN) == {} or order == "branch first"
    assert RunKind.DESTROY not in {r.kind for r in await deployed.runs()}


async def test_a_name_that_goes_there_and_back_moves_nothing(deployed: Syncing) -> None:
    state = await _state(deployed)
    deployed.upstream.branch("trunk")
    await _named(deployed, "trunk")
    await _named(deployed, "main")
    await deployed.sync()
    assert await _state(deployed) == state
    assert (await deployed.states((await deployed.code("a")).id))["default"].status == "active"


async def test_a_deploy_that_waits_is_asked_for_on_the_new_branch_once(syncing: Syncing) -> None:
    await syncing.pushed(plain("a", "a"))
    deployed = [r for r in await syncing.runs() if r.kind is RunKind.DEPLOY]
    assert [r.status for r in deployed] == ["queued"]
    syncing.upstream.branch("trunk")
    await _named(syncing, "trunk")
    await syncing.sync()
    runs = {r.branch: r.status for r in await syncing.runs() if r.kind is RunKind.DEPLOY}
    assert runs == {"main": "superseded", "trunk": "queued"}


async def test_the_former_branch_goes_on_as_a_branch(deployed: Syncing) -> None:
    state = await _state(deployed)
    deployed.upstream.branch("trunk")
    await _named(deployed, "trunk")
    await deployed.sync()
    await deployed.pushed(plain("a", "a", "# newer"))
    assert sorted(await deployed.codes(MAIN)) == ["a", "b", "m"]
    (why,) = await deployed.reasons(f"stack/{(await deployed.code('a')).id}")
    assert "deploys from trunk" in why
    await _check(deployed, state)
