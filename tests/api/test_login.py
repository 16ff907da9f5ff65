"""The sign-in link, the cookie it leaves, and what other sites cannot do with it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from stackly.accounts import service
from stackly.accounts.model import Role
from stackly.api.auth import COOKIE

if TYPE_CHECKING:
    from tests.api.conftest import World


async def _link(world: World) -> str:
    async with world.parts.transactions() as session:
        person = await service.ensure_identity(session, world.account.id, "admin", [Role.ADMIN])
        return await service.issue_login_key(session, person.id)


async def test_the_link_works_once_and_leaves_a_strict_cookie(world: World) -> None:
    key = await _link(world)
    async with world.client(None) as client:
        answer = await client.get("/login", params={"key": key})
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert (await client.get("/api/v1/me")).json()["login"] == "admin"
        # A reload by who is signed in goes on; anybody else is refused.
        assert (await client.get("/login", params={"key": key})).status_code == 303
    async with world.client(None) as stranger:
        assert (await stranger.get("/login", params={"key": key})).status_code == 401


@pytest.mark.parametrize(
    ("used", "made", "status"), [("11 h", "20 d", 200), ("13 h", "1 d", 401), ("1 h", "31 d", 401)]
)
async def test_a_session_ends_after_twelve_idle_hours_and_thirty_days(
    world: World, used: str, made: str, status: int
) -> None:
    async with world.client(None) as client:
        await client.get("/login", params={"key": await _link(world)})
        assert (await client.get("/api/v1/me")).status_code == 200
        async with world.parts.transactions() as session:
            await session.execute(
                text(
                    "UPDATE api_tokens SET used_at = now() - CAST(CAST(:used AS text) AS interval),"
                    " created_at = now() - CAST(CAST(:made AS text) AS interval),"
                    " expires_at = expires_at - CAST(CAST(:made AS text) AS interval) WHERE kind = 'session'"
                ),
                {"used": used, "made": made},
            )
        assert (await client.get("/api/v1/me")).status_code == status


async def test_of_many_who_spend_one_key_one_is_signed_in(world: World) -> None:
    key = await _link(world)

    async def spend() -> int:
        async with world.client(None) as client:
            return (await client.get("/login", params={"key": key})).status_code

    assert sorted(await asyncio.gather(*(spend() for _ in range(10)))) == [303] + [401] * 9


async def test_another_sites_page_cannot_use_the_cookie(world: World) -> None:
    async with world.client(None) as client:
        await client.get("/login", params={"key": await _link(world)})
        no_url = [{"Origin": origin} for origin in ("http://[::1", "http://[x]", "null", "")]
        for headers in ({"Origin": "http://evil.test"}, {"Sec-Fetch-Site": "cross-site"}, {}, *no_url):
            assert (await client.post("/api/v1/logout", headers=headers)).status_code == 403
        own = {"Origin": "http://stackly.test", "Sec-Fetch-Site": "same-origin"}
        assert (await client.post("/api/v1/logout", headers=own)).status_code == 200
        assert (await client.get("/api/v1/me")).status_code == 401


async def test_a_session_is_no_token_and_a_login_key_is_neither(world: World) -> None:
    key = await _link(world)
    async with world.client(None) as client:
        await client.get("/login", params={"key": await _link(world)})
        session = client.cookies[COOKIE]
        client.cookies.clear()
        for secret in (key, session):
            answer = await client.get("/api/v1/me", headers={"Authorization": f"Bearer {secret}"})
            assert answer.status_code == 401


async def test_a_revoked_token_opens_nothing(world: World) -> None:
    async with world.client() as admin:
        made = (await admin.post("/api/v1/tokens", json={"name": "ci"})).json()
        assert made["token"].startswith("stk_token_")
        async with world.client(None) as client:
            headers = {"Authorization": f"Bearer {made['token']}"}
            assert (await client.get("/api/v1/me", headers=headers)).status_code == 200
            assert (await admin.post(f"/api/v1/tokens/{made['id']}/revoke")).status_code == 200
            assert (await client.get("/api/v1/me", headers=headers)).status_code == 401
        listed = (await admin.get("/api/v1/tokens")).json()["items"]
    assert all(t["token"] is None for t in listed)


async def test_a_used_link_leads_a_browser_to_a_page_that_says_so(world: World) -> None:
    key = await _link(world)
    async with world.client(None) as client:
        await client.get("/login", params={"key": key})
    async with world.client(None) as other:
        got = await other.get("/login", params={"key": key}, headers={"Accept": "text/html,*/*"})
        assert (got.status_code, got.headers["content-type"].partition(";")[0]) == (401, "text/html")
        assert "stackly status" in got.text
        assert key not in got.text


async def test_the_type_of_a_problem_is_an_address_that_resolves(world: World) -> None:
    async with world.client(None) as client:
        problem = (await client.get("/api/v1/me")).json()
        page = await client.get(problem["type"])
        assert (page.status_code, problem["title"] in page.text) == (200, True)
        for wrong in ("/problems/nothing-like-it", "/problems/..%2f..%2fREADME", "/problems/"):
            assert (await client.get(wrong)).status_code == 404
