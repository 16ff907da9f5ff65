"""Which bodies ring what, at which address; secrets that rotate; an App's one address for many repositories."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import httpx
import pytest

from stackly import db
from stackly.api.webhooks import Webhooks
from stackly.events.reads import rows
from stackly.git.signatures import sign
from stackly.ids import RepoId
from stackly.stacks import store as stacks
from tests.git import bodies

if TYPE_CHECKING:
    from tests.api.conftest import Hooked, World

LOOKS = {
    "repository": "repo-look",
    "installation": "installation-look",
    "installation_repositories": "installation-look",
}


@pytest.fixture
async def connected(world: World) -> RepoId:
    """The repository that the fixtures are about."""
    async with world.parts.transactions() as session:
        repo = await stacks.insert_repo(
            session,
            world.account.id,
            github_id=880011,
            full_name="cobalt-works/order-bench",
            clone_url="https://hub.test/cobalt-works/order-bench.git",
            default_branch="main",
            hook="app",
        )
    return repo.id


@pytest.fixture
async def address(world: World) -> tuple[str, bytes]:
    """The account's own webhook. Shape: (path, secret)."""
    async with world.parts.transactions() as session:
        hook, secret = await world.parts.hooks.create(session, world.account.id, None)
    return f"/webhooks/github/{hook}", secret


async def _sent(api: httpx.AsyncClient, name: str, address: tuple[str, bytes], *, guid: str = "g-1") -> httpx.Response:
    body = json.dumps(bodies.body(name)).encode()
    headers = {
        "X-GitHub-Event": bodies.event(name),
        "X-GitHub-Delivery": guid,
        "X-Hub-Signature-256": sign(address[1], body),
    }
    return await api.post(address[0], content=body, headers=headers)


def _rings(name: str, repo: str, account: str) -> list[db.Json]:
    event = bodies.event(name)
    if event == "ping":
        return []
    kind = LOOKS.get(event, "repo-sync")
    return [{"kind": kind, "key": f"{account}/55120" if kind == "installation-look" else repo}]


@pytest.mark.parametrize("name", bodies.NAMES)
async def test_every_body_github_sends_rings_what_it_should(
    world: World,
    api: httpx.AsyncClient,
    address: tuple[str, bytes],
    connected: RepoId,
    transactions: db.Transactions,
    name: str,
) -> None:
    answer = await _sent(api, name, address)
    assert answer.status_code == 202
    wanted = _rings(name, connected, world.account.id)
    async with transactions() as session:
        assert await rows(session, "SELECT kind, key FROM outbox") == wanted
        [stored] = await rows(session, "SELECT event, status, reason, repo FROM deliveries")
    assert stored["event"] == bodies.event(name)
    assert stored["status"] == ("received" if wanted else "ignored")
    assert bool(stored["reason"]) == (not wanted)
    assert stored["repo"] == (None if name.startswith("installation") or name == "ping.app" else connected)


async def test_a_repository_that_is_not_connected_is_recorded_with_what_to_do(
    api: httpx.AsyncClient, address: tuple[str, bytes], transactions: db.Transactions
) -> None:
    assert (await _sent(api, "push.branch", address)).json()["status"] == "ignored"
    async with transactions() as session:
        [stored] = await rows(session, "SELECT reason, repo FROM deliveries")
        assert await rows(session, "SELECT * FROM outbox") == []
    assert "cobalt-works/order-bench is not connected" in stored["reason"]
    assert "stackly repo add" in stored["reason"]


async def test_a_repository_connected_later_is_known_at_once(
    world: World, api: httpx.AsyncClient, address: tuple[str, bytes], request: pytest.FixtureRequest
) -> None:
    assert (await _sent(api, "push.branch", address)).json()["status"] == "ignored"
    async with world.parts.transactions() as session:
        await stacks.insert_repo(
            session,
            world.account.id,
            github_id=880011,
            full_name="cobalt-works/order-bench",
            clone_url="https://hub.test/cobalt-works/order-bench.git",
            default_branch="main",
            hook="",
        )
    assert (await _sent(api, "push.branch", address, guid="g-2")).json()["status"] == "received"


async def test_deliveries_of_the_one_address_are_listed_with_their_repository(
    api: httpx.AsyncClient, address: tuple[str, bytes], connected: RepoId
) -> None:
    await _sent(api, "push.branch", address)
    found = (await api.get(f"/api/v1/repos/{connected}/deliveries")).json()
    assert [d["guid"] for d in found["items"]] == ["g-1"]


async def test_a_secret_rotates_here_and_on_github(
    world: World, api: httpx.AsyncClient, push: bytes, transactions: db.Transactions
) -> None:
    world.github.add("acme/shop", 7)
    repo = (await api.post("/api/v1/repos", json={"url": "acme/shop"})).json()["id"]
    [hook] = world.github.hooks
    path = hook["config"]["url"].removeprefix("http://stackly.test")
    told = [hook["config"]["secret"].encode()]
    for n in range(3):
        assert (await api.post(f"/api/v1/repos/{repo}/rotate")).status_code == 200
        # GitHub is told the present secret before the new one: whatever happened earlier, the two agree on one.
        assert world.github.patched[-2]["config"]["secret"].encode() == told[-1]
        told.append(world.github.patched[-1]["config"]["secret"].encode())
        assert len(set(told)) == n + 2

    async def answer(secret: bytes, guid: str) -> int:
        headers = {"X-GitHub-Event": "push", "X-GitHub-Delivery": guid, "X-Hub-Signature-256": sign(secret, push)}
        return (await api.post(path, content=push, headers=headers)).status_code

    assert [await answer(secret, f"g-{n}") for n, secret in enumerate(told)] == [401, 401, 202, 202]


async def test_only_administrators_rotate_and_see_addresses(world: World, hooked: Hooked) -> None:
    async with world.client("operator") as person:
        assert (await person.post(f"/api/v1/repos/{hooked.repo}/rotate")).status_code == 403
        assert (await person.post("/api/v1/github/hook", json={})).status_code == 403


async def test_the_accounts_address_is_one_and_its_secret_rotates(
    api: httpx.AsyncClient, connected: RepoId, transactions: db.Transactions
) -> None:
    first = (await api.post("/api/v1/github/hook", json={})).json()
    again = (await api.post("/api/v1/github/hook", json={})).json()
    fresh = (await api.post("/api/v1/github/hook", json={"rotate": True})).json()
    assert first == again
    assert (fresh["url"], fresh["told_github"]) == (first["url"], False)
    assert fresh["secret"] != first["secret"]
    path = first["url"].removeprefix("http://stackly.test")
    for n, told in enumerate((first, fresh)):
        assert (await _sent(api, "push.branch", (path, told["secret"].encode()), guid=f"g-{n}")).status_code == 202
    async with transactions() as session:  # never kept in the clear, nor as an answer to be repeated
        kept = await rows(session, "SELECT secret_sealed || coalesce(previous_sealed, '') AS sealed FROM hooks")
        answers = await rows(session, "SELECT response::text AS said FROM idempotency_keys")
    for told in (first, fresh):
        assert not any(told["secret"].encode() in bytes(k["sealed"]) for k in kept)
        assert not any(told["secret"] in a["said"] for a in answers)


async def test_another_accounts_repository_of_that_number_is_not_rung(
    world: World, api: httpx.AsyncClient, address: tuple[str, bytes], transactions: db.Transactions
) -> None:
    from stackly.accounts import service as accounts

    async with world.parts.transactions() as session:
        other = await accounts.ensure_account(session, "other")
        await stacks.insert_repo(
            session,
            other.id,
            github_id=880011,
            full_name="cobalt-works/order-bench",
            clone_url="https://hub.test/x/y.git",
            default_branch="main",
            hook="",
        )
    assert (await _sent(api, "push.branch", address)).json()["status"] == "ignored"
    assert isinstance(world.app._door, Webhooks)


async def _send(api: httpx.AsyncClient, hooked: Hooked, body: object, guid: str, event: str = "push") -> db.Json:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = await api.post(hooked.path, content=raw, headers=hooked.headers(raw, guid=guid, event=event))
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


async def test_what_was_ignored_once_and_comes_rightly_is_acted_upon(
    api: httpx.AsyncClient, hooked: Hooked, push: bytes, transactions: db.Transactions
) -> None:
    assert (await _send(api, hooked, push, "g-1", event="ping"))["status"] == "ignored"
    async with transactions() as session:
        assert await rows(session, "SELECT kind FROM outbox") == []
    again = await _send(api, hooked, push, "g-1")
    assert (again["status"], again["attempts"]) == ("received", 2)
    third = await _send(api, hooked, push, "g-1")
    assert (third["status"], third["attempts"]) == ("received", 3)
    wrong = await _send(api, hooked, push, "g-1", event="ping")
    assert wrong["status"] == "received", "what was acted upon stays so"
    async with transactions() as session:
        assert await rows(session, "SELECT kind, key FROM outbox") == [{"kind": "repo-sync", "key": hooked.repo}]
        [stored] = await rows(session, "SELECT event, status, reason, repo, attempts FROM deliveries")
    assert stored == {"event": "push", "status": "received", "reason": None, "repo": hooked.repo, "attempts": 4}


@pytest.mark.parametrize("number", [8, None, "7", 7.0, True])
async def test_a_repository_is_its_number_and_not_its_name(
    api: httpx.AsyncClient, hooked: Hooked, push: bytes, transactions: db.Transactions, number: object
) -> None:
    body = json.loads(push)
    for event, more in (("push", {}), ("repository", {"action": "deleted"})):
        given = (body if event == "push" else {"repository": body["repository"]}) | more
        given["repository"] = {**body["repository"], "id": number}
        told = await _send(api, hooked, given, f"g-{event}", event=event)
        assert told["status"] == "ignored", event
    async with transactions() as session:
        assert await rows(session, "SELECT kind FROM outbox") == []
        stored = await rows(session, "SELECT reason FROM deliveries")
    assert all("number" in str(r["reason"]) or "id" in str(r["reason"]) or "8" in str(r["reason"]) for r in stored)


async def test_an_installation_without_a_number_rings_nothing(
    api: httpx.AsyncClient, address: tuple[str, bytes], transactions: db.Transactions
) -> None:
    raw = json.dumps({"action": "created", "installation": {"account": {"login": "x"}}}).encode()
    headers = {"X-GitHub-Event": "installation", "X-GitHub-Delivery": "g", "X-Hub-Signature-256": sign(address[1], raw)}
    assert (await api.post(address[0], content=raw, headers=headers)).json()["status"] == "ignored"
    async with transactions() as session:
        assert await rows(session, "SELECT kind FROM outbox") == []


async def test_a_pull_request_says_why_it_starts_nothing(
    api: httpx.AsyncClient, hooked: Hooked, push: bytes, transactions: db.Transactions
) -> None:
    repository = json.loads(push)["repository"]
    body = {"action": "opened", "number": 3, "pull_request": {"id": 1}, "repository": repository}
    await _send(api, hooked, body, "g-1", event="pull_request")
    await _send(api, hooked, body, "g-1", event="pull_request")
    async with transactions() as session:
        [stored] = await rows(session, "SELECT reason FROM deliveries")
        [told] = await rows(session, "SELECT subject, name, payload FROM events")
    assert "push of its branch" in stored["reason"]
    assert (told["subject"], told["name"]) == (f"repo/{hooked.repo}", "run_not_created")
    assert told["payload"]["reason"] == stored["reason"]


async def test_deliveries_of_unconnected_repositories_are_listed_until_they_are_connected(
    world: World, api: httpx.AsyncClient, address: tuple[str, bytes]
) -> None:
    await _sent(api, "push.branch", address)
    [listed] = (await api.get("/api/v1/repos/-/deliveries")).json()["items"]
    name = listed["repository"]
    assert (listed["guid"], listed["repository_id"], name) == ("g-1", 880011, "cobalt-works/order-bench")
    world.github.add(name, 880011)
    assert (await api.post("/api/v1/repos", json={"url": name})).status_code == 201
    assert (await api.get("/api/v1/repos/-/deliveries")).json()["items"] == []
    [stored] = (await api.get(f"/api/v1/repos/{name}/deliveries")).json()["items"]
    assert "before the repository was connected" in stored["reason"]


async def test_a_name_that_is_another_repositorys_now_is_not_connected_by_habit(
    world: World, api: httpx.AsyncClient
) -> None:
    world.github.add("acme/shop", 7)
    assert (await api.post("/api/v1/repos", json={"url": "acme/shop"})).status_code == 201
    world.github.add("acme/shop", 8)
    refused = await api.post("/api/v1/repos", json={"url": "acme/shop"})
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/repository-another")
    rotated = await api.post("/api/v1/repos/acme/shop/rotate")
    assert rotated.status_code == 404, "what has its name is not asked instead"
