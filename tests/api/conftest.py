"""The API on a real Postgres, asked through ASGI; GitHub and storage are fakes that remember."""

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from stackly import db, ids
from stackly.accounts import service as accounts
from stackly.accounts.model import Account, Role
from stackly.api import app as apps
from stackly.api.edge import Edge
from stackly.api.parts import ApiConfig, Parts
from stackly.git.signatures import sign
from stackly.secrets import KeyNotFound
from stackly.storage import ObjectNotFound


class OneKey:
    """A KeySource with one key for everybody."""

    def key(self, account: str, version: int | None = None) -> tuple[int, bytes]:
        if version not in {None, 1}:
            raise KeyNotFound
        return 1, b"k" * 32

    def versions(self, account: str) -> Mapping[int, bytes]:
        return {1: b"k" * 32}


@dataclass
class Shelf:
    """Objects in memory."""

    kept: dict[str, bytes] = field(default_factory=dict)

    async def get(self, key: str) -> bytes:
        if key not in self.kept:
            raise ObjectNotFound
        return self.kept[key]

    async def stream(self, key: str) -> AsyncIterator[bytes]:
        yield await self.get(key)


@dataclass
class FakeGitHub:
    """Speaks the few paths of GitHub's REST API that Stackly asks."""

    repos: dict[str, dict[str, Any]] = field(default_factory=dict)
    hooks: list[dict[str, Any]] = field(default_factory=list)
    deliveries: list[dict[str, Any]] = field(default_factory=list)
    attempts: list[str] = field(default_factory=list)
    patched: list[dict[str, Any]] = field(default_factory=list)

    def add(self, full_name: str, github_id: int) -> None:
        url = f"https://hub.test/{full_name}.git"
        self.repos[full_name] = {
            "id": github_id,
            "full_name": full_name,
            "clone_url": url,
            "default_branch": "main",
        }

    def answer(self, request: httpx.Request) -> httpx.Response:
        parts = request.url.path.strip("/").split("/")
        if parts[0] == "repositories":
            found = next((r for r in self.repos.values() if str(r["id"]) == parts[1]), None)
            return httpx.Response(200 if found else 404, json=found or {})
        repo = self.repos.get("/".join(parts[1:3]))
        if parts[0] != "repos" or repo is None:
            return httpx.Response(404, json={})
        rest = parts[3:]
        if not rest:
            return httpx.Response(200, json=repo)
        if rest == ["hooks"] and request.method == "POST":
            self.hooks.append({"id": len(self.hooks) + 1, **json.loads(request.content)})
            return httpx.Response(201, json=self.hooks[-1])
        if rest == ["hooks"]:
            return httpx.Response(200, json=self.hooks)
        if len(rest) == 2 and request.method == "PATCH":
            self.patched.append(json.loads(request.content))
            return httpx.Response(200, json={})
        if rest[-1] == "attempts":
            self.attempts.append(rest[-2])
            return httpx.Response(202, json={})
        return httpx.Response(200, json=self.deliveries)


@dataclass
class World:
    """Everything a test of the API talks to."""

    app: Edge
    parts: Parts
    github: FakeGitHub
    shelf: Shelf
    account: Account
    tokens: dict[str, str]

    def client(self, who: str | None = "admin") -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {self.tokens[who]}"} if who else {}
        transport = httpx.ASGITransport(self.app)
        return httpx.AsyncClient(transport=transport, base_url="http://stackly.test", headers=headers)


@pytest.fixture
async def world(database: str, transactions: db.Transactions) -> AsyncIterator[World]:
    github, shelf = FakeGitHub(), Shelf()
    config = ApiConfig(
        database_url=database,
        public_url="http://stackly.test",
        github_url="https://hub.test",
        github_api_url="https://hub.test",
        pool_size=4,
    )
    parts = apps.assemble(config, OneKey(), shelf, github=httpx.MockTransport(github.answer))
    tokens = {}
    async with transactions() as session:
        account = await accounts.ensure_account(session)
        for role in Role:
            person = await accounts.ensure_identity(session, account.id, role.value, [role])
            tokens[role.value] = await accounts.issue_key(session, person.id, name="test")
    async with apps.running(parts):
        yield World(apps.application(parts), parts, github, shelf, account, tokens)


@pytest.fixture
async def api(world: World) -> AsyncIterator[httpx.AsyncClient]:
    """A client with an administrator's token."""
    async with world.client() as client:
        yield client


@dataclass(frozen=True)
class Hooked:
    """A repository with a webhook."""

    path: str
    repo: str
    hook: str
    secret: bytes

    def headers(self, body: bytes, *, guid: str = "", event: str = "push") -> dict[str, str]:
        return {
            "Content-Type": "application/json",
            "X-GitHub-Event": event,
            "X-GitHub-Delivery": guid or ids.new_id(),
            "X-Hub-Signature-256": sign(self.secret, body),
        }


@pytest.fixture
async def hooked(world: World) -> Hooked:
    async with world.parts.transactions() as session:
        from stackly.stacks import store

        repo = await store.insert_repo(
            session,
            world.account.id,
            github_id=7,
            full_name="acme/shop",
            clone_url="https://hub.test/acme/shop.git",
            default_branch="main",
            hook="1",
        )
        hook, secret = await world.parts.hooks.create(session, world.account.id, repo.id)
    return Hooked(f"/webhooks/github/{hook}", repo.id, hook, secret)


def push_body(after: str = "b" * 40, padding: int = 0) -> bytes:
    said = {
        "ref": "refs/heads/main",
        "before": "a" * 40,
        "after": after,
        "repository": {"id": 7, "full_name": "acme/shop", "default_branch": "main"},
        "commits": ["x" * padding],
        "sender": {"login": "ann", "id": 1},
    }
    return json.dumps(said).encode()


@pytest.fixture
def push() -> bytes:
    return push_body()
