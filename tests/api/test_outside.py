"""An Idempotency-Key covers what lies outside Postgres: repeated, lost half way, or asked twice at once."""

import asyncio
from typing import Any

import httpx
import pytest

from stackly import db
from stackly.api.repos import _tell
from stackly.events.reads import rows
from tests.api.conftest import World

KEY = {"Idempotency-Key": "rotate-1"}


@pytest.fixture
async def repo(world: World, api: httpx.AsyncClient) -> str:
    world.github.add("acme/shop", 7)
    return str((await api.post("/api/v1/repos", json={"url": "acme/shop"})).json()["id"])


def _secrets(world: World) -> list[str]:
    """Each secret that GitHub was told, once, in order."""
    return list(dict.fromkeys(p["config"]["secret"] for p in world.github.patched))


async def test_rotated_twice_with_one_key_is_rotated_once(world: World, api: httpx.AsyncClient, repo: str) -> None:
    first = await api.post(f"/api/v1/repos/{repo}/rotate", headers=KEY)
    again = await api.post(f"/api/v1/repos/{repo}/rotate", headers=KEY)
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json() == again.json()
    assert again.headers["Idempotency-Replayed"] == "true"
    assert len(_secrets(world)) == 2, "the one before and the new one"
    other = await api.post(f"/api/v1/repos/{repo}/rotate", headers={"Idempotency-Key": "rotate-2"})
    assert other.status_code == 200
    assert len(_secrets(world)) == 3


@pytest.mark.parametrize("lost", [1, 2, 3])
async def test_a_rotation_that_was_cut_off_is_carried_on_and_not_begun_anew(
    world: World, api: httpx.AsyncClient, repo: str, lost: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GitHub's answers are lost: of its first call, of its second, or of the repeat's."""
    calls = 0

    async def unlucky(*args: Any) -> str:
        nonlocal calls
        calls += 1
        number = await _tell(*args)
        if calls == lost:
            raise TimeoutError
        return number

    monkeypatch.setattr("stackly.api.repos._tell", unlucky)
    answers = []
    for _ in range(3):
        try:
            answers.append((await api.post(f"/api/v1/repos/{repo}/rotate", headers=KEY)).status_code)
        except TimeoutError:
            answers.append(500)
    assert answers[-1] == 200
    assert len(_secrets(world)) == 2, "one rotation, however often it was asked for"


async def test_one_that_is_under_way_is_not_carried_out_beside_itself(
    world: World, api: httpx.AsyncClient, repo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, waits = asyncio.Event(), asyncio.Event()

    async def slowly(*args: Any) -> str:
        waits.set()
        await go.wait()
        return await _tell(*args)

    monkeypatch.setattr("stackly.api.repos._tell", slowly)
    first = asyncio.create_task(api.post(f"/api/v1/repos/{repo}/rotate", headers=KEY))
    await waits.wait()
    beside = await api.post(f"/api/v1/repos/{repo}/rotate", headers=KEY)
    assert (beside.status_code, beside.json()["type"]) == (503, "/problems/request-under-way")
    assert "Retry-After" in beside.headers
    go.set()
    assert (await first).status_code == 200
    assert (await api.post(f"/api/v1/repos/{repo}/rotate", headers=KEY)).headers["Idempotency-Replayed"] == "true"
    assert len(_secrets(world)) == 2


async def test_a_key_of_another_request_is_refused_also_while_it_is_carried_out(
    api: httpx.AsyncClient, repo: str
) -> None:
    assert (await api.post(f"/api/v1/repos/{repo}/rotate", headers=KEY)).status_code == 200
    other = await api.post("/api/v1/repos", json={"url": "acme/shop"}, headers=KEY)
    assert other.json()["type"] == "/problems/idempotency-key-reused"


async def test_the_accounts_own_address_is_rotated_once_and_its_secret_is_kept_nowhere(
    api: httpx.AsyncClient, transactions: db.Transactions
) -> None:
    before = (await api.post("/api/v1/github/hook", json={})).json()["secret"]
    told = [(await api.post("/api/v1/github/hook", json={"rotate": True}, headers=KEY)).json() for _ in range(3)]
    assert told[0] == told[1] == told[2]
    assert told[0]["secret"] != before
    async with transactions() as session:
        answers = await rows(session, "SELECT coalesce(response::text, '') AS said FROM idempotency_keys")
    assert not any(told[0]["secret"] in a["said"] for a in answers)


async def test_a_redelivery_is_asked_for_once(world: World, api: httpx.AsyncClient, repo: str) -> None:
    world.github.deliveries = [{"id": 5, "guid": "g-1", "delivered_at": "2026-11-21T10:00:00Z", "status_code": 500}]
    world.github.deliveries[0] |= {"event": "push", "redelivery": False, "repository_id": 7, "action": None}
    body = {"guid": "g-1"}
    told = [await api.post(f"/api/v1/repos/{repo}/redeliver", json=body, headers=KEY) for _ in range(2)]
    assert [t.status_code for t in told] == [202, 202]
    assert len(world.github.attempts) == 1
