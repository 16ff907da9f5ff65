"""The credential that pushes to the local hub: in the JSON of those who may push, and nowhere else."""

from dataclasses import replace

import pytest
from sqlalchemy import text

from stackly.api import app as apps
from stackly.api.parts import PushAs
from tests.api.conftest import World

KEY = "key/of developer"
PLAIN = "https://hub.test/acme/shop.git"
SIGNED = "https://developer:key%2Fof%20developer@hub.test/acme/shop.git"


@pytest.fixture
def local(world: World) -> World:
    """The API of a home, which knows whom operators push as."""
    config = replace(world.parts.config, push_as=PushAs("developer", KEY))
    world.github.add("acme/shop", 7)
    return replace(world, app=apps.application(replace(world.parts, config=config)))


async def shown(world: World, who: str) -> list[str]:
    async with world.client(who) as client:
        one = (await client.get("/api/v1/repos/acme%2Fshop")).json()
        page = (await client.get("/api/v1/repos")).json()
    return [one["clone_url"], *(repo["clone_url"] for repo in page["items"])]


async def test_operators_and_above_get_it_and_nobody_else(local: World) -> None:
    async with local.client("admin") as client:
        made = await client.post("/api/v1/repos", json={"url": PLAIN}, headers={"Idempotency-Key": "k"})
        again = await client.post("/api/v1/repos", json={"url": PLAIN}, headers={"Idempotency-Key": "k"})
    assert (made.json()["clone_url"], again.json()["clone_url"]) == (SIGNED, SIGNED)
    assert await shown(local, "admin") == [SIGNED, SIGNED]
    assert await shown(local, "operator") == [SIGNED, SIGNED]
    assert await shown(local, "viewer") == [PLAIN, PLAIN]
    assert await shown(local, "approver") == [PLAIN, PLAIN]


async def test_no_row_holds_it_and_adding_drops_it(local: World) -> None:
    async with local.client("admin") as client:
        made = await client.post("/api/v1/repos", json={"url": SIGNED}, headers={"Idempotency-Key": "k"})
        assert made.status_code == 201
        refused = await client.post("/api/v1/repos", json={"url": "https://developer:key@elsewhere.test/acme/shop"})
        assert "key@" not in refused.text
    async with local.parts.transactions() as session:
        [(url,)] = (await session.execute(text("SELECT clone_url FROM repos"))).all()
        [(kept,)] = (await session.execute(text("SELECT response::text FROM idempotency_keys"))).all()
    assert url == PLAIN
    assert "developer:" not in kept
    assert PLAIN in kept


async def test_a_repository_elsewhere_gets_none(local: World) -> None:
    async with local.client("admin") as client:
        await client.post("/api/v1/repos", json={"url": PLAIN})
    async with local.parts.transactions() as session:
        await session.execute(text("UPDATE repos SET clone_url = 'https://hub.test.evil/acme/shop.git'"))
    assert await shown(local, "admin") == ["https://hub.test.evil/acme/shop.git"] * 2
