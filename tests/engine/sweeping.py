"""GitHub and the platform on one machine: real hub, real webhook door, real git and Postgres; no Temporal.

What a dispatcher would start is carried out here, a step at a time: `settled` acts on every doorbell that is due.
"""

import asyncio
import os
import ssl
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from sqlalchemy import text

from stackly.accounts import service as accounts
from stackly.api import app as apps
from stackly.api.hooks import HookBook
from stackly.api.parts import ApiConfig
from stackly.db import Json, Transactions
from stackly.engine.activities.sweep import Sweeping, Sweeps
from stackly.engine.activities.sync import Source, Sync
from stackly.engine.policies import PolicyBook
from stackly.engine.upstream import Access, Looks
from stackly.events import store as events
from stackly.events.model import Bell
from stackly.git.github_app import AppKey
from stackly.git.github_client import GitHub
from stackly.git.github_rest import GitHubHost, Rest
from stackly.git.runner import Runner
from stackly.ids import RepoId
from stackly.local.hub.app import app as hub_app
from stackly.local.hub.hub import Hub
from stackly.stacks import connections_store as connections
from stackly.stacks import store as stacks
from stackly.stacks.model import Repo
from tests.engine.syncing import _ENV, MAIN, Memory, plain

__all__ = ["MAIN", "plain"]


KEY, PLATFORM_KEY = "key-of-developer", "key-of-the-platform"
KEYS = {KEY: "developer", "key-of-ada": "ada", PLATFORM_KEY: "stackly"}
SIGNED = {"Authorization": f"Bearer {KEY}"}
TLS = ssl.create_default_context()  # of all clients: each would read all authorities' certificates for one of its own


def pushed_with(key: str, clone_url: str) -> str:
    return clone_url.replace("://", f"://anybody:{key}@")


class OneKey:
    def key(self, account: str, version: int | None = None) -> tuple[int, bytes]:
        return 1, b"k" * 32

    def versions(self, account: str) -> Mapping[int, bytes]:
        return {1: b"k" * 32}


@dataclass
class Server:
    """An ASGI application on a port of its own, in this process."""

    url: str
    server: uvicorn.Server
    task: "asyncio.Task[None]"

    async def stop(self) -> None:
        self.server.should_exit = True
        await self.task


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def serve(application: Any, port: int) -> Server:
    config = uvicorn.Config(
        application, host="127.0.0.1", port=port, log_level="error", timeout_graceful_shutdown=2, loop="asyncio"
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn offers no event
        await asyncio.sleep(0.01)
    return Server(f"http://127.0.0.1:{port}", server, task)


@dataclass
class Tree:
    """A person's clone. Every commit is pushed by hand."""

    path: Path
    clock: int = 1_767_000_000

    async def git(self, *args: str) -> str:
        self.clock += 1
        env = _ENV | {"GIT_AUTHOR_DATE": f"{self.clock} +0000", "GIT_COMMITTER_DATE": f"{self.clock} +0000"}
        env |= {"GIT_ALLOW_PROTOCOL": "http", "GIT_TERMINAL_PROMPT": "0"}

        def run() -> str:
            line = ["git", "-C", str(self.path), *args]
            done = subprocess.run(line, capture_output=True, check=False, env={**env, "PATH": os.environ["PATH"]})
            assert done.returncode == 0, done.stderr.decode()
            return done.stdout.decode().strip()

        return await asyncio.to_thread(run)

    async def commit(self, files: Mapping[str, str | None]) -> str:
        for name, content in files.items():
            path = self.path / name
            if content is None:
                path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        await self.git("add", "-A")
        await self.git("commit", "-q", "--allow-empty", "-m", "change")
        return await self.git("rev-parse", "HEAD")

    async def pushed(self, files: Mapping[str, str | None], *refs: str) -> str:
        commit = await self.commit(files)
        await self.git("push", "-q", "--force", "origin", *(refs or ("HEAD:refs/heads/main",)))
        return commit


@dataclass
class Sky:
    """One repository `octo/stacks` on a hub, connected. Shape: `sweeps` and `sync` are the control worker's."""

    transactions: Transactions
    hub: Server
    api: Server
    hooks: HookBook
    github: GitHub
    sweeps: Sweeps
    sync: Sync
    account: str
    repo_id: RepoId
    tree: Tree
    github_itself: Hub
    client: httpx.AsyncClient = field(default_factory=lambda: httpx.AsyncClient(timeout=30, headers=SIGNED, verify=TLS))

    def remote(self, key: str) -> str:
        return pushed_with(key, f"{self.hub.url}/octo/stacks.git")

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        answer = await self.client.request(method, f"{self.hub.url}{path}", json=body)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    async def faults(self, **which: Any) -> None:
        await self.ask("PUT", "/_faults", which)

    async def attempted(self, count: int) -> list[Json]:
        """The hub's log of the repository's hook, once it holds so many attempts."""
        repo = await self.repo()
        async with asyncio.timeout(30):
            while True:
                found: list[Json] = await self.ask(
                    "GET", f"/repos/{repo.full_name}/hooks/{repo.hook}/deliveries?per_page=100"
                )
                if len(found) >= count:
                    return found
                await asyncio.sleep(0.02)

    async def arrived(self) -> None:
        """Every delivery was attempted, save those that a fault holds back."""
        due = "SELECT count(*) FROM deliveries WHERE status IS NULL AND hook IN (SELECT id FROM hooks)"
        github = self.github_itself
        async with asyncio.timeout(30):
            while not github.dice.faults.delay_s and github.store.db.execute(due).fetchone()[0]:  # noqa: ASYNC110 - a row is awaited
                await asyncio.sleep(0.01)

    async def repo(self) -> Repo:
        async with self.transactions() as session:
            return await stacks.get_repo(session, self.repo_id)

    async def reason(self) -> str | None:
        return (await self.rows("SELECT reason FROM repos WHERE id = :id", id=self.repo_id))[0]["reason"]  # type: ignore[no-any-return]

    async def rows(self, sql: str, **values: Any) -> list[Json]:
        async with self.transactions() as session:
            return [dict(r) for r in (await session.execute(text(sql), values)).mappings()]

    async def settled(self) -> list[str]:
        """Act on every doorbell, as dispatcher and workflows would. Returns the kinds that rang."""
        kinds: list[str] = []
        while True:
            async with self.transactions() as session:
                bells = await events.claim(session, "test", limit=100, hold=timedelta(minutes=1))
            if not bells:
                return kinds
            for bell in bells:
                kinds.append(bell.kind)
                if bell.kind == Bell.REPO_SYNC:
                    await self.synced(bell.key)
                elif bell.kind == Bell.REPO_LOOK:
                    await self.sweeps.look(f"repo/{bell.key}")
                elif bell.kind == Bell.INSTALLATION_LOOK:
                    await self.sweeps.look(f"installation/{bell.key}")
            async with self.transactions() as session:
                for bell in bells:
                    await events.settle(session, bell.ids)

    async def synced(self, repo: str) -> None:
        plan = await self.sync.fetch(repo)
        for change in plan.changes:
            await self.sync.process(change)

    async def swept(self) -> None:
        """One sweep in which it is everybody's turn; what GitHub was asked to send again has arrived after it."""
        await self.rows("UPDATE connections SET look_at = clock_timestamp() RETURNING repo")
        await self.sweeps.slot(self.account)
        await self.arrived()
        await self.settled()

    async def registry(self) -> dict[tuple[str, str], str]:
        """What is registered. Shape: (ref, path) -> commit."""
        found = await self.rows(
            "SELECT ref, path, commit FROM stack_codes WHERE repo = :r AND status = 'active'", r=self.repo_id
        )
        return {(r["ref"], r["path"]): r["commit"] for r in found}

    async def processed(self) -> dict[str, str]:
        found = await self.rows(
            "SELECT ref, last_processed AS at FROM repo_refs WHERE repo = :r AND last_processed IS NOT NULL",
            r=self.repo_id,
        )
        return {r["ref"]: r["at"] for r in found}

    async def runs(self) -> list[Json]:
        return await self.rows("SELECT commit, status FROM operations ORDER BY created_at, id")


@asynccontextmanager
async def sky(transactions: Transactions, database: str, folder: Path, *, with_app: bool = False) -> AsyncIterator[Sky]:
    port = free_port()
    serving = hub_app(folder / "hub", f"http://127.0.0.1:{port}", keys=KEYS)
    hub = await serve(serving, port)
    async with httpx.AsyncClient(base_url=hub.url, headers=SIGNED, verify=TLS) as asking:
        upstream = (await asking.post("/orgs/octo/repos", json={"name": "stacks"})).json()
        app = (await asking.post("/_app", json={"slug": "stackly"})).json() if with_app else None
    host = GitHubHost(hub.url, hub.url)
    # With an App, nothing but its installations' tokens opens a repository.
    github = GitHub(
        host,
        None if app else PLATFORM_KEY,
        app=AppKey(app["client_id"], app["pem"].encode()) if app else None,
        rest=Rest(host),
    )
    config = ApiConfig(database, "http://unused", hub.url, hub.url, pool_size=4)
    parts = apps.assemble(config, OneKey(), None, github=github)  # type: ignore[arg-type]  # nothing is downloaded
    api = await serve(apps.application(parts), free_port())
    parts = replace(parts, config=replace(config, public_url=api.url))
    made = await _connected(transactions, folder, hub, api, parts.hooks, github, upstream, serving.state.hub)
    try:
        yield made
    finally:
        await made.client.aclose()
        await api.stop()
        await hub.stop()


async def _connected(
    transactions: Transactions,
    folder: Path,
    hub: Server,
    api: Server,
    hooks: HookBook,
    github: GitHub,
    upstream: Any,
    itself: Hub,
) -> Sky:
    async with transactions() as session:
        account = await accounts.ensure_account(session)
        repo = await stacks.insert_repo(
            session,
            account.id,
            github_id=upstream["id"],
            full_name=upstream["full_name"],
            clone_url=upstream["clone_url"],
            default_branch="main",
            hook="app",
        )
        await connections.connect(session, account.id, repo.id, None)
        hook, secret = await hooks.create(session, account.id, None if github.has_app else repo.id)
    address = f"{api.url}/webhooks/github/{hook}"
    if github.has_app:
        await github.set_app_hook(url=address, secret=secret.decode())
    else:
        number = await github.ensure_hook(repo.full_name, url=address, secret=secret.decode())
        async with transactions() as session:
            await session.execute(text("UPDATE repos SET hook = :h WHERE id = :id"), {"h": number, "id": repo.id})
    runner = Runner(protocols=frozenset({"http"}), timeout=30)
    access = Access(transactions, github)
    source = Source(folder / "mirrors", runner, ("16", "18"), PolicyBook([folder / "policies"]), token_of=access.token)
    source = replace(source, look=Looks(transactions, github).look, pusher_of=access.pusher)
    tree = Tree(folder / "work")
    tree.path.mkdir()
    await tree.git("init", "-q", "-b", "main")
    await tree.git("remote", "add", "origin", pushed_with(KEY, upstream["clone_url"]))
    return Sky(
        transactions=transactions,
        hub=hub,
        api=api,
        hooks=hooks,
        github=github,
        sweeps=Sweeps(transactions, Sweeping(github, folder / "mirrors", runner, timedelta(seconds=300))),
        sync=Sync(transactions, Memory(), source),
        account=account.id,
        repo_id=repo.id,
        tree=tree,
        github_itself=itself,
    )
