"""G7: `git mv` of a deployed stack destroys nothing. Plans decide whether a state follows; only agents pretend."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from stackly.engine import loose
from stackly.events import store as events
from stackly.events.model import Bell
from stackly.spec.runs import RunKind, RunStatus
from stackly.stacks import lifecycle, repos_store, store
from stackly.stacks.config import Deregister, State
from stackly.stacks.model import StackState
from tests.engine.moving import Moving, commit_of
from tests.engine.world import World, agents, control, dispatching

NOTHING, SOMETHING = (0, 0, 0), (1, 2, 0)


@pytest.fixture
async def moving(world: World) -> AsyncIterator[Moving]:
    async with control(world), agents(world), dispatching(world):
        yield Moving(world)


async def kinds(moving: Moving) -> list[str]:
    found: list[str] = await moving.world.scalar("SELECT array_agg(kind ORDER BY created_at, id) FROM operations")
    return found


async def test_a_state_follows_when_the_plan_changes_nothing(moving: Moving) -> None:
    state = await moving.deployed("a", 1)
    old = moving.world.code
    moving.world.agent.faults.changes = NOTHING
    new, why = await moving.moved("b", 2)
    assert list(why) == ["default"]
    assert "nothing is deployed beside it meanwhile" in why["default"]
    run = await moving.carried_out(await moving.preview())
    assert (run.status, run.reason, run.state, run.code) == (RunStatus.SUCCEEDED, None, state.id, new.id)
    assert run.spec["bundle"] == "code/2.tar.gz", "the new code was planned, on the old state"
    after = await moving.state(state.id)
    assert (after.code, after.status, after.name, after.commit) == (new.id, "active", "default", commit_of(2))
    assert (after.successor, after.reason) == (None, None)
    assert (await moving.code(old.id)).status == "deregistered"
    assert await moving.world.scalar("SELECT changed FROM operations WHERE id = :r", r=run.id) is False
    told = await moving.world.scalar("SELECT payload FROM events WHERE name = 'state_associated'")
    assert (told["from"], told["to"], told["actor"]) == (old.id, new.id, "stackly")
    assert await kinds(moving) == ["deploy", "preview"]
    assert await moving.world.scalar("SELECT count(*) FROM steps WHERE step IN ('apply', 'destroy')") == 1
    assert await moving.world.scalar("SELECT count(*) FROM stack_states") == 1, "no second copy anywhere"


async def test_with_changes_it_waits_with_the_evidence_and_the_command(moving: Moving) -> None:
    state = await moving.deployed("a", 1)
    old = moving.world.code
    moving.world.agent.faults.changes = SOMETHING
    new, _ = await moving.moved("b", 2)
    run = await moving.carried_out(await moving.preview())
    assert (run.status, run.reason) == (
        RunStatus.SUCCEEDED,
        "the plan against b would add 1, change 2, destroy 0",
    )
    after = await moving.state(state.id)
    assert (after.code, after.status, after.successor) == (old.id, "loose", new.id)
    assert after.reason == f"{run.reason}; `stackly stack associate {old.id} {new.id}` to do it anyway"
    assert (await moving.code(old.id)).status == "loose"
    assert await kinds(moving) == ["deploy", "preview"]


@pytest.mark.parametrize(
    ("besides", "words"),
    [
        ({"move": 2}, "add 0, change 0, destroy 0, move 2"),
        ({"adopt": 1}, "add 0, change 0, destroy 0, import 1"),
        ({"forget": 1}, "add 0, change 0, destroy 0, forget 1"),
        ({}, "change outputs only"),
    ],
)
async def test_it_waits_where_anything_at_all_would_be_applied(
    moving: Moving, besides: dict[str, int], words: str
) -> None:
    state = await moving.deployed("a", 1)
    moving.world.agent.faults.changes, moving.world.agent.faults.besides = NOTHING, besides
    new, _ = await moving.moved("b", 2)
    run = await moving.carried_out(await moving.preview())
    assert run.reason == f"the plan against b would {words}"
    after = await moving.state(state.id)
    assert (after.status, after.successor) == ("loose", new.id)


async def test_the_next_push_plans_again_and_still_deploys_no_second_copy(moving: Moving) -> None:
    state = await moving.deployed("a", 1)
    moving.world.agent.faults.changes = SOMETHING
    new, _ = await moving.moved("b", 2)
    await moving.carried_out(await moving.preview())
    moving.world.agent.faults.changes = NOTHING
    assert "default" in await moving.pushed(3)
    await moving.carried_out(await moving.preview())
    after = await moving.state(state.id)
    assert (after.code, after.status, after.commit) == (new.id, "active", commit_of(3))
    assert await moving.pushed(4) == {}, "from now on a push deploys"


async def test_a_plan_that_fails_leaves_it_loose_and_says_so(moving: Moving) -> None:
    state = await moving.deployed("a", 1)
    moving.world.agent.faults.fail["plan 1"] = 'variable "region" has no value'
    await moving.moved("b", 2)
    run = await moving.carried_out(await moving.preview())
    assert run.status is RunStatus.FAILED
    after = await moving.state(state.id)
    assert after.status == "loose"
    assert 'the plan against b failed: variable "region" has no value; `stackly stack associate' in (after.reason or "")


async def test_what_changed_while_it_was_planned_does_not_follow(moving: Moving) -> None:
    """engine rule 21: a plan counts only for the state it was made from."""
    state = await moving.deployed("a", 1)
    moving.world.agent.faults.changes = NOTHING
    async with moving.world.transactions() as session:
        await session.execute(text("UPDATE stack_states SET serial = 7 WHERE id = :s"), {"s": state.id})
    await moving.moved("b", 2)
    run = await moving.carried_out(await moving.preview())
    assert run.reason == "what state default holds changed while it was planned"
    assert (await moving.state(state.id)).status == "loose"


async def test_a_move_back_before_the_plan_ended_is_no_move(moving: Moving) -> None:
    state = await moving.deployed("a", 1)
    old = moving.world.code
    moving.world.agent.faults.changes = NOTHING
    planning = moving.world.agent.faults.hold["plan 1"] = asyncio.Event()
    await moving.moved("b", 2)
    await planned(moving, "preview")
    async with moving.world.transactions() as session:
        await lifecycle.code_gone(session, moving.world.code, reason="moved back")
        await lifecycle.code_back(session, await store.get_code(session, old.id))
    planning.set()
    run = await moving.carried_out(await moving.preview())
    assert run.reason == "state default does not wait to follow b any more"
    after = await moving.state(state.id)
    assert (after.code, after.status) == (old.id, "active")


async def test_each_state_is_planned_with_its_own_variables(moving: Moving) -> None:
    eu = State("eu", {"region": "eu", "environment": "prod"})
    state = await moving.deployed("a", 1, state="eu", states=(eu,))
    moving.world.agent.faults.changes = NOTHING
    new, why = await moving.moved("b", 2, states=(eu,))
    assert list(why) == ["eu"]
    run = await moving.carried_out(await moving.preview())
    assert (run.spec["variables"], run.spec["environment"]) == ({"region": "eu"}, "prod")
    assert (await moving.state(state.id)).code == new.id


async def test_a_state_that_the_new_code_does_not_name_waits(moving: Moving) -> None:
    state = await moving.deployed("a", 1, state="eu", states=(State("eu"),))
    await moving.moved("b", 2)
    after = await moving.state(state.id)
    assert after.status == "loose"
    assert (after.reason or "").startswith('b/stackly.hcl has no state "eu": add it, or give the state another name; ')
    assert await kinds(moving) == ["deploy"]


async def copied(moving: Moving, *, deployed: bool) -> StackState:
    """The stack is copied, and then the original goes: the copy, which no push changes now, is where it is."""
    state = await moving.deployed("a", 1)
    origin = moving.world.code
    moving.world.agent.faults.changes = SOMETHING if deployed else NOTHING
    if deployed:
        await moving.deployed("b", 2)
    else:
        async with moving.world.transactions() as session:
            moving.world.code = await moving.written(session, "b", 2)
        await moving.carried_out(
            await moving.world.asked(
                2, RunKind.DEPLOY, spec=moving.wanted(moving.world.code, 2).spec, commit=commit_of(2)
            )
        )
    async with moving.world.transactions() as session:
        await lifecycle.code_moved(session, origin, moving.world.code, same_tree=True)
    moving.world.agent.faults.changes = NOTHING
    await loose.sweep(moving.world.transactions)
    return state


async def test_a_move_that_no_push_follows_is_planned_all_the_same(moving: Moving) -> None:
    state = await copied(moving, deployed=False)
    run = await moving.carried_out(await moving.preview())
    assert (run.state, run.status) == (state.id, RunStatus.SUCCEEDED)
    after = await moving.state(state.id)
    assert (after.code, after.name, after.status) == (moving.world.code.id, "default", "active")
    unused = await moving.world.scalar("SELECT name FROM stack_states WHERE status = 'empty'")
    assert unused.startswith("default~"), "the state that was never used is put aside, with its history"


async def test_a_copy_that_has_resources_of_its_own_takes_no_others(moving: Moving) -> None:
    state = await copied(moving, deployed=True)
    after = await moving.state(state.id)
    assert (after.status, after.successor) == ("loose", moving.world.code.id)
    assert (after.reason or "").startswith(
        "b has a state default of its own, which holds resources; choose another name; `stackly stack associate"
    )
    assert await kinds(moving) == ["deploy", "deploy"]
    assert await moving.pushed(3) == {}, "the copy is deployed as before"


async def planned(moving: Moving, kind: str) -> None:
    """Until a run of that kind is in the middle of its plan."""

    async def begun() -> bool:
        sql = "SELECT count(*) FROM steps s JOIN operations o ON o.id = s.operation WHERE o.kind = :k"
        return bool(await moving.world.scalar(sql, k=kind))

    await moving.world.until(begun)


@pytest.mark.parametrize("begun", [False, True])
async def test_a_deploy_ends_before_it_applies_when_its_code_goes(moving: Moving, *, begun: bool) -> None:
    """Before it starts, and at its gate."""
    planning = moving.world.agent.faults.hold["plan 1"] = asyncio.Event()
    async with moving.world.transactions() as session:
        moving.world.code = await moving.written(session, "a", 1)
    run = await moving.world.asked(1, RunKind.DEPLOY, spec=moving.wanted(moving.world.code, 1).spec)
    if begun:
        await planned(moving, "deploy")
    await moving.gone("a went away")
    planning.set()
    ended = await moving.carried_out(run)
    assert (ended.status, ended.reason) == (RunStatus.SUPERSEDED, "a is not there any more: a went away")
    assert await moving.world.scalar("SELECT count(*) FROM steps WHERE step = 'apply'") == 0


async def test_a_timer_that_ran_out_destroys_as_deployed(moving: Moving) -> None:
    state = await due(moving)
    assert await loose.sweep(moving.world.transactions) == 1
    assert await loose.sweep(moving.world.transactions) == 0, "it is asked for once"
    run = await moving.world.scalar("SELECT id FROM operations WHERE kind = 'destroy'")
    ended = await moving.world.ended(run)
    assert (ended.status, ended.trigger["kind"]) == (RunStatus.SUCCEEDED, "policy")
    assert ended.spec["bundle"] == "code/1.tar.gz"
    assert (await moving.state(state.id)).status == "destroyed"
    assert (await moving.code(state.code)).status == "deregistered"


async def test_a_destroy_that_failed_leaves_it_loose(moving: Moving) -> None:
    state = await due(moving)
    moving.world.agent.faults.fail["destroy"] = "a bucket is not empty"
    await loose.sweep(moving.world.transactions)
    run = await moving.world.scalar("SELECT id FROM operations WHERE kind = 'destroy'")
    assert (await moving.world.ended(run)).status is RunStatus.FAILED
    after = await moving.state(state.id)
    assert (after.status, after.destroy_at) == ("loose", None)
    assert "a bucket is not empty" in (after.reason or "")


async def test_nothing_starts_while_the_repository_is_out_of_reach(moving: Moving) -> None:
    await moving.deployed("a", 1)
    await out_of_reach(moving, "archived")
    run = await moving.world.asked(2, RunKind.DEPLOY, spec=moving.wanted(moving.world.code, 2).spec)

    async def told() -> bool:
        return bool(await moving.world.scalar("SELECT blocker = 'policy' FROM operations WHERE id = :r", r=run.id))

    await moving.world.until(told)
    why = await moving.world.scalar("SELECT waiting_reason FROM operations WHERE id = :r", r=run.id)
    assert why == "repository octo/smoke is archived; nothing of it starts until it is back"
    await out_of_reach(moving, "active")
    async with moving.world.transactions() as session:
        await session.execute(text("UPDATE operations SET next_check = clock_timestamp() WHERE epoch IS NULL"))
        await events.ring(session, Bell.ADMIT, moving.world.account)
    assert (await moving.carried_out(run)).status is RunStatus.SUCCEEDED


async def out_of_reach(moving: Moving, status: str) -> None:
    async with moving.world.transactions() as session:
        await repos_store.set_repo_status(session, moving.world.repo_id, status, None)


async def due(moving: Moving) -> StackState:
    """A loose state whose timer has run out."""
    state = await moving.deployed("a", 1, deregister=Deregister("auto_destroy", 3600))
    await moving.gone()
    async with moving.world.transactions() as session:
        await session.execute(text("UPDATE stack_states SET destroy_at = clock_timestamp() - interval '1 s'"))
    return state
