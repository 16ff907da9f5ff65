"""The parts of GitHub's API that need no hook."""

from typing import TYPE_CHECKING

import pytest

from stackly.local.hub.hub import MAX_STATUSES

if TYPE_CHECKING:
    from tests.local.hub.conftest import Receiver, Running, Work

STATUSES = "/repos/acme/stacks/statuses"


async def test_a_repository_is_made_once(hub: "Running") -> None:
    made = await hub.json("POST", "/user/repos", json={"name": "bench", "private": True})
    assert made["full_name"] == "developer/bench"
    assert (made["visibility"], made["clone_url"]) == ("private", f"{hub.url}/developer/bench.git")
    again = await hub.client.post("/user/repos", json={"name": "BENCH"})
    assert again.status_code == 422
    assert again.json()["errors"][0]["message"] == "name already exists on this account"
    assert {r["full_name"] for r in await hub.json("GET", "/user/repos")} == {"acme/stacks", "developer/bench"}


@pytest.mark.parametrize("name", ["..", ".", "a/b", "", "x.git", "ä", "a" * 101, "-\n"])
async def test_names_stay_names(hub: "Running", name: str) -> None:
    assert (await hub.client.post("/user/repos", json={"name": name})).status_code == 422


@pytest.mark.parametrize("branch", ["-x", "a..b", "x.lock", "a b", ""])
async def test_branches_are_named_as_git_allows(hub: "Running", branch: str) -> None:
    body = {"name": "b", "default_branch": branch}
    assert (await hub.client.post("/user/repos", json=body)).status_code == 422


async def test_a_renamed_repository_keeps_its_number_and_answers_to_both_names(
    hub: "Running", receiver: "Receiver", work: "Work"
) -> None:
    hook = await hub.hooked(receiver, ["push", "repository"])
    before = await hub.json("GET", "/repos/acme/stacks")
    after = await hub.json("PATCH", "/repos/acme/stacks", json={"name": "renamed"})
    assert (after["id"], after["full_name"]) == (before["id"], "acme/renamed")
    assert (await hub.json("GET", f"/repositories/{before['id']}"))["full_name"] == "acme/renamed"
    await work.commit({"x": "1"})
    await work.push("main")  # to the former name
    got = await receiver.wait(3)
    assert {g.event for g in got} == {"ping", "repository", "push"}
    assert (await hub.json("GET", f"/repos/acme/stacks/hooks/{hook}"))["id"] == hook
    taken = await hub.json("POST", "/orgs/acme/repos", json={"name": "stacks"})
    assert taken["id"] != before["id"]
    assert (await hub.json("GET", "/repos/acme/stacks"))["id"] == taken["id"]


async def test_a_deleted_repositorys_number_is_not_given_again(hub: "Running") -> None:
    old = await hub.json("GET", "/repos/acme/stacks")
    assert (await hub.client.delete("/repos/acme/stacks")).status_code == 204
    assert (await hub.client.get("/repos/acme/stacks")).status_code == 404
    new = await hub.json("POST", "/orgs/acme/repos", json={"name": "stacks"})
    assert new["id"] > old["id"]


async def test_statuses_are_kept_newest_first_and_capped(hub: "Running", work: "Work") -> None:
    sha = await work.commit({"x": "1"})
    await work.push("main")
    body = {"state": "pending", "context": "stackly/run", "description": "Waiting", "target_url": "http://x/1"}
    first = await hub.json("POST", f"{STATUSES}/{sha}", json=body)
    assert (first["state"], first["context"], first["creator"]["login"]) == ("pending", "stackly/run", "developer")
    await hub.json("POST", f"{STATUSES}/{sha}", json={**body, "state": "success"})
    assert [s["state"] for s in await hub.json("GET", f"{STATUSES}/{sha}")] == ["success", "pending"]
    assert MAX_STATUSES == 1000
    for _ in range(20 - 2):  # this hub takes twenty of one context
        await hub.json("POST", f"{STATUSES}/{sha}", json=body)
    answer = await hub.client.post(f"{STATUSES}/{sha}", json=body)
    assert answer.status_code == 422
    assert "maximum number of statuses" in answer.json()["errors"][0]["message"]
    upper = await hub.client.post(f"{STATUSES}/{sha}", json={**body, "context": "STACKLY/RUN"})
    assert upper.status_code == 422
    assert (await hub.client.post(f"{STATUSES}/{sha}", json={**body, "context": "other"})).status_code == 201


async def test_senseless_statuses_are_refused(hub: "Running", work: "Work") -> None:
    sha = await work.commit({"x": "1"})
    await work.push("main")
    assert (await hub.client.post(f"{STATUSES}/{sha}", json={"state": "great"})).status_code == 422
    for wrong in ("f" * 40, "main", "--all"):
        assert (await hub.client.post(f"{STATUSES}/{wrong}", json={"state": "success"})).status_code == 422


async def test_a_hook_needs_an_address_and_is_made_once(hub: "Running", receiver: "Receiver") -> None:
    for url in ("", "ftp://x", "http://[", "nothing"):
        answer = await hub.client.post("/repos/acme/stacks/hooks", json={"config": {"url": url}})
        assert answer.status_code == 422
    await hub.hooked(receiver)
    again = await hub.client.post("/repos/acme/stacks/hooks", json={"config": {"url": receiver.url}})
    assert again.json()["errors"][0]["message"] == "Hook already exists on this repository"


async def test_what_is_not_there_is_githubs_404(hub: "Running") -> None:
    for path in ("/repos/acme/none", "/repos/acme/none/hooks", "/repos/acme/stacks/hooks/9", "/repositories/99"):
        answer = await hub.client.get(path)
        assert (answer.status_code, answer.json()["message"]) == (404, "Not Found")
    for path in ("/acme/none.git/info/refs", "/acme/stacks.git/config", "/acme/stacks.git/../../hub.sqlite"):
        assert (await hub.client.get(path)).status_code == 404


async def test_foreign_pages_and_foreign_names_are_refused(hub: "Running") -> None:
    body = {"name": "evil"}
    foreign = await hub.client.post("/user/repos", json=body, headers={"Origin": "http://evil.invalid"})
    rebound = await hub.client.post("/user/repos", json=body, headers={"Host": "evil.invalid"})
    assert (foreign.status_code, rebound.status_code) == (403, 400)
    assert (await hub.client.get("/repos/developer/evil")).status_code == 404


async def test_the_front_page_lists_repositories(hub: "Running") -> None:
    await hub.json("POST", "/user/repos", json={"name": "x", "description": "<script>"})
    page = (await hub.client.get("/")).text
    assert "acme/stacks" in page
    assert "<script>" not in page
    assert await hub.json("GET", "/healthz") == {"status": "ok", "repositories": 2}
