"""The hub's App: its JWT, its installations and their tokens, its one webhook, and what is told about repositories."""

import json
import sqlite3
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jwt
import pytest

from stackly import clock
from stackly.git.github_app import AppKey
from stackly.git.github_client import GitHub
from stackly.git.github_rest import GitHubHost, UpstreamLimited, UpstreamNotFound, UpstreamRefused
from stackly.git.mirrors import Mirror
from stackly.git.payloads import read
from stackly.git.runner import Runner
from stackly.local.hub import apps, store
from tests.local.hub.conftest import SECRET

if TYPE_CHECKING:
    from tests.local.hub.conftest import Got, Receiver, Running, Work

STACKS = "/repos/acme/stacks"


async def client(hub: "Running", receiver: "Receiver | None" = None) -> GitHub:
    """Our own client as an App of the hub; with a receiver, its webhook goes there."""
    made = await hub.json("POST", "/_app", json={"slug": "stackly"})
    github = GitHub(GitHubHost(hub.url, hub.url), app=AppKey(made["client_id"], made["pem"].encode()))
    if receiver is not None:
        await github.set_app_hook(url=receiver.url, secret=SECRET)
    return github


async def install(hub: "Running", repositories: list[str] | None, **more: Any) -> int:
    body = {"repositories": repositories, **more}
    return int((await hub.json("PUT", "/_app/installations/acme", json=body))["id"])


async def test_our_client_acts_as_an_installation(hub: "Running") -> None:
    await hub.json("POST", "/orgs/acme/repos", json={"name": "other"})
    github = await client(hub)
    assert await github.installation_of("acme/stacks") is None
    number = await install(hub, ["stacks"])
    assert await github.installation_of("acme/stacks") == number
    found = await github.repository("acme/stacks", installation=number)
    assert await github.reachable(number) == {found.github_id}
    token = await github.token(number)
    assert token is not None
    assert len(token) > 100
    with pytest.raises(UpstreamNotFound):
        await github.repository("acme/other", installation=number)
    assert (await github.installation(number)).owner == "acme"
    await github.close()


async def test_only_the_apps_own_short_jwt_opens_its_routes(hub: "Running") -> None:
    made = await hub.json("POST", "/_app", json={})
    now = int(clock.now().timestamp())

    async def answer(key: str = made["pem"], algorithm: str = "RS256", **claims: Any) -> int:
        whole = {"iat": now - 60, "exp": now + 540, "iss": made["client_id"], **claims}
        token = jwt.encode({k: v for k, v in whole.items() if v is not None}, key, algorithm=algorithm)
        return (await hub.client.get("/app", headers={"Authorization": f"Bearer {token}"})).status_code

    assert await answer() == 200
    assert await answer(iss=str(made["id"])) == 200
    other = apps.Apps(sqlite3.connect(":memory:"))
    other._db.row_factory = sqlite3.Row
    assert await answer(key=other.register("x")[1]) == 401
    for wrong in ({"exp": now - 100}, {"exp": now + 1200}, {"iat": now + 600}, {"iss": "x"}, {"exp": None}):
        assert await answer(**wrong) == 401, wrong
    assert await answer(key="s" * 32, algorithm="HS256") == 401
    assert (await hub.client.get("/app")).status_code == 401


async def test_a_suspended_or_removed_installation_gives_nothing(hub: "Running") -> None:
    github = await client(hub)
    number = await install(hub, None)
    token = await github.token(number)
    await install(hub, None, suspended=True)
    assert (await github.installation(number)).suspended
    headers = {"Authorization": f"Bearer {token}"}
    assert (await hub.client.get(STACKS, headers=headers)).status_code == 401
    with pytest.raises(UpstreamRefused):
        await github.token(number)
    await install(hub, None)
    assert not (await github.installation(number)).suspended
    await hub.client.delete("/_app/installations/acme")
    with pytest.raises(UpstreamNotFound):
        await github.installation(number)
    assert await install(hub, None) > number


async def test_a_token_ends_after_an_hour(hub: "Running", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apps, "TOKEN_LASTS", timedelta(seconds=-1))
    github = await client(hub)
    token = await github.token(await install(hub, None))
    assert (await hub.client.get(STACKS, headers={"Authorization": f"token {token}"})).status_code == 401


async def test_git_reads_a_private_repository_with_the_installations_token(
    hub: "Running", work: "Work", tmp_path: Path
) -> None:
    await work.commit({"x": "1"})
    await work.push("main")
    await hub.json("PATCH", STACKS, json={"private": True})
    github = await client(hub)
    token = await github.token(await install(hub, ["stacks"]))
    assert token is not None
    runner = Runner(protocols=frozenset({"http"}), timeout=30)
    url = f"{hub.url}/acme/stacks.git"
    allowed = Mirror(tmp_path, "one", url, runner, token=token)
    assert list(await allowed.remote_refs()) == ["refs/heads/main"]
    await allowed.fetch()
    for wrong in (None, f"{token}x"):
        with pytest.raises(Exception, match="failed"):
            await Mirror(tmp_path, "two", url, runner, token=wrong).remote_refs()
    assert token not in "".join(p.read_text() for p in allowed.path.rglob("*") if p.is_file() and p.name == "config")


def _said(got: "Got") -> dict[str, Any]:
    assert got.genuine
    data: dict[str, Any] = json.loads(got.body)
    return data


async def test_one_address_hears_of_every_repository_and_installation(
    hub: "Running", receiver: "Receiver", work: "Work"
) -> None:
    await client(hub, receiver)
    number = await install(hub, ["stacks"])
    await hub.json("POST", "/orgs/acme/repos", json={"name": "other"})
    await work.commit({"x": "1"})
    await work.push("main")
    await install(hub, ["stacks", "other"])
    await install(hub, ["other"])
    await install(hub, ["other"], suspended=True)
    await install(hub, ["other"])
    await hub.client.delete("/_app/installations/acme")
    got = await receiver.wait(7)
    told = [(g.event, _said(g).get("action")) for g in got]
    assert sorted(told, key=str) == sorted(
        [
            ("installation", "created"),
            ("push", None),
            ("installation_repositories", "added"),
            ("installation_repositories", "removed"),
            ("installation", "suspend"),
            ("installation", "unsuspend"),
            ("installation", "deleted"),
        ],
        key=str,
    )
    assert {g.headers["x-github-hook-installation-target-type"] for g in got} == {"integration"}
    for g in got:
        said = read(g.event, g.body)
        assert said.installation == number
        assert said.kind in {"push", "installation"}


async def test_an_organisations_hook_hears_of_its_repositories(
    hub: "Running", receiver: "Receiver", work: "Work"
) -> None:
    config = {"url": receiver.url, "content_type": "json", "secret": SECRET}
    await hub.json("POST", "/orgs/acme/hooks", json={"events": ["push"], "config": config})
    await work.commit({"x": "1"})
    await work.push("main")
    [got] = await receiver.wait(1)
    assert got.headers["x-github-hook-installation-target-type"] == "organization"
    assert read("push", got.body).kind == "push"


async def test_what_becomes_of_a_repository_is_told_and_goes_by_its_number(
    hub: "Running", receiver: "Receiver", work: "Work"
) -> None:
    await hub.hooked(receiver, ["push", "repository"])
    await work.commit({"x": "1"})
    await work.push("main", "main:refs/heads/trunk")
    before = await hub.json("GET", STACKS)
    await receiver.wait(3)
    seen = len(receiver.got)
    steps: list[tuple[str, dict[str, Any]]] = [
        ("archived", {"archived": True}),
        ("unarchived", {"archived": False}),
        ("privatized", {"private": True}),
        ("publicized", {"private": False}),
        ("renamed", {"name": "renamed"}),
        ("edited", {"default_branch": "trunk"}),
    ]
    for n, (action, change) in enumerate(steps):
        await hub.json("PATCH", STACKS, json=change)
        await receiver.wait(seen + n + 1)
        assert _said(receiver.got[-1])["action"] == action
    await hub.json("POST", f"{STACKS}/transfer", json={"new_owner": "tin"})
    moved = _said((await receiver.wait(seen + 7))[-1])
    assert (moved["action"], moved["changes"]["owner"]["from"]["user"]["login"]) == ("transferred", "acme")
    assert (moved["repository"]["full_name"], moved["repository"]["id"]) == ("tin/renamed", before["id"])
    assert (await hub.json("GET", STACKS))["full_name"] == "tin/renamed"
    await hub.client.delete("/repos/tin/renamed")
    gone = _said((await receiver.wait(seen + 8))[-1])
    assert gone["action"] == "deleted"
    assert (await hub.client.get(f"/repositories/{before['id']}")).status_code == 404
    assert (await hub.client.get(STACKS)).status_code == 404


async def test_an_archived_repository_takes_no_push(hub: "Running", work: "Work") -> None:
    await work.commit({"x": "1"})
    await hub.json("PATCH", STACKS, json={"archived": True})
    with pytest.raises(AssertionError, match="403"):
        await work.push("main")


async def test_limits_on_demand_are_kept_by_our_client(hub: "Running") -> None:
    github = GitHub(GitHubHost(hub.url, hub.url))
    await hub.json("PUT", "/_limits", json={"kind": "secondary", "count": 1, "retry_after_s": 1})
    assert (await github.repository("acme/stacks")).full_name == "acme/stacks"
    await hub.json("PUT", "/_limits", json={"kind": "primary", "count": 1, "retry_after_s": 600})
    with pytest.raises(UpstreamLimited):
        await github.repository("acme/stacks")
    assert (await hub.client.get(STACKS)).status_code == 200  # one refusal was ordered; our client does not ask again
    with pytest.raises(UpstreamLimited):
        await github.repository("acme/stacks")
    await github.close()


def test_a_hub_of_an_earlier_release_goes_on(tmp_path: Path) -> None:
    """Its file knows neither archived repositories nor hooks without a repository."""
    old = sqlite3.connect(tmp_path / "hub.sqlite")
    former = store._SCHEMA.replace("archived INTEGER NOT NULL DEFAULT 0,", "").replace(
        "gone INTEGER NOT NULL DEFAULT 0,", ""
    )
    former = former.replace(", owner TEXT COLLATE NOCASE);", ");").replace(
        "repo INTEGER REFERENCES repos ON DELETE CASCADE,\n  active",
        "repo INTEGER NOT NULL REFERENCES repos,\n  active",
    )
    old.executescript(former)
    old.execute("INSERT INTO repos VALUES (3, 'acme', 'stacks', NULL, 0, 'main', 'then', 'then', NULL)")
    old.execute("INSERT INTO hooks VALUES (5, 3, 1, '[\"push\"]', '{\"url\": \"http://x\"}', 't', 't', NULL, NULL)")
    old.execute(
        "INSERT INTO deliveries (hook, repo, guid, event, redelivery, body, queued_at, status)"
        " VALUES (5, 3, 'g', 'push', 0, '{}', '2026-01-01', 'OK')"
    )
    old.commit()
    old.close()
    for _ in range(2):
        opened = store.Store(tmp_path)
        assert [(r.id, r.archived) for r in opened.repos()] == [(3, False)]
        assert [(h.id, h.repo, h.kind) for h in opened.hooks(3)] == [(5, 3, "Repository")]
        hook, item = opened.attempt(1)
        assert hook is not None
        assert item is not None
        opened.close()
    opened = store.Store(tmp_path)
    assert opened.add_hook(0, active=True, events=["*"], config={"url": "http://x"}).kind == "App"
    opened.close()
