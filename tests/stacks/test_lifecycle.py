"""Code that goes, moves and comes back, on rows: what is held stays held, and the way out is told."""

import itertools
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from stackly import db
from stackly.accounts import service as accounts
from stackly.db import Session
from stackly.engine import loose
from stackly.ids import AccountId
from stackly.stacks import lifecycle, loose_store, repos_store, store
from stackly.stacks.config import Deregister, StackConfig
from stackly.stacks.model import FoundStack, StackCode, StackState, StateStatus
from stackly.stacks.transitions import StateEvent, StateMoveRefused, after_state
from tests.engine.rows import Rows
from tests.engine.standing import register

ROOT = Path(__file__).parents[2]


async def code_at(session: Session, rows: Rows, path: str, *, deregister: Deregister = Deregister()) -> StackCode:  # noqa: B008 - frozen
    """A plain stack at that place of the default branch."""
    config = StackConfig(name="db", deregister=deregister).as_json()
    found = FoundStack(path, "db", "t", "t", "plain", config, "code/x.tar.gz", None, "", requires=())
    return await register(session, await store.get_repo(session, rows.repo_id), "refs/heads/main", "c" * 40, found)


async def state_of(session: Session, code: StackCode, status: str = "active", name: str = "default") -> StackState:
    state = await store.ensure_state(session, code, name)
    values: dict[str, Any] = {"status": status}
    if status == "waived":
        values["waived_by"] = await _person(session, code.account)
    return await loose_store.write_state(session, state.id, **values)


async def _person(session: Session, account: str) -> str:
    return (await accounts.ensure_identity(session, AccountId(account), "ada", [], [])).id


async def names(session: Session, subject: str) -> list[tuple[str, Mapping[str, Any]]]:
    found = await session.execute(
        text("SELECT name, payload FROM events WHERE subject = :s ORDER BY id"), {"s": subject}
    )
    return [(r.name, r.payload) for r in found]


@pytest.mark.parametrize(("status", "event"), list(itertools.product(StateStatus, StateEvent)), ids=str)
async def test_rows_move_as_the_table_says(rows: Rows, status: StateStatus, event: StateEvent) -> None:
    async with rows.transactions() as session:
        state = await state_of(session, await code_at(session, rows, "a"), status)
        values = {"waived_by": await _person(session, rows.account)} if event is StateEvent.WAIVED else {}
        try:
            expected = after_state(status, event)
        except StateMoveRefused:
            with pytest.raises(StateMoveRefused):
                await lifecycle.move_state(session, state.id, event, **values)
            assert (await store.get_state(session, state.id)).status == status
            return
        moved = await lifecycle.move_state(session, state.id, event, **values)
        assert moved.status == expected
        told = await names(session, f"state/{state.id}")
        assert [p["to"] for n, p in told if n == "state_changed"] == ([expected] if expected != status else [])


def test_one_function_writes_a_states_status() -> None:
    """Everything that sets the column, wherever it is: the writer's SQL, and rows that are born with one."""
    writers = set()
    for file in (ROOT / "stackly").rglob("*.py"):
        for statement in re.findall(r"UPDATE stack_states[^\"]*\bSET\b[^\"]*", file.read_text()):
            if re.search(r"\bstatus\s*=", statement.split("WHERE", maxsplit=1)[0]):
                writers.add(file.name)
        if re.search(r"write_state\([^)]*status=", file.read_text()):
            writers.add(file.name)
    assert writers == {"lifecycle.py"}


async def test_code_that_went_leaves_what_it_holds_loose(rows: Rows) -> None:
    async with rows.transactions() as session:
        code = await code_at(session, rows, "a")
        held, empty = await state_of(session, code), await state_of(session, code, "empty", "eu")
        assert [s.id for s in await lifecycle.code_gone(session, code, reason="a went away in abc1234")] == [held.id]
        after = await store.get_state(session, held.id)
        assert (after.status, after.destroy_at) == ("loose", None)
        assert after.reason is not None
        assert after.reason.startswith("a went away in abc1234; `stackly stack associate ")
        assert f"`stackly stack destroy {code.id}`" in after.reason
        assert (await store.get_state(session, empty.id)).status == "empty"
        assert (await store.get_code(session, code.id)).status == "loose"


async def test_code_that_held_nothing_is_deregistered(rows: Rows) -> None:
    async with rows.transactions() as session:
        code = await code_at(session, rows, "a")
        await state_of(session, code, "destroyed")
        assert await lifecycle.code_gone(session, code, reason="gone") == []
        assert (await store.get_code(session, code.id)).status == "deregistered"


async def test_a_destroy_that_is_under_way_goes_on_and_a_failed_one_leaves_it_loose(rows: Rows) -> None:
    """It was red: a state whose destroy was under way became loose when its code went."""
    async with rows.transactions() as session:
        code = await code_at(session, rows, "a")
        state = await state_of(session, code, "destroying")
        assert await lifecycle.code_gone(session, code, reason="gone") == []
        assert (await store.get_code(session, code.id)).status == "loose"
        assert (await store.get_state(session, state.id)).status == "destroying"
        failed = await lifecycle.move_state(session, state.id, StateEvent.DESTROY_FAILED)
        assert failed.status == "loose"
        assert "stackly stack destroy" in (failed.reason or "")


async def test_saying_it_again_changes_nothing(rows: Rows) -> None:
    async with rows.transactions() as session:
        code = await code_at(session, rows, "a", deregister=Deregister("auto_destroy", 3600))
        state = await state_of(session, code)
        await lifecycle.code_gone(session, code, reason="first")
        once = await store.get_state(session, state.id)
        await lifecycle.code_gone(session, await store.get_code(session, code.id), reason="second")
        assert await store.get_state(session, state.id) == once


async def test_code_that_came_back_takes_its_states_with_it(rows: Rows) -> None:
    async with rows.transactions() as session:
        code = await code_at(session, rows, "a", deregister=Deregister("auto_destroy", 3600))
        state = await state_of(session, code)
        await lifecycle.code_gone(session, code, reason="gone")
        assert (await store.get_state(session, state.id)).destroy_at is not None
        back = await lifecycle.code_back(session, await store.get_code(session, code.id))
        assert [(s.id, s.status, s.reason, s.destroy_at) for s in back] == [(state.id, "active", None, None)]
        assert (await store.get_code(session, code.id)).status == "active"


async def test_moved_code_is_what_its_states_wait_to_follow(rows: Rows) -> None:
    async with rows.transactions() as session:
        timer = Deregister("auto_destroy", 60)
        old, new = await code_at(session, rows, "a", deregister=timer), await code_at(session, rows, "b")
        state = await state_of(session, old)
        waiting = await lifecycle.code_moved(session, old, new, same_tree=True)
        assert [(s.id, s.status, s.successor, s.destroy_at) for s in waiting] == [(state.id, "loose", new.id, None)]
        assert (waiting[0].reason or "").startswith("a moved to b in ccccccc")
        assert (await store.get_code(session, old.id)).status == "loose"
        # What stood there goes from its new place as well: it is nobody's to follow, and still not destroyed.
        again = await lifecycle.code_gone(session, await store.get_code(session, old.id), reason="gone")
        assert [s.successor for s in again] == [new.id]


async def test_nothing_is_destroyed_by_itself_unless_the_stack_says_so(rows: Rows) -> None:
    async with rows.transactions() as session:
        code = await code_at(session, rows, "a")
        state = await state_of(session, code)
        await lifecycle.code_gone(session, code, reason="gone")
        assert (await store.get_state(session, state.id)).destroy_at is None
        assert "loose_destroy_scheduled" not in [n for n, _ in await names(session, f"state/{state.id}")]


async def test_auto_destroy_is_told_before_it_happens(rows: Rows) -> None:
    async with rows.transactions() as session:
        code = await code_at(session, rows, "a", deregister=Deregister("auto_destroy", 7200))
        state = await state_of(session, code)
        at = await db.now(session)
        await lifecycle.code_gone(session, code, reason="gone")
        due = (await store.get_state(session, state.id)).destroy_at
        assert due is not None
        assert timedelta(seconds=7190) < due - at < timedelta(seconds=7210)
        told = dict(await names(session, f"state/{state.id}"))["loose_destroy_scheduled"]
        assert told["cancel"] == f"stackly stack destroy {code.id} --state default --cancel"
        assert await loose_store.due(session, limit=10) == []


async def due_now(rows: Rows) -> StackState:
    """A loose state whose timer has run out."""
    async with rows.transactions() as session:
        code = await code_at(session, rows, "a", deregister=Deregister("auto_destroy", 3600))
        state = await state_of(session, code)
        await session.execute(
            text("UPDATE stack_states SET agent = 'pretend', commit = :c WHERE id = :id"),
            {"id": state.id, "c": "c" * 40},
        )
        await lifecycle.code_gone(session, code, reason="gone")
    await rows.execute(
        "UPDATE stack_states SET destroy_at = clock_timestamp() - interval '1 s' WHERE id = :s", s=state.id
    )
    return state


async def due(rows: Rows) -> list[str]:
    async with rows.transactions() as session:
        return await loose_store.due(session, limit=10)


async def status_of(rows: Rows, state: str) -> str:
    async with rows.transactions() as session:
        return (await store.get_state(session, state)).status


@pytest.mark.parametrize("status", ["archived", "suspended", "deleted", "uninstalled"])
async def test_access_that_is_lost_is_no_deletion_of_code(rows: Rows, status: str) -> None:
    state = await due_now(rows)
    async with rows.transactions() as session:
        await repos_store.set_repo_status(session, rows.repo_id, status, "GitHub says so")
    assert await loose.sweep(rows.transactions) == 0
    assert await status_of(rows, state.id) == "loose"
    await rows.execute(
        "UPDATE stack_states SET destroy_at = clock_timestamp() - interval '1 d' WHERE id = :s", s=state.id
    )
    assert await due(rows) == [], "whatever the row says, nothing is due while out of reach"
    assert await loose.sweep(rows.transactions) == 0
    await rows.execute("UPDATE repos SET status = 'active'")
    assert await due(rows) == [state.id], "the control: it is the repository's status that stops it"


async def test_a_timer_stands_still_while_the_repository_is_out_of_reach(rows: Rows) -> None:
    state = await due_now(rows)
    await rows.execute(
        "UPDATE stack_states SET destroy_at = clock_timestamp() + interval '2 h' WHERE id = :s", s=state.id
    )
    async with rows.transactions() as session:
        await repos_store.set_repo_status(session, rows.repo_id, "archived", None)
        assert (await store.get_state(session, state.id)).destroy_at is None
        await repos_store.set_repo_status(session, rows.repo_id, "active", None)
        left = await session.execute(
            text("SELECT extract(epoch FROM destroy_at - clock_timestamp()) FROM stack_states WHERE id = :s"),
            {"s": state.id},
        )
        assert 7100 < left.scalar_one() <= 7200


async def test_a_repository_that_is_back_has_an_hour_to_show_its_code(rows: Rows) -> None:
    state = await due_now(rows)
    async with rows.transactions() as session:
        await repos_store.set_repo_status(session, rows.repo_id, "suspended", None)
        await repos_store.set_repo_status(session, rows.repo_id, "active", None)
    assert await loose.sweep(rows.transactions) == 0
    async with rows.transactions() as session:
        due = (await store.get_state(session, state.id)).destroy_at
        assert due is not None
        assert due - await db.now(session) > timedelta(minutes=59)


async def test_a_renamed_repository_is_the_same_one(rows: Rows) -> None:
    async with rows.transactions() as session:
        code = await code_at(session, rows, "a")
        await repos_store.rename_repo(
            session, rows.repo_id, full_name="acme/other", clone_url="http://x/acme/other.git"
        )
        repo = await store.get_repo(session, rows.repo_id)
        assert (repo.full_name, repo.clone_url, repo.github_id, repo.status) == (
            "acme/other",
            "http://x/acme/other.git",
            1,
            "active",
        )
        assert (await store.get_code(session, code.id)).status == "active"
        await repos_store.rename_repo(session, rows.repo_id, full_name="acme/other")
        assert [n for n, _ in await names(session, f"repo/{rows.repo_id}")] == ["repo_renamed"]
