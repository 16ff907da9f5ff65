"""What a stranger on this machine gets from the hub: public reads of its REST API, and nothing else."""

from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.local.hub.oauth_parts import CLIENT, JSON

if TYPE_CHECKING:
    from tests.local.hub.conftest import Running, Work
    from tests.local.hub.oauth_parts import Login

WRITES = [
    ("PUT", "/_faults", {"drop": 1}),
    ("GET", "/_faults", None),
    ("PUT", "/_limits", {"count": 5}),
    ("POST", "/_app", {}),
    ("PUT", "/_app/installations/acme", {}),
    ("PUT", "/_users/ada", {}),
    ("POST", "/user/repos", {"name": "x"}),
    ("POST", "/orgs/acme/repos", {"name": "x"}),
    ("POST", "/orgs/acme/hooks", {"config": {"url": "http://127.0.0.1:1/"}}),
    ("PATCH", "/repos/acme/stacks", {"private": True}),
    ("DELETE", "/repos/acme/stacks", None),
    ("POST", "/repos/acme/stacks/transfer", {"new_owner": "evil"}),
    ("POST", "/repos/acme/stacks/hooks", {"config": {"url": "http://127.0.0.1:1/"}}),
    ("POST", f"/repos/acme/stacks/statuses/{'a' * 40}", {"state": "success"}),
    ("GET", "/user", None),
]
# No credential, somebody's name, a wrong key, and the shapes of tokens that routes judge by themselves.
STRANGERS = {
    "nobody": {},
    "a name": {"auth": ("developer", "")},
    "a name, any password": {"auth": ("developer", "x")},
    "a wrong key": {"headers": {"Authorization": "Bearer x"}},
    "an installation's": {"headers": {"Authorization": "Bearer ghs_1_x"}},
    "a JWT": {"headers": {"Authorization": "Bearer a.b.c"}},
    "an OAuth token": {"headers": {"Authorization": "token gho_x"}},
}


@pytest.mark.parametrize("stranger", STRANGERS.values(), ids=STRANGERS)
async def test_what_changes_something_needs_a_key(hub: "Running", stranger: dict[str, object]) -> None:
    async with httpx.AsyncClient(base_url=hub.url) as http:
        for verb, path, body in WRITES:
            got = await http.request(verb, path, json=body, **stranger)  # type: ignore[arg-type]
            assert got.status_code == 401, (verb, path)
    shown = await hub.json("GET", "/repos/acme/stacks")
    assert (shown["private"], shown["owner"]["login"]) == (False, "acme")
    assert (await hub.json("GET", "/_faults"))["drop"] == 0
    assert len(await hub.json("GET", "/user/repos")) == 1


async def test_public_reads_of_the_rest_api_are_open(hub: "Running") -> None:
    async with httpx.AsyncClient(base_url=hub.url) as http:
        for path in ("/repos/acme/stacks", "/repos/acme/stacks/hooks", f"/repos/acme/stacks/statuses/{'a' * 40}"):
            assert (await http.get(path)).status_code == 200


@pytest.mark.parametrize("credential", ["", "developer:@", "developer:x@", "x:x-oauth-basic@"])
async def test_git_serves_nobody_without_a_key(hub: "Running", work: "Work", tmp_path: Path, credential: str) -> None:
    await work.commit({"x": "1"})
    await work.push("main")
    address = f"{hub.url}/acme/stacks.git".replace("://", f"://{credential}")
    for told in (["ls-remote", address], ["clone", address, str(tmp_path / "c")], ["push", address, "main:evil"]):
        with pytest.raises(AssertionError, match=r"uthentication|could not read"):
            await work.git(*told)
    assert "evil" not in await work.git("ls-remote", "origin")


async def test_nobody_becomes_somebody_by_consenting_for_them(login: "Login") -> None:
    """A device login asks for no secret of the client; the consent is what needs the key."""
    told = (await login.client.post("/login/device/code", data={"client_id": CLIENT}, headers=JSON)).json()
    body = {"user_code": told["user_code"], "login": "developer", "decision": "authorize"}
    token = await login.token("ada")
    for more in ({}, {"data": {"key": "x"}}, {"headers": {"Authorization": f"Bearer {token}"}}):
        form = {**body, **more.get("data", {})}
        got = await login.client.post("/login/device", data=form, headers=more.get("headers"))
        assert (got.status_code, "hub-token" in got.text) == (422, True)
        asked = {"client_id": CLIENT, "login": "developer", "decision": "authorize", **more.get("data", {})}
        got = await login.client.post("/login/oauth/authorize", data=asked, headers=more.get("headers"))
        assert (got.status_code, "location" in got.headers) == (422, False)
        got = await login.client.get(
            "/login/oauth/authorize", params={"client_id": CLIENT, "login": "developer"}, headers=more.get("headers")
        )
        assert (got.status_code, "location" in got.headers) == (200, False)
