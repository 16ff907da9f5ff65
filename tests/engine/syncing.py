"""A registry on a real git repository and a real Postgres: commit, sync, look. No Temporal, no webhook."""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import text

from stackly.accounts import service as accounts
from stackly.db import Json, Transactions
from stackly.engine.activities.sync import Source, Sync
from stackly.engine.contracts.control import SyncOutcome
from stackly.engine.policies import PolicyBook
from stackly.git.mirrors import Mirror
from stackly.git.runner import Runner
from stackly.runs.model import Run
from stackly.runs.store import as_run
from stackly.stacks import store as stacks
from stackly.stacks.model import Repo, StackCode, StackState
from stackly.storage import ObjectNotFound, Store

MAIN = "refs/heads/main"
MODULE = 'resource "terraform_data" "x" {}\n'
PART = 'variable "stackly" {}\nvariable "stackly_user_data" {}\noutput "machines" { value = {} }\n'
SUITE = """
version: 1
name: smoke
tests:
  - name: tpcb
    database: {engine: postgres, version: "16"}
    workload: {driver: pgbench, name: tpcb-like, scale_factor: 1, clients: 2}
    measure: {warmup: 1s, duration: 5s, repeats: 1}
    comparison: {baseline: none}
    thresholds:
      tps: {min: 10}
"""

_ENV = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "LC_ALL": "C",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.invalid",
    "GIT_COMMITTER_NAME": "Lin",
    "GIT_COMMITTER_EMAIL": "lin@example.invalid",
    "GIT_ALLOW_PROTOCOL": "file",
}


def plain(path: str, name: str, inside: str = "", *, module: str = MODULE) -> dict[str, str]:
    """A stack without a suite. Shape: repository path -> text; `inside` is HCL of the stack block."""
    return {f"{path}/stackly.hcl": f'stack "{name}" {{\n  target = "module"\n{inside}\n}}\n', f"{path}/main.tf": module}


def measured(path: str, name: str, inside: str = "", *, suite: str = SUITE) -> dict[str, str]:
    """A stack with a suite: a push to it makes a benchmark."""
    text_of = f'stack "{name}" {{\n{inside}\n}}\n'
    return {f"{path}/stackly.hcl": text_of, f"{path}/main.tf": PART, f"{path}/suite.yaml": suite}


@dataclass
class Upstream:
    """The repository that people push to: whatever a branch of it is, is pushed. Times are its own, one a commit."""

    path: Path
    clock: int = 1_767_000_000

    @classmethod
    def made(cls, path: Path) -> "Upstream":
        path.mkdir(parents=True)
        upstream = cls(path)
        upstream.git("init", "-q", "-b", "main")
        return upstream

    @property
    def url(self) -> str:
        return f"file://{self.path}"

    @property
    def head(self) -> str:
        return self.git("rev-parse", "HEAD")

    def git(self, *args: str) -> str:
        env = _ENV | {"GIT_AUTHOR_DATE": f"{self.clock} +0000", "GIT_COMMITTER_DATE": f"{self.clock} +0000"}
        done = subprocess.run(["git", "-C", str(self.path), *args], check=True, capture_output=True, env=env)
        return done.stdout.decode("utf-8", "replace").strip()

    def commit(self, files: Mapping[str, str | None] | None = None, message: str = "change") -> str:
        """Write files, remove those that are None, commit all on the branch that is checked out."""
        for name, content in (files or {}).items():
            path = self.path / name
            if content is None:
                path.unlink(missing_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        self.clock += 1
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.head

    def object(self, kind: str, body: bytes) -> str:
        """Any bytes as an object of that kind, unchecked. Returns its id."""
        line = ["git", "-C", str(self.path), "hash-object", "-t", kind, "-w", "--literally", "--stdin"]
        return subprocess.run(line, input=body, check=True, capture_output=True, env=_ENV).stdout.decode().strip()

    def link(self, path: str, target: str) -> None:
        """Write a symbolic link in the place of whatever is there; commit it with what follows."""
        (self.path / path).unlink(missing_ok=True)
        (self.path / path).symlink_to(target)

    def move(self, source: str, target: str, message: str = "move") -> str:
        (self.path / target).parent.mkdir(parents=True, exist_ok=True)
        self.git("mv", source, target)
        return self.commit(message=message)

    def copy(self, source: str, target: str, message: str = "copy") -> str:
        files = {f"{target}/{f.name}": f.read_text() for f in (self.path / source).iterdir() if f.is_file()}
        return self.commit(files, message)

    def remove(self, path: str, message: str = "remove") -> str:
        self.git("rm", "-rq", path)
        return self.commit(message=message)

    def checkout(self, branch: str, *, new: bool = False, at: str = "HEAD") -> None:
        self.git(*(("checkout", "-q", "-b", branch, at) if new else ("checkout", "-q", branch)))

    def branch(self, name: str, at: str = "HEAD") -> None:
        """Make or move a branch that is not checked out."""
        self.git("branch", "-q", "-f", name, at)

    def drop_branch(self, name: str) -> None:
        self.git("branch", "-q", "-D", name)

    def force(self, commit: str) -> None:
        """The branch that is checked out becomes this commit, whatever it was: a force-push."""
        self.git("reset", "-q", "--hard", commit)


@dataclass
class Memory(Store):
    """Storage of one process. Shape: `objects` key -> content."""

    objects: dict[str, bytes] = field(default_factory=dict)

    async def put(
        self, key: str, data: bytes, media_type: str = "application/octet-stream", *, only_new: bool = False
    ) -> bool:
        is_new = key not in self.objects
        if is_new or not only_new:
            self.objects[key] = data
        return is_new

    async def get(self, key: str) -> bytes:
        if key not in self.objects:
            raise ObjectNotFound(key)
        return self.objects[key]


@dataclass
class Syncing:
    """One repository in one account, as the control worker would keep it."""

    transactions: Transactions
    upstream: Upstream
    storage: Memory
    activities: Sync
    repo: Repo
    mirror: Mirror

    async def sync(self) -> list[SyncOutcome]:
        """What the repository's workflow does once: every ref that differs, in its order."""
        plan = await self.activities.fetch(self.repo.id)
        return [await self.activities.process(change) for change in plan.changes]

    async def pushed(self, files: Mapping[str, str | None] | None = None, message: str = "change") -> str:
        """Commit and sync."""
        commit = self.upstream.commit(files, message)
        await self.sync()
        return commit

    async def rows(self, sql: str, **values: Any) -> list[Json]:
        async with self.transactions() as session:
            return [dict(r) for r in (await session.execute(text(sql), values)).mappings()]

    async def execute(self, sql: str, **values: Any) -> None:
        async with self.transactions() as session:
            await session.execute(text(sql), values)

    async def codes(self, ref: str = MAIN) -> dict[str, StackCode]:
        """The stacks that stand in a ref by path, valid or rejected; loose and deregistered ones are gone."""
        async with self.transactions() as session:
            stands = "repo = :repo AND ref = :ref AND status IN ('active', 'rejected')"
            ids = await session.execute(
                text(f"SELECT id FROM stack_codes WHERE {stands} ORDER BY id"), {"repo": self.repo.id, "ref": ref}
            )
            return {c.path: c for c in [await stacks.get_code(session, i) for i in ids.scalars()]}

    async def every_code(self) -> list[StackCode]:
        """All that were ever registered, in the order of their registration."""
        async with self.transactions() as session:
            ids = [r[0] for r in await session.execute(text("SELECT id FROM stack_codes ORDER BY registered_at, id"))]
            return [await stacks.get_code(session, code) for code in ids]

    async def code(self, path: str, ref: str = MAIN) -> StackCode:
        return (await self.codes(ref))[path]

    async def code_by_id(self, code: str) -> StackCode:
        async with self.transactions() as session:
            return await stacks.get_code(session, code)

    async def states(self, code: str) -> dict[str, StackState]:
        """Long-lived states of a stack by name."""
        async with self.transactions() as session:
            return {s.name: s for s in await stacks.states_of(session, code)}

    async def holds(self, path: str, state: str = "default", ref: str = MAIN) -> StackState:
        """As after a deploy of what the stack is now: its state is active at that commit, and holds resources."""
        code = await self.code(path, ref)
        async with self.transactions() as session:
            found = await stacks.ensure_state(session, code, state)
            await session.execute(
                text("UPDATE stack_states SET status = 'active', commit = :commit WHERE id = :id"),
                {"commit": code.commit, "id": found.id},
            )
            return await stacks.get_state(session, found.id)

    async def runs(self, code: str | None = None) -> list[Run]:
        """All runs, of a stack or of all, oldest first."""
        async with self.transactions() as session:
            found = await session.execute(
                text(
                    "SELECT * FROM operations WHERE CAST(:code AS text) IS NULL OR code = :code ORDER BY created_at, id"
                ),
                {"code": code},
            )
            return [as_run(r) for r in found.mappings()]

    async def events(self, name: str, subject: str | None = None) -> list[Json]:
        """Payloads of the events of that name, oldest first."""
        found = await self.rows(
            "SELECT payload FROM events WHERE name = :name AND (CAST(:s AS text) IS NULL OR subject = :s) ORDER BY id",
            name=name,
            s=subject,
        )
        return [r["payload"] for r in found]

    async def reasons(self, subject: str) -> list[str]:
        """Why there was no run, oldest first. Shape: `subject` stack/{id} or push/{repo}/{ref}."""
        found = await self.rows(
            "SELECT tree FROM decisions WHERE subject = :s AND decision = 'no_run' ORDER BY at", s=subject
        )
        return [r["tree"][0]["text"] for r in found]


async def build(
    transactions: Transactions,
    folder: Path,
    *,
    github_id: int = 1,
    grace: timedelta = timedelta(0),
    pusher: str | None = None,
) -> Syncing:
    """An empty repository `octo/stacks`, connected and never synced. Branches that go away are gone at once.

    Shape: `pusher` is whom GitHub names for every push; None: it names nobody.
    """

    async def pusher_of(*_: object) -> str | None:
        return pusher

    upstream = Upstream.made(folder / "upstream")
    async with transactions() as session:
        account = await accounts.ensure_account(session)
        repo = await stacks.insert_repo(
            session,
            account.id,
            github_id=github_id,
            full_name="octo/stacks",
            clone_url=upstream.url,
            default_branch="main",
            hook="",
        )
    runner = Runner(protocols=frozenset({"file"}), timeout=30)
    source = Source(
        folder / "mirrors", runner, ("16", "18"), PolicyBook([folder / "policies"]), grace, pusher_of=pusher_of
    )
    storage = Memory()
    mirror = Mirror(folder / "mirrors", repo.id, upstream.url, runner)
    return Syncing(transactions, upstream, storage, Sync(transactions, storage, source), repo, mirror)
