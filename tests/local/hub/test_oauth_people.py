"""Who came with a token, what they may see, and how a token ends."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from tests.git.github_schema import SchemaMissing
from tests.local.hub import rest_schema
from tests.local.hub.oauth_parts import CLIENT, KEY, SECRET, SIGNED

if TYPE_CHECKING:
    from tests.local.hub.oauth_parts import Login


@pytest.fixture
def published(require: Callable[[object, str], None]) -> Callable[[str, Any], list[str]]:
    try:
        rest_schema.problems("email", {})
    except SchemaMissing as e:
        require(None, str(e))
    return rest_schema.problems


async def describe(login: "Login", who: str, **told: Any) -> None:
    (await login.client.put(f"/_users/{who}", json=told, headers=SIGNED)).raise_for_status()


async def test_people_and_addresses_are_what_github_publishes(
    login: "Login", published: Callable[[str, Any], list[str]]
) -> None:
    await login.client.post("/orgs/ada/repos", json={"name": "open"}, headers=SIGNED)
    await login.client.post("/orgs/ada/repos", json={"name": "shut", "private": True}, headers=SIGNED)
    for told in (
        {},
        {"name": "Ada", "email": "ada@example.invalid"},
        {"email": "ada@example.invalid", "public": False},
    ):
        await describe(login, "ada", **told)
        private = (await login.get("/user", await login.token(scope="read:user user:email"))).json()
        public = (await login.get("/user", await login.token())).json()
        emails = (await login.get("/user/emails", await login.token(scope="user"))).json()
        assert published("private-user", private) == []
        assert published("public-user", public) == []
        assert [published("email", email) for email in emails] == [[]] * len(emails)
        assert (private["owned_private_repos"], private["public_repos"], private["id"]) == (1, 1, public["id"])
        assert "owned_private_repos" not in public
    del private["node_id"]
    assert published("private-user", private) != []
    assert published("public-user", {**public, "surprise": 1}) != []


async def test_an_address_may_be_hidden_unproven_or_missing(login: "Login") -> None:
    token = await login.token(scope="user:email")
    assert (await login.get("/user", token)).json()["email"] is None
    assert (await login.get("/user/emails", token)).json() == []
    await describe(login, "ada", email="ada@example.invalid", verified=False, public=False)
    assert (await login.get("/user", token)).json()["email"] is None
    [found] = (await login.get("/user/emails", token)).json()
    assert found == {"email": "ada@example.invalid", "primary": True, "verified": False, "visibility": "private"}
    await describe(login, "ada", name="Ada", email="ada@example.invalid")
    assert (await login.get("/user", token)).json()["email"] == "ada@example.invalid"


async def test_addresses_want_their_scope(login: "Login") -> None:
    for scope in ("", "read:user", "repo"):
        got = await login.get("/user/emails", await login.token(scope=scope))
        assert (got.status_code, got.json()["message"]) == (404, "Not Found")
        assert got.headers["x-oauth-scopes"] == scope
    got = await login.get("/user/emails", await login.token(scope="user"))
    assert (got.status_code, got.headers["x-accepted-oauth-scopes"]) == (200, "user, user:email")
    nobody = await login.client.get("/user/emails")
    assert (nobody.status_code, nobody.json()["message"]) == (401, "Requires authentication")


async def test_each_answer_says_what_the_token_may(login: "Login") -> None:
    await login.client.post("/orgs/acme/repos", json={"name": "stacks"}, headers=SIGNED)
    token = await login.token(scope="user:email read:org")
    for path in ("/user", "/repos/acme/stacks", "/user/repos"):
        got = await login.get(path, token)
        assert (got.status_code, got.headers["x-oauth-scopes"]) == (200, "read:org, user:email")
    assert "x-oauth-scopes" not in (await login.get("/repos/acme/stacks", KEY)).headers


async def test_a_token_that_is_unknown_or_was_revoked_opens_nothing(login: "Login") -> None:
    await login.client.post("/orgs/acme/repos", json={"name": "stacks"}, headers=SIGNED)
    token, other = await login.token(), await login.token()
    path = f"/applications/{CLIENT}/token"
    done = await login.client.request("DELETE", path, auth=(CLIENT, SECRET), json={"access_token": token})
    assert done.status_code == 204
    for bad in (token, "gho_" + "x" * 36, "gho_"):
        for where in ("/user", "/user/emails", "/repos/acme/stacks"):
            got = await login.get(where, bad)
            assert (got.status_code, got.json()["message"]) == (401, "Bad credentials")
    basic = await login.client.get("/acme/stacks.git/info/refs?service=git-upload-pack", auth=("ada", token))
    assert basic.status_code == 401
    assert (await login.get("/user", other)).status_code == 200


async def test_only_the_application_ends_its_tokens(login: "Login") -> None:
    token = await login.token()
    path, body = f"/applications/{CLIENT}/token", {"access_token": token}
    for auth in ((CLIENT, "wrong"), ("other", SECRET), ("", "")):
        assert (await login.client.request("DELETE", path, auth=auth, json=body)).status_code == 401
    assert (await login.client.request("DELETE", path, json=body)).status_code == 401
    for wrong_path, wrong_body, status in (
        ("/applications/other/token", body, 404),
        (path, {"access_token": "gho_x"}, 404),
        (path, {}, 422),
    ):
        got = await login.client.request("DELETE", wrong_path, auth=(CLIENT, SECRET), json=wrong_body)
        assert got.status_code == status
    assert (await login.get("/user", token)).status_code == 200


async def test_who_came_with_a_token_acts_under_their_name(login: "Login") -> None:
    token = await login.token("ada")
    made = await login.client.post("/user/repos", json={"name": "x"}, headers={"Authorization": f"token {token}"})
    assert made.json()["full_name"] == "ada/x"
    assert (await login.client.get("/user", auth=("somebody", token))).json()["login"] == "ada"


async def test_a_key_of_the_hub_is_its_persons_whatever_user_name_stands_beside_it(login: "Login") -> None:
    assert (await login.get("/user", KEY)).json()["login"] == "developer"
    assert (await login.client.get("/user", auth=("ada", "key-of-lin"))).json()["login"] == "lin"
    assert (await login.client.put("/_users/not-a-login!", json={}, headers=SIGNED)).status_code == 404
    for nobody in ({}, {"auth": ("developer", "x")}, {"headers": {"Authorization": "Bearer the-hubs-own"}}):
        assert (await login.client.get("/user", **nobody)).status_code == 401
