"""The bare repositories on disk: made, looked at, and asked about what a push brought."""

import asyncio
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stackly.errors import Faulty
from stackly.git.payloads import ZERO

# The hub's own repositories trust nothing of the machine's git configuration.
_GIT_ENV = {
    "HOME": "/nonexistent",
    "LC_ALL": "C",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_TERMINAL_PROMPT": "0",
}
_SETTINGS = {
    "http.receivepack": "true",
    "uploadpack.allowFilter": "true",
    "uploadpack.allowAnySHA1InWant": "true",
    "receive.autogc": "false",
    "gc.auto": "0",
    "core.hooksPath": "/dev/null",
}


def git_environment(**more: str) -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), **_GIT_ENV, **more}


@dataclass(frozen=True, slots=True)
class RefChange:
    ref: str
    before: str
    after: str

    @property
    def created(self) -> bool:
        return self.before == ZERO

    @property
    def deleted(self) -> bool:
        return self.after == ZERO


def ref_changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[RefChange]:
    """What differs between two looks at the refs, by name."""
    names = sorted(before.keys() | after.keys())
    found = (RefChange(name, before.get(name, ZERO), after.get(name, ZERO)) for name in names)
    return [change for change in found if change.before != change.after]


class Repositories:
    """Shape: `root`/{numeric id}.git, so that a rename moves nothing."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._locks: dict[int, asyncio.Lock] = {}
        self._behind: dict[asyncio.Task[None], tuple[int, list[RefChange]]] = {}

    def lock(self, repo: int) -> asyncio.Lock:
        """Held while a push changes refs: what it changed is known exactly."""
        return self._locks.setdefault(repo, asyncio.Lock())

    def path(self, repo: int) -> Path:
        return self.root / f"{repo}.git"

    async def create(self, repo: int, branch: str) -> None:
        path = self.path(repo)
        path.mkdir(parents=True)
        await self.git(repo, "init", "-q", "--bare", "--template=", f"--initial-branch={branch}")
        for name, value in _SETTINGS.items():
            await self.git(repo, "config", name, value)

    def remove(self, repo: int) -> None:
        shutil.rmtree(self.path(repo), ignore_errors=True)

    async def refs(self, repo: int) -> dict[str, str]:
        out = await self.git(repo, "for-each-ref", "--format=%(objectname) %(refname)")
        pairs = (line.split(" ", 1) for line in out.decode("utf-8", "replace").split("\n") if line)
        return {ref: oid for oid, ref in pairs}

    async def point_head(self, repo: int, branch: str) -> None:
        await self.git(repo, "symbolic-ref", "HEAD", f"refs/heads/{branch}")

    async def fall_behind(self, repo: int, changes: list[RefChange], seconds: float) -> None:
        """Show these refs as they were, for so long. The caller holds the lock; a ref that moves meanwhile stays so."""
        await self._set_refs(repo, [RefChange(c.ref, c.after, c.before) for c in changes])

        async def catch_up() -> None:
            await asyncio.sleep(seconds)
            async with self.lock(repo):
                await self._set_refs(repo, changes)

        task = asyncio.create_task(catch_up())
        self._behind[task] = repo, changes
        task.add_done_callback(lambda t: self._behind.pop(t, None))

    async def catch_up(self) -> None:
        """Now, and not later: the fault is over, or the hub ends."""
        for task, (repo, changes) in list(self._behind.items()):
            task.cancel()
            async with self.lock(repo):
                await self._set_refs(repo, changes)

    async def _set_refs(self, repo: int, changes: list[RefChange]) -> None:
        """Each on its own, and only where it stands as before."""
        for c in changes:
            told = f"update {c.ref} {c.after} {c.before}\n"
            await self.git(repo, "update-ref", "--stdin", stdin=told.encode(), ok=(0, 1, 128))

    async def has_commit(self, repo: int, sha: str) -> bool:
        try:
            await self.git(repo, "cat-file", "-e", f"{sha}^{{commit}}")
        except Faulty:
            return False
        return True

    async def git(self, repo: int, *args: str, stdin: bytes = b"", ok: tuple[int, ...] = (0,)) -> bytes:
        """Raises: Faulty."""
        process = await asyncio.create_subprocess_exec(
            *("git", "-C", str(self.path(repo)), *args),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=git_environment(),
        )
        out, err = await process.communicate(stdin)
        if process.returncode not in ok:
            raise Faulty(f"git {args[0]} failed: {err.decode('utf-8', 'replace').strip()[:500]}")
        return out
