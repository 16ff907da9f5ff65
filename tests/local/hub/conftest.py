"""A hub on a free port, a receiver that answers as told, and a work tree that really pushes."""

import asyncio
import contextlib
import json
import os
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import uvicorn
from fastapi import FastAPI, Request, Response

from stackly import clock
from stackly.git.signatures import verify
from stackly.local.hub.app import app, serving
from stackly.local.hub.hub import Hub, build
from tests.git import github_schema
from tests.local.hub.oauth_parts import KEY, KEYS, SIGNED, Login, opened

SECRET = "s3cret"
_TLS = ssl.create_default_context()  # a client that makes its own reads every certificate of this machine
_ENV = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.invalid",
    "GIT_COMMITTER_NAME": "Lin",
    "GIT_COMMITTER_EMAIL": "lin@example.invalid",
}


@dataclass(frozen=True)
class Got:
    event: str
    guid: str
    genuine: bool
    size: int
    headers: dict[str, str]
    body: bytes

    @property
    def named(self) -> str:
        """The event by its body: a fault may have put another name into the header."""
        said = json.loads(self.body)
        return "ping" if "zen" in said else "push" if "after" in said else self.event


@dataclass
class Receiver:
    url: str
    got: list[Got] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)  # codes to give first; 202 afterwards
    delay_s: float = 0
    over: asyncio.Event = field(default_factory=asyncio.Event)  # whoever still waits for an answer gets it now

    async def wait(self, count: int) -> list[Got]:
        """The first `count` deliveries, once they are there."""
        started = clock.monotonic()
        while len(self.got) < count:
            assert clock.monotonic() - started < 30, f"only {[g.event for g in self.got]} came"
            await asyncio.sleep(0.01)
        return self.got[:count]

    def problems(self) -> list[str]:
        """Everything in which what came differs from what GitHub publishes for its event (G14)."""
        whole = [g for g in self.got if g.size == len(g.body) and g.event == g.named]
        return [f"{g.event}: {p}" for g in whole for p in github_schema.problems(g.event, json.loads(g.body))]

    async def quiet(self) -> list[Got]:
        """Everything that came, after nothing more did for a while."""
        seen = -1
        while seen != len(self.got):
            seen = len(self.got)
            await asyncio.sleep(0.5)
        return self.got


@dataclass
class Running:
    """One hub, its API, and a repository `acme/stacks` hooked to the receiver."""

    url: str
    client: httpx.AsyncClient
    server: uvicorn.Server
    task: "asyncio.Task[None]"

    def remote(self, name: str = "acme/stacks", key: str = KEY) -> str:
        return f"{self.url}/{name}.git".replace("http://", f"http://anybody:{key}@")

    async def json(self, method: str, path: str, **options: Any) -> Any:
        answer = await self.client.request(method, path, **options)
        answer.raise_for_status()
        return answer.json()

    async def hooked(self, receiver: Receiver, events: list[str] | None = None) -> int:
        config = {"url": receiver.url, "content_type": "json", "secret": SECRET}
        body = {"name": "web", "events": events or ["push"], "config": config}
        hook = await self.json("POST", "/repos/acme/stacks/hooks", json=body)
        return int(hook["id"])

    async def deliveries(self, hook: int, count: int) -> list[dict[str, Any]]:
        """The delivery log, once it holds so many."""
        started = clock.monotonic()
        path = f"/repos/acme/stacks/hooks/{hook}/deliveries"
        while len(found := await self.json("GET", path, params={"per_page": 100})) < count:
            assert clock.monotonic() - started < 30
            await asyncio.sleep(0.02)
        return list(found)


@dataclass(frozen=True)
class Work:
    path: Path

    async def git(self, *args: str) -> str:
        def run() -> str:
            done = subprocess.run(["git", "-C", str(self.path), *args], capture_output=True, env=_ENV, check=False)
            assert done.returncode == 0, done.stderr.decode()
            return done.stdout.decode().strip()

        return await asyncio.to_thread(run)

    async def commit(self, files: dict[str, str], message: str = "change") -> str:
        for name, text in files.items():
            path = self.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        await self.git("add", "-A")
        await self.git("commit", "-q", "--allow-empty", "-m", message)
        return await self.git("rev-parse", "HEAD")

    async def push(self, *args: str) -> None:
        await self.git("push", "-q", "origin", *args)


async def serve(application: FastAPI, port: int) -> tuple[uvicorn.Server, "asyncio.Task[None]"]:
    config = uvicorn.Config(application, host="127.0.0.1", port=port, log_level="error", timeout_graceful_shutdown=2)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn offers no event
        await asyncio.sleep(0.01)
    return server, task


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


async def start_hub(home: Path, **options: Any) -> Running:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    return await _started(app(home, url, **{"keys": KEYS, **options}), port)


async def _started(application: FastAPI, port: int) -> Running:
    url = f"http://127.0.0.1:{port}"
    server, task = await serve(application, port)
    return Running(url, httpx.AsyncClient(base_url=url, timeout=30, headers=SIGNED, verify=_TLS), server, task)


class Current:
    """The hub of the test that runs."""

    def __init__(self) -> None:
        self.hub: Hub | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.hub, name)


async def stop_hub(hub: Running) -> None:
    await hub.client.aclose()
    hub.server.should_exit = True
    await hub.task


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    port = free_port()
    made = Receiver(f"http://127.0.0.1:{port}/hook")
    application = FastAPI()

    @application.post("/hook")
    async def hook(request: Request) -> Response:
        body = await request.body()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(made.over.wait(), made.delay_s)
        headers = dict(request.headers)
        genuine = verify([SECRET.encode()], body, headers.get("x-hub-signature-256"))
        kept = body if len(body) < 2_000_000 else body[:100]
        made.got.append(Got(headers["x-github-event"], headers["x-github-delivery"], genuine, len(body), headers, kept))
        return Response("thanks", made.answers.pop(0) if made.answers else 202)

    server, task = await serve(application, port)
    yield made
    made.over.set()
    server.should_exit = True
    await task
    try:
        github_schema.validator("push")
    except github_schema.SchemaMissing:
        return  # tests/git/test_payloads.py says so, and fails where everything must be there
    assert made.problems() == []


@dataclass(frozen=True)
class Routes:
    """One table of routes for the hubs of all tests: to put one together takes longer than most of these tests."""

    port: int
    current: Current
    application: FastAPI


@pytest.fixture(scope="session")
def routes() -> Routes:
    port, current = free_port(), Current()
    return Routes(port, current, serving(cast("Hub", current), f"http://127.0.0.1:{port}"))


@pytest.fixture
async def hub(tmp_path: Path, routes: Routes) -> AsyncIterator[Running]:
    routes.current.hub = build(tmp_path / "hub", f"http://127.0.0.1:{routes.port}", KEYS, max_statuses=20)
    running = await _started(routes.application, routes.port)
    await running.json("POST", "/orgs/acme/repos", json={"name": "stacks"})
    yield running
    await stop_hub(running)


@pytest.fixture
async def work(hub: Running, tmp_path: Path) -> Work:
    made = Work(tmp_path / "work")
    made.path.mkdir()
    await made.git("init", "-q", "-b", "main")
    await made.git("remote", "add", "origin", hub.remote())
    return made


@pytest.fixture
def unused_port() -> int:
    return free_port()


@pytest.fixture(scope="session")
async def one_login(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Login]:
    async with opened(tmp_path_factory.mktemp("oauth") / "hub") as made:
        yield made


@pytest.fixture
def login(one_login: Login) -> Login:
    """A hub that remembers nothing but its application: putting one together anew costs more than these tests."""
    one_login.forget()
    return one_login
