"""A repository is its number: whoever has its name now. Who pushed is told by a delivery, else by GitHub's activity."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from stackly.db import Transactions
from stackly.stacks import connections_store as connections
from stackly.stacks import store as stacks
from tests.engine.sweeping import KEY, MAIN, Sky, Tree, plain, pushed_with, sky


@pytest.fixture
async def world(transactions: Transactions, database_url: str, tmp_path: Path) -> AsyncIterator[Sky]:
    async with sky(transactions, database_url, tmp_path) as made:
        await made.tree.pushed(plain("a", "a"))
        await made.attempted(2)
        await made.settled()
        yield made


async def _stranger(world: Sky, folder: Path) -> str:
    """The repository is renamed, and somebody else has its name and pushes."""
    await world.faults(drop=1)
    await world.ask("PATCH", "/repos/octo/stacks", {"name": "renamed"})
    made = await world.ask("POST", "/orgs/octo/repos", {"name": "stacks"})
    tree = Tree(folder / "stranger")
    tree.path.mkdir()
    await tree.git("init", "-q", "-b", "main")
    await tree.git("remote", "add", "origin", pushed_with("key-of-ada", made["clone_url"]))
    return await tree.pushed(plain("evil", "evil"))


async def test_a_stranger_under_the_old_name_is_never_read(world: Sky, tmp_path: Path) -> None:
    before = await world.registry()
    evil = await _stranger(world, tmp_path)
    await world.synced(world.repo_id)
    await world.swept()
    assert await world.registry() == before
    assert evil not in {r["commit"] for r in await world.runs()}
    assert (await world.repo()).full_name == "octo/renamed"
    await world.tree.git("remote", "set-url", "origin", pushed_with(KEY, f"{world.hub.url}/octo/renamed.git"))
    head = await world.tree.pushed(plain("b", "b"))
    await world.synced(world.repo_id)
    assert (await world.registry())[MAIN, "b"] == head


async def test_while_github_does_not_say_whose_a_name_is_nothing_is_taken(world: Sky, tmp_path: Path) -> None:
    """However shortly before it did: the name may be a stranger's since."""
    before = await world.registry()
    await world.tree.pushed({"README.md": "x"})
    await world.attempted(3)
    await _stranger(world, tmp_path)
    await world.ask("PUT", "/_limits", {"kind": "primary", "count": 1000, "retry_after_s": 3000})
    await world.settled()
    await world.rows("UPDATE connections SET look_at = clock_timestamp() RETURNING repo")
    await world.sweeps.slot(world.account)
    assert await world.registry() == before
    newest = "SELECT reason FROM deliveries WHERE event = 'push' ORDER BY received_at DESC LIMIT 1"
    for told in ((await world.rows(newest))[0]["reason"], await world.reason()):
        assert "held" in str(told)
        assert "rate limit" in str(told)


async def test_what_was_held_is_read_when_the_limit_ends(world: Sky) -> None:
    head = await world.tree.pushed(plain("b", "b"))
    await world.attempted(3)
    await world.ask("PUT", "/_limits", {"kind": "primary", "count": 1000, "retry_after_s": 3000})
    await world.settled()
    assert (MAIN, "b") not in await world.registry()
    due = "SELECT available_at - clock_timestamp() AS left FROM outbox WHERE kind = 'repo-sync'"
    assert [r["left"] > timedelta(minutes=45) for r in await world.rows(due)] == [True], (
        "asked when it ends, not before"
    )
    await world.ask("PUT", "/_limits", {"kind": "primary", "count": 0})
    world.github._rest._budgets.clear()
    await world.rows("UPDATE outbox SET available_at = clock_timestamp() RETURNING id")
    await world.settled()
    assert (await world.registry())[MAIN, "b"] == head
    assert await world.reason() is None
    assert not [r for r in await world.rows("SELECT reason FROM deliveries WHERE event = 'push'") if r["reason"]]


async def test_who_connects_a_repository_and_who_looks_at_it_do_not_deadlock(world: Sky) -> None:
    blocked = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with world.transactions() as session:
        await stacks.get_repo(session, world.repo_id, lock=True)
        looking = asyncio.create_task(world.sweeps.look(f"repo/{world.repo_id}"))
        async with asyncio.timeout(30):
            while not looking.done() and not await world.rows(blocked):  # noqa: ASYNC110 - a lock tells nobody
                await asyncio.sleep(0.02)
        await connections.connect(session, world.account, world.repo_id, None)
    await looking


async def test_a_repository_that_moves_under_a_fetch_is_fetched_again(world: Sky, tmp_path: Path) -> None:
    before = await world.registry()
    moved = False
    real = world.sync._source.look
    assert real is not None

    async def look(repo: str) -> Any:
        nonlocal moved
        found = await real(repo)
        if not moved:
            moved = True
            await _stranger(world, tmp_path)
        return found

    object.__setattr__(world.sync._source, "look", look)
    await world.synced(world.repo_id)
    assert await world.registry() == before


async def test_who_pushed_is_told_by_the_delivery(world: Sky) -> None:
    [run] = await world.rows("SELECT trigger FROM operations")
    assert run["trigger"]["pusher"]


async def test_who_pushed_is_told_by_githubs_activity_where_no_delivery_came(world: Sky) -> None:
    await world.faults(drop=1)
    await world.tree.git("remote", "set-url", "origin", world.remote("key-of-ada"))
    head = await world.tree.pushed(plain("b", "b"))
    await world.synced(world.repo_id)
    [run] = await world.rows("SELECT trigger FROM operations WHERE commit = :c", c=head)
    known = await world.ask("GET", "/repos/octo/stacks/activity?ref=refs%2Fheads%2Fmain")
    assert (known[0]["after"], known[0]["activity_type"]) == (head, "push")
    assert run["trigger"]["pusher"] == known[0]["actor"]["login"] == "ada"


async def test_a_tag_says_why_it_starts_nothing(world: Sky) -> None:
    await world.tree.git("tag", "v1")
    await world.tree.git("push", "-q", "origin", "v1")
    await world.attempted(3)
    await world.settled()
    [stored] = await world.rows("SELECT reason FROM deliveries WHERE convert_from(body, 'UTF8') LIKE '%refs/tags/v1%'")
    assert "refs/tags/v1 is a tag" in stored["reason"]
    subject = f"push/{world.repo_id}/refs/tags/v1"
    [told] = await world.rows("SELECT name, payload FROM events WHERE subject = :s", s=subject)
    assert (told["name"], told["payload"]["reason"]) == ("run_not_created", stored["reason"])


async def test_a_push_to_an_archived_repository_says_why_until_it_is_back(world: Sky) -> None:
    await world.tree.pushed(plain("b", "b"))
    await world.attempted(3)
    await world.ask("PATCH", "/repos/octo/stacks", {"archived": True})
    await world.settled()
    newest = "SELECT reason FROM deliveries WHERE event = 'push' ORDER BY received_at DESC LIMIT 1"
    assert "octo/stacks is archived" in (await world.rows(newest))[0]["reason"]
    told = await world.rows("SELECT payload FROM events WHERE name = 'run_not_created' AND subject LIKE 'push/%'")
    assert any("archived" in t["payload"]["reason"] for t in told)
    await world.ask("PATCH", "/repos/octo/stacks", {"archived": False})
    await world.sweeps.look(f"repo/{world.repo_id}")
    await world.settled()
    assert (await world.rows(newest))[0]["reason"] is None, "it is untrue now"
    assert (MAIN, "b") in await world.registry()


async def test_a_default_branch_renamed_on_github_takes_its_states_along(world: Sky) -> None:
    await world.rows(
        "UPDATE stack_states SET status = 'active', serial = 1, lineage = 'l', commit = :c RETURNING id",
        c=(await world.registry())[MAIN, "a"],
    )
    await world.rows("UPDATE operations SET status = 'succeeded', ended_at = clock_timestamp() RETURNING id")
    await world.tree.pushed({}, "HEAD:refs/heads/trunk")
    await world.ask("PATCH", "/repos/octo/stacks", {"default_branch": "trunk"})
    await world.sweeps.look(f"repo/{world.repo_id}")
    await world.settled()
    head = await world.tree.pushed({"README.md": "x"}, "HEAD:refs/heads/trunk")
    await world.tree.git("push", "-q", "origin", ":main")
    await world.synced(world.repo_id)
    await world.settled()
    assert (await world.repo()).default_branch == "trunk"
    assert (await world.processed())["refs/heads/trunk"] == head
    [state] = await world.rows("SELECT s.status, c.ref FROM stack_states s JOIN stack_codes c ON c.id = s.successor")
    assert (state["status"], state["ref"]) == ("loose", "refs/heads/trunk")
    kinds = await world.rows("SELECT kind, status FROM operations ORDER BY created_at, id")
    assert [(k["kind"], k["status"]) for k in kinds] == [("deploy", "succeeded"), ("preview", "queued")]
