"""G5, G13: five outages of webhooks, each ended by the sweeper alone; repositories that move, close and come back."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from stackly.db import Transactions
from stackly.stacks.model import Repo
from tests.engine.sweeping import KEY, MAIN, Sky, plain, pushed_with, sky

Outage = Callable[[Sky], Awaitable[None]]


@pytest.fixture
async def world(transactions: Transactions, database: str, tmp_path: Path) -> AsyncIterator[Sky]:
    async with sky(transactions, database, tmp_path) as made:
        await made.attempted(1)  # the hook's ping
        yield made


async def _dropped(world: Sky) -> None:
    await world.faults(drop=1)


async def _five_hundreds(world: Sky) -> None:
    await world.faults(status=500)


async def _wrong_signatures(world: Sky) -> None:
    await world.faults(corrupt_signature=1)


async def _an_hour_late(world: Sky) -> None:
    """As good as an hour: none leaves before the test is over."""
    await world.faults(delay_s=600)


async def _reversed(world: Sky) -> None:
    await world.faults(reorder=1000, seed=1)


OUTAGES: list[Outage] = [_dropped, _five_hundreds, _wrong_signatures, _an_hour_late, _reversed]


async def _story(world: Sky) -> dict[str, str]:
    """Pushes of every kind. Returns where the branches stand at the end."""
    tree = world.tree
    await tree.pushed(plain("a", "a") | plain("b", "b"))
    side = await tree.pushed(plain("c", "c"), "HEAD:refs/heads/side")
    await tree.git("push", "-q", "origin", "HEAD~1:refs/heads/old")
    await tree.git("reset", "-q", "--hard", "HEAD~1")
    await tree.commit({"b/main.tf": None, "b/stackly.hcl": None})
    forced = await tree.pushed({"a/main.tf": 'resource "terraform_data" "y" {}\n'})
    await tree.git("push", "-q", "origin", ":refs/heads/old")
    return {MAIN: forced, "refs/heads/side": side}


@pytest.mark.parametrize("outage", OUTAGES, ids=lambda o: o.__name__.strip("_"))
async def test_an_outage_of_webhooks_ends_in_the_right_registry(world: Sky, outage: Outage) -> None:
    await outage(world)
    heads = await _story(world)
    if outage is not _reversed:  # those arrive, in whatever order
        await world.arrived()
        assert await world.registry() == {}
    await world.swept()
    await world.swept()
    assert await world.processed() == heads
    found = {place: commit for place, commit in (await world.registry()).items() if place[0] in heads}
    assert {(ref, path) for ref, path in found} == {
        (MAIN, "a"),
        ("refs/heads/side", "a"),
        ("refs/heads/side", "b"),
        ("refs/heads/side", "c"),
    }
    assert found[MAIN, "a"] == heads[MAIN]
    newest = [r for r in await world.runs() if r["commit"] == heads[MAIN] and r["status"] == "queued"]
    assert len(newest) == 1


async def test_a_calm_sky_is_swept_without_a_trace(world: Sky) -> None:
    await world.tree.pushed(plain("a", "a"))
    await world.attempted(2)
    await world.settled()
    before = await world.rows("SELECT count(*) AS n FROM events")
    await world.swept()
    assert await world.rows("SELECT count(*) AS n FROM events") == before
    assert await world.rows("SELECT * FROM outbox") == []
    [looked] = await world.rows("SELECT reason, look_at > clock_timestamp() AS later FROM connections")
    assert looked == {"reason": None, "later": True}


async def test_what_failed_is_asked_for_again_once_and_tells_who_pushed(world: Sky) -> None:
    await world.faults(status=503)
    await world.tree.pushed(plain("a", "a"))
    await world.attempted(2)
    await world.faults()
    await world.sweeps.slot(world.account)
    log = await world.attempted(3)
    assert (log[0]["redelivery"], log[0]["status_code"], log[0]["guid"]) == (True, 202, log[1]["guid"])
    await world.settled()
    [run] = await world.rows("SELECT trigger FROM operations")
    assert run["trigger"]["pusher"] == "developer"
    await world.swept()
    assert len(await world.attempted(3)) == 3


async def test_what_fails_again_is_not_asked_for_for_ever(world: Sky) -> None:
    await world.faults(corrupt_signature=1)
    await world.tree.pushed(plain("a", "a"))
    await world.attempted(2)
    for _ in range(3):
        await world.swept()
    assert len(await world.attempted(3)) == 3
    assert len(await world.registry()) == 1


async def test_a_hook_that_somebody_removed_is_told_and_costs_nothing(world: Sky) -> None:
    repo = await world.repo()
    await world.ask("DELETE", f"/repos/{repo.full_name}/hooks/{repo.hook}")
    await world.tree.pushed(plain("a", "a"))
    await world.swept()
    assert len(await world.registry()) == 1
    [looked] = await world.rows("SELECT reason FROM connections")
    assert "stackly repo add octo/stacks" in looked["reason"]


async def test_githubs_limit_holds_a_sync_and_stops_no_repository(world: Sky) -> None:
    await world.faults(drop=1)
    await world.tree.pushed(plain("a", "a"))
    await world.ask("PUT", "/_limits", {"kind": "primary", "count": 100, "retry_after_s": 3000})
    await world.swept()
    assert await world.registry() == {}
    assert (await world.repo()).status == "active"
    await world.ask("PUT", "/_limits", {"kind": "primary", "count": 0})
    world.github._rest._budgets.clear()
    await world.swept()
    assert len(await world.registry()) == 1


# What becomes of a repository: by webhook, and by the sweeper alone


async def _by_webhook(world: Sky, action: str) -> None:
    async with asyncio.timeout(20):
        while not await world.rows(  # noqa: ASYNC110 - a row is awaited
            "SELECT 1 FROM deliveries WHERE convert_from(body, 'UTF8') LIKE :a", a=f'%"action":"{action}"%'
        ):
            await asyncio.sleep(0.02)
    assert "repo-look" in await world.settled()


async def _by_sweep(world: Sky, action: str) -> None:
    await world.swept()


Told = Callable[[Sky, str], Awaitable[None]]


@pytest.fixture(params=[_by_webhook, _by_sweep], ids=["webhook", "sweep"])
async def told(world: Sky, request: pytest.FixtureRequest) -> Told:
    """How the platform hears of it. With nothing but sweeps, every webhook is lost."""
    await world.tree.pushed(plain("a", "a"))
    await world.attempted(2)
    await world.settled()
    await world.rows("UPDATE stack_states SET status = 'active' RETURNING id")
    if request.param is _by_sweep:
        await world.faults(drop=1)
    told: Told = request.param
    return told


async def _untouched(world: Sky) -> None:
    """Nothing of it was destroyed, loosened or deregistered, and nothing is asked for."""
    assert {s["status"] for s in await world.rows("SELECT status FROM stack_codes")} == {"active"}
    assert {s["status"] for s in await world.rows("SELECT status FROM stack_states")} <= {"active", "empty"}
    assert await world.rows("SELECT 1 FROM operations WHERE kind = 'destroy'") == []


async def _pushing_starts_nothing(world: Sky) -> None:
    before = await world.runs()
    await world.synced(world.repo_id)
    await world.swept()
    assert await world.runs() == before


async def test_a_renamed_repository_is_the_same_one(world: Sky, told: Told) -> None:
    await world.ask("PATCH", "/repos/octo/stacks", {"name": "orders"})
    await told(world, "renamed")
    repo = await world.repo()
    assert (repo.full_name, repo.status) == ("octo/orders", "active")
    assert repo.clone_url.endswith("/octo/orders.git")
    # Somebody takes the former name: it is another repository, and never ours.
    other = await world.ask("POST", "/orgs/octo/repos", {"name": "stacks"})
    assert other["id"] != repo.github_id
    await world.faults()
    commit = await world.tree.git("rev-parse", "HEAD")
    await world.tree.git("remote", "set-url", "origin", pushed_with(KEY, repo.clone_url))
    newer = await world.tree.pushed({"a/main.tf": 'resource "terraform_data" "z" {}\n'})
    await world.swept()
    assert await world.processed() == {MAIN: newer}
    assert newer != commit
    await _untouched(world)


async def test_a_transferred_repository_waits_for_a_person(world: Sky, told: Told) -> None:
    await world.ask("POST", "/repos/octo/stacks/transfer", {"new_owner": "tin"})
    await told(world, "transferred")
    assert (await world.repo()).status == "suspended"
    assert "stackly repo add tin/stacks" in (await world.reason() or "")
    await world.tree.pushed({"a/main.tf": "# new owner\n"})
    await _pushing_starts_nothing(world)
    assert (await world.repo()).status == "suspended"
    await _untouched(world)


async def test_an_archived_repository_goes_on_when_it_is_unarchived(world: Sky, told: Told) -> None:
    await world.ask("PATCH", "/repos/octo/stacks", {"archived": True})
    await told(world, "archived")
    assert (await world.repo()).status == "archived"
    await _pushing_starts_nothing(world)
    await _untouched(world)
    await world.ask("PATCH", "/repos/octo/stacks", {"archived": False})
    await told(world, "unarchived")
    assert (await world.repo()).status == "active"
    newer = await world.tree.pushed({"a/main.tf": "# again\n"})
    await world.swept()
    assert await world.processed() == {MAIN: newer}


async def test_a_deleted_repository_loses_no_state(world: Sky, told: Told) -> None:
    await world.ask("DELETE", "/repos/octo/stacks")
    await told(world, "deleted")
    assert (await world.repo()).status == ("suspended" if told is _by_sweep else "deleted")
    await _pushing_starts_nothing(world)
    await _untouched(world)


async def test_a_new_default_branch_is_taken(world: Sky, told: Told) -> None:
    await world.tree.git("push", "-q", "origin", "HEAD:refs/heads/trunk")
    await world.ask("PATCH", "/repos/octo/stacks", {"default_branch": "trunk"})
    await told(world, "edited")
    assert (await world.repo()).default_branch == "trunk"


async def test_a_repository_out_of_reach_is_asked_rarely(world: Sky) -> None:
    async def wait_s() -> float:
        [row] = await world.rows("SELECT extract(epoch FROM look_at - clock_timestamp())::float8 AS s FROM connections")
        return float(row["s"])

    await world.swept()
    often = await wait_s()
    await world.ask("PATCH", "/repos/octo/stacks", {"archived": True})
    await world.swept()
    await world.swept()
    assert await wait_s() > 5 * often


# The App


@pytest.fixture
async def app_world(transactions: Transactions, database: str, tmp_path: Path) -> AsyncIterator[Sky]:
    async with sky(transactions, database, tmp_path, with_app=True) as made:
        await made.ask("PATCH", "/repos/octo/stacks", {"private": True})
        await _install(made, ["stacks"])
        await _told(made, 1)
        await made.settled()
        yield made


async def _install(world: Sky, repositories: list[str] | None, **more: Any) -> None:
    await world.ask("PUT", "/_app/installations/octo", {"repositories": repositories, **more})


async def _told(world: Sky, count: int) -> None:
    async with asyncio.timeout(20):
        while len(await world.rows("SELECT guid FROM deliveries")) < count:  # noqa: ASYNC110 - a row is awaited
            await asyncio.sleep(0.02)


async def _person_pushes(world: Sky, files: dict[str, str]) -> str:
    """To a private repository, as somebody."""
    await world.tree.git("remote", "set-url", "origin", world.remote("key-of-ada"))
    return await world.tree.pushed(files)


async def test_one_address_serves_an_apps_repositories_with_their_tokens(app_world: Sky) -> None:
    assert await app_world.rows("SELECT installation IS NOT NULL AS known FROM connections") == [{"known": True}]
    commit = await _person_pushes(app_world, plain("a", "a"))
    await _told(app_world, 2)
    await app_world.settled()
    assert await app_world.processed() == {MAIN: commit}  # private: git read it with the installation's token
    [push] = await app_world.rows("SELECT repo, status FROM deliveries WHERE event = 'push'")
    assert push == {"repo": app_world.repo_id, "status": "received"}
    [run] = await app_world.rows("SELECT trigger FROM operations")
    assert run["trigger"]["pusher"] == "ada"


async def test_a_push_of_a_repository_that_nobody_connected_is_recorded(app_world: Sky) -> None:
    await app_world.ask("POST", "/orgs/octo/repos", {"name": "stranger"})
    await _install(app_world, None)
    await app_world.tree.commit({"x": "1"})
    await app_world.tree.git(
        "push", "-q", pushed_with(KEY, f"{app_world.hub.url}/octo/stranger.git"), "HEAD:refs/heads/main"
    )
    await _told(app_world, 3)
    [push] = await app_world.rows("SELECT status, reason FROM deliveries WHERE event = 'push'")
    assert push["status"] == "ignored"
    assert "octo/stranger is not connected" in push["reason"]


@pytest.mark.parametrize("loud", [True, False], ids=["webhook", "sweep"])
async def test_an_installation_that_is_suspended_or_removed_stops_scheduling_and_nothing_else(
    app_world: Sky, loud: bool
) -> None:
    deliveries = 2

    async def heard() -> Repo:
        nonlocal deliveries
        if loud:
            deliveries += 1
            await _told(app_world, deliveries)
            await app_world.settled()
        else:
            await app_world.swept()
        return await app_world.repo()

    await _person_pushes(app_world, plain("a", "a"))
    await _told(app_world, 2)
    await app_world.settled()
    if not loud:
        await app_world.faults(drop=1)
    await _install(app_world, ["stacks"], suspended=True)
    assert (await heard()).status == "suspended"
    await _pushing_starts_nothing(app_world)
    await _install(app_world, ["stacks"])
    assert (await heard()).status == "active"
    await _install(app_world, [])
    assert (await heard()).status == "suspended"
    await _install(app_world, ["stacks"])
    assert (await heard()).status == "active"
    await app_world.ask("DELETE", "/_app/installations/octo")
    assert (await heard()).status == "uninstalled"
    await _pushing_starts_nothing(app_world)
    await _untouched(app_world)
    await _install(app_world, ["stacks"])
    assert (await heard()).status == "active"


async def test_the_apps_own_log_is_read_again(app_world: Sky) -> None:
    await app_world.faults(status=502)
    commit = await _person_pushes(app_world, plain("a", "a"))
    await app_world.arrived()
    await app_world.faults()
    await app_world.rows("UPDATE connections SET look_at = clock_timestamp() RETURNING repo")
    await app_world.sweeps.slot(app_world.account)
    await _told(app_world, 2)
    await app_world.settled()
    assert await app_world.processed() == {MAIN: commit}
