"""A sweep looks at many repositories: what becomes of one is that one's."""

import pkgutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from stackly.db import Transactions
from stackly.stacks import connections_store as connections
from stackly.stacks import store as stacks
from tests.engine.sweeping import MAIN, Sky, plain, sky


@pytest.fixture
async def world(transactions: Transactions, database: str, tmp_path: Path) -> AsyncIterator[Sky]:
    async with sky(transactions, database, tmp_path) as made:
        await made.attempted(1)  # the hook's ping
        yield made


@pytest.mark.parametrize(
    "place",
    ["stackly.engine.upstream.Looks.look", "stackly.git.mirrors.Mirror.remote_refs", "stackly.stacks.store.get_repo"],
)
async def test_what_nobody_foresaw_of_one_repository_costs_no_other_its_sweep(
    world: Sky, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    commit = await world.tree.pushed(plain("a", "a"))
    await world.rows("DELETE FROM outbox RETURNING id")
    upstream = await world.ask("POST", "/orgs/octo/repos", {"name": "odd"})
    async with world.transactions() as session:
        odd = await stacks.insert_repo(
            session,
            world.account,
            github_id=upstream["id"],
            full_name="octo/odd",
            clone_url=upstream["clone_url"],
            default_branch="main",
            hook="app",
        )
        await connections.connect(session, world.account, odd.id, None)
    _break(monkeypatch, place, odd.id)
    await world.rows("UPDATE connections SET look_at = clock_timestamp() RETURNING repo")
    swept = await world.sweeps.slot(world.account)
    assert (swept.looked, swept.failed) == (2, 1)
    (trouble,) = await world.rows("SELECT act, count AS times, about, reason FROM troubles")
    assert (trouble["act"], trouble["times"], trouble["about"]) == ("sweep", 1, odd.id)
    assert "KeyError" in trouble["reason"]
    await world.settled()
    assert await world.registry() == {(MAIN, "a"): commit}


def _break(monkeypatch: pytest.MonkeyPatch, place: str, repo: str) -> None:
    """Whatever stands there fails for this repository as nobody foresaw."""
    owner, _, name = place.rpartition(".")
    genuine: Any = pkgutil.resolve_name(place)

    async def broken(*args: Any, **given: Any) -> Any:
        if repo in map(str, args) or repo in str(getattr(args[0], "path", "")):
            raise KeyError(repo)
        return await genuine(*args, **given)

    monkeypatch.setattr(pkgutil.resolve_name(owner), name, broken)
