"""Directories move, swap, are copied, go and come back: states wait or return, and no push ever asks for a destroy."""

import pytest

from stackly.spec.runs import RunKind, RunStatus
from tests.engine.syncing import Syncing, measured, plain

OTHER = 'resource "terraform_data" "other" {}\n'


async def _nothing_is_destroyed(syncing: Syncing) -> None:
    assert RunKind.DESTROY not in {r.kind for r in await syncing.runs()}
    assert await syncing.rows("SELECT id FROM stack_states WHERE status IN ('destroying','destroyed')") == []


async def test_a_moved_stack_is_another_row_that_knows_where_it_comes_from(syncing: Syncing) -> None:
    await syncing.pushed(plain("a", "a"))
    state = await syncing.holds("a")
    old = await syncing.code("a")
    syncing.upstream.move("a", "b")
    await syncing.sync()
    new = await syncing.code("b")
    assert (new.moved_from, new.tree, list(await syncing.codes())) == (old.id, old.tree, ["b"])
    assert (await syncing.code_by_id(old.id)).status == "loose"
    (waits,) = (await syncing.states(old.id)).values()
    assert (waits.id, waits.status, waits.successor) == (state.id, "loose", new.id)
    (run,) = [r for r in await syncing.runs(new.id) if not r.is_terminal]
    assert (run.kind, run.state) == (RunKind.PREVIEW, state.id), "a plan decides whether the state follows"
    assert await syncing.states(new.id) == {}, "nothing is deployed beside what it already has"
    await _nothing_is_destroyed(syncing)


async def test_moved_and_changed_in_one_push_is_known_by_its_name(syncing: Syncing) -> None:
    await syncing.pushed(plain("a", "app"))
    state = await syncing.holds("a")
    old = await syncing.code("a")
    syncing.upstream.git("mv", "a", "b")
    await syncing.pushed({"b/main.tf": OTHER})
    new = await syncing.code("b")
    assert new.moved_from == old.id
    assert (await syncing.states(old.id))["default"].successor == new.id
    assert (await syncing.states(old.id))["default"].id == state.id
    await _nothing_is_destroyed(syncing)


async def test_a_stack_that_held_nothing_moves_without_a_trace(syncing: Syncing) -> None:
    await syncing.pushed(measured("a", "a"))
    old = await syncing.code("a")
    syncing.upstream.move("a", "b")
    await syncing.sync()
    assert (await syncing.code_by_id(old.id)).status == "deregistered"
    assert (await syncing.code("b")).moved_from == old.id
    assert [r.kind for r in await syncing.runs((await syncing.code("b")).id)] == [RunKind.BENCHMARK]


@pytest.mark.parametrize("changed", [False, True])
async def test_two_swapped_stacks_take_their_states_with_them(syncing: Syncing, changed: bool) -> None:
    await syncing.pushed(plain("a", "a") | plain("b", "b", module=OTHER))
    states = {path: (await syncing.holds(path)).id for path in ("a", "b")}
    old = await syncing.codes()
    for source, target in (("a", "t"), ("b", "a"), ("t", "b")):
        syncing.upstream.git("mv", source, target)
    await syncing.pushed({"a/more.tf": "# a\n", "b/more.tf": "# b\n"} if changed else None)
    new = await syncing.codes()
    assert {p: new[p].moved_from for p in new} == {"a": old["b"].id, "b": old["a"].id}
    for path, now in (("a", "b"), ("b", "a")):
        (state,) = (await syncing.states(old[path].id)).values()
        assert (state.id, state.status, state.successor) == (states[path], "loose", new[now].id)
    open_ = [r for r in await syncing.runs() if not r.is_terminal]
    assert {(r.kind, r.state) for r in open_} == {(RunKind.PREVIEW, s) for s in states.values()}
    await _nothing_is_destroyed(syncing)


async def test_copied_and_then_deleted_is_a_move(syncing: Syncing) -> None:
    await syncing.pushed(plain("a", "a"))
    await syncing.holds("a")
    old = await syncing.code("a")
    syncing.upstream.copy("a", "b")
    await syncing.sync()
    assert (await syncing.code("b")).moved_from is None
    syncing.upstream.remove("a")
    await syncing.sync()
    assert (await syncing.code("b")).moved_from == old.id
    assert (await syncing.states(old.id))["default"].successor == (await syncing.code("b")).id
    await _nothing_is_destroyed(syncing)


async def test_code_that_went_and_came_back_is_the_same_stack(syncing: Syncing) -> None:
    await syncing.pushed(plain("a", "a"))
    state = await syncing.holds("a")
    code = await syncing.code("a")
    syncing.upstream.remove("a/stackly.hcl")
    await syncing.sync()
    assert (await syncing.code_by_id(code.id)).status == "loose"
    assert (await syncing.states(code.id))["default"].status == "loose"
    await syncing.pushed({"x.txt": "another push\n"})
    assert len(await syncing.events("module_deregistered")) == 1, "what is loose goes once"
    await syncing.pushed(plain("a", "a"))
    back = await syncing.code("a")
    assert (back.id, back.status) == (code.id, "active")
    assert {(s.id, s.status) for s in (await syncing.states(code.id)).values()} == {(state.id, "active")}
    await _nothing_is_destroyed(syncing)


async def test_code_that_comes_back_broken_brings_its_states_back_once_it_is_mended(syncing: Syncing) -> None:
    await syncing.pushed(plain("a", "a"))
    await syncing.holds("a")
    code = await syncing.code("a")
    syncing.upstream.remove("a")
    await syncing.sync()
    await syncing.pushed(plain("a", "a", "bogus = 1"))
    assert ((await syncing.code("a")).id, (await syncing.code("a")).status) == (code.id, "rejected")
    assert (await syncing.states(code.id))["default"].status == "loose"
    await syncing.pushed(plain("a", "a"))
    assert (await syncing.states(code.id))["default"].status == "active"


async def test_a_reverted_move_gives_the_state_back(syncing: Syncing) -> None:
    await syncing.pushed(plain("a", "a"))
    state = await syncing.holds("a")
    code = await syncing.code("a")
    syncing.upstream.move("a", "b")
    await syncing.sync()
    moved = await syncing.code("b")
    syncing.upstream.git("revert", "--no-edit", "HEAD")
    await syncing.sync()
    assert (await syncing.code("a")).id == code.id
    assert {(s.id, s.status, s.successor) for s in (await syncing.states(code.id)).values()} == {
        (state.id, "active", None)
    }
    assert (await syncing.code_by_id(moved.id)).status == "deregistered"
    open_ = [r for r in await syncing.runs() if not r.is_terminal]
    assert {(r.kind, r.code) for r in open_} == {(RunKind.DEPLOY, code.id)}
    await _nothing_is_destroyed(syncing)


async def test_a_name_at_an_old_place_of_a_moved_stack_is_a_new_stack(syncing: Syncing) -> None:
    await syncing.pushed(plain("a", "a"))
    await syncing.holds("a")
    old = await syncing.code("a")
    syncing.upstream.move("a", "b")
    await syncing.sync()
    await syncing.pushed(plain("a", "another", module=OTHER))
    assert (await syncing.code("a")).id != old.id
    assert (await syncing.states(old.id))["default"].successor == (await syncing.code("b")).id


async def test_what_waits_for_code_that_went_away_never_begins(syncing: Syncing) -> None:
    await syncing.pushed(plain("a", "a"))
    code = await syncing.code("a")
    (run,) = await syncing.runs(code.id)
    assert run.status is RunStatus.QUEUED
    syncing.upstream.remove("a")
    await syncing.sync()
    (run,) = await syncing.runs(code.id)
    assert (run.status, run.reason) == (RunStatus.SUPERSEDED, f"a went away in {syncing.upstream.head[:7]}")
