"""A hub with one OAuth application, called in process, under a clock that tests turn."""

import base64
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx

from stackly.local.hub.app import app
from stackly.local.hub.hub import Hub
from stackly.local.hub.oauth import OAuthApp, hashed

CLIENT, SECRET = "stackly-local", "client-secret-canary-7c1f"
CALLBACK = "http://127.0.0.1:8000/auth"
APP = OAuthApp(CLIENT, "Stackly", CALLBACK, hashed(SECRET))
VERIFIER = "v" * 20 + "-._~" + "A1" * 12
JSON = {"Accept": "application/json"}
KEY = "key-of-developer"
KEYS = {KEY: "developer", "key-of-lin": "lin"}
SIGNED = {"Authorization": f"Bearer {KEY}"}


def challenge(verifier: str = VERIFIER) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


@dataclass
class Watch:
    at: datetime = field(default_factory=lambda: datetime(2026, 11, 21, 12, tzinfo=UTC))

    def __call__(self) -> datetime:
        return self.at

    def turn(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


@dataclass(frozen=True)
class Login:
    """What an application and a person do at the hub."""

    hub: Hub
    client: httpx.AsyncClient
    watch: Watch
    home: Path

    def forget(self) -> None:
        """Every row goes; numbers are not given again."""
        db = self.hub.store.db
        tables = db.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
        db.executescript("".join(f"DELETE FROM {name};" for (name,) in tables.fetchall()))
        self.hub.oauth.register(APP)

    async def authorize(self, **told: str) -> httpx.Response:
        return await self.client.get("/login/oauth/authorize", params={"client_id": CLIENT, **told}, headers=SIGNED)

    async def decide(self, **told: str) -> httpx.Response:
        return await self.client.post("/login/oauth/authorize", data={"client_id": CLIENT, **told}, headers=SIGNED)

    async def code(self, login: str = "ada", **told: str) -> str:
        return answer(await self.authorize(login=login, **told))["code"]

    async def exchange(self, code: str, **told: str) -> dict[str, Any]:
        body = {"client_id": CLIENT, "client_secret": SECRET, "code": code, **told}
        got = await self.client.post("/login/oauth/access_token", data=body, headers=JSON)
        assert got.status_code == 200  # errors as well
        told_back: dict[str, Any] = got.json()
        return told_back

    async def token(self, login: str = "ada", scope: str = "") -> str:
        return str((await self.exchange(await self.code(login, scope=scope)))["access_token"])

    async def get(self, path: str, token: str) -> httpx.Response:
        return await self.client.get(path, headers={"Authorization": f"Bearer {token}"})


def answer(response: httpx.Response) -> dict[str, str]:
    """What a redirect tells in its query."""
    assert response.status_code in {302, 303}, response.text
    return dict(parse_qsl(urlsplit(response.headers["location"]).query, strict_parsing=True))


@asynccontextmanager
async def opened(home: Path) -> AsyncIterator[Login]:
    watch = Watch()
    api = app(home, "http://hub.test", oauth=APP, keys=KEYS, now=watch)
    transport = httpx.ASGITransport(api)
    async with httpx.AsyncClient(transport=transport, base_url="http://hub.test") as client:
        yield Login(api.state.hub, client, watch, home)
    api.state.hub.store.close()
