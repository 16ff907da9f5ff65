"""A bare mirror of one repository: what is remote goes through the hardened runner, what is local by full object id.

There is never a work tree. Who calls sees to it that one mirror has one writer at a time.
"""

import asyncio
import contextlib
import re
import shutil
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import git

from stackly.errors import Faulty, Invalid, NotFound
from stackly.git import bundles
from stackly.git.closures import Closure, closure, is_config, is_module_file
from stackly.git.differences import DIFF_MEMORY, DIFF_SECONDS, Changed, NameReader
from stackly.git.runner import Runner, failure
from stackly.git.trees import Entry, Tree, TreeReader, check_oid
from stackly.ids import new_token

_REPO_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,63}\Z")
_HEADS = "+refs/heads/*:refs/heads/*"
_TAGS = "+refs/tags/*:refs/tags/*"
_KEPT = "refs/stackly/keep/"
MAX_CONFIG = 256 * 1024


@dataclass(frozen=True, slots=True)
class Person:
    name: str
    email: str


@dataclass(frozen=True, slots=True)
class CommitInfo:
    """Units: `authored_at` and `committed_at` in UTC."""

    sha: str
    author: Person
    committer: Person
    authored_at: datetime
    committed_at: datetime
    subject: str
    parents: tuple[str, ...]


class Mirror:
    """Shape: `root`/`repo_id`.git on disk."""

    def __init__(self, root: Path, repo_id: str, clone_url: str, runner: Runner, *, token: str | None = None) -> None:
        if not _REPO_ID.match(repo_id):
            raise Invalid("A mirror is named by its repository's id.")
        runner.check_url(clone_url)
        self.path = root / f"{repo_id}.git"
        self._url = clone_url
        self._runner = runner
        self._token = token

    async def fetch(self) -> None:
        """Bring every branch and tag here, exactly as the remote has them; what is gone there goes here.

        Raises: Unavailable, Invalid (refused by fsck, or a protocol that is not allowed), Faulty.
        """
        await self._ensure()
        await self._unlock()
        await self._runner.run(
            self.path,
            "fetch",
            "--quiet",
            "--prune",
            "--force",
            "--no-tags",
            "--no-write-fetch-head",
            "--no-auto-maintenance",
            "--end-of-options",
            self._url,
            _HEADS,
            _TAGS,
            url=self._url,
            token=self._token,
        )

    async def remote_refs(self) -> dict[str, str]:
        """What the remote has now, without fetching it."""
        await self._ensure()
        result = await self._runner.run(
            self.path,
            *("ls-remote", "--quiet", "--refs", "--heads", "--tags", "--end-of-options", self._url),
            url=self._url,
            token=self._token,
        )
        pairs = (line.split("\t", 1) for line in result.out.decode("utf-8", "replace").splitlines())
        return {ref: oid for oid, ref in pairs}

    async def refs(self) -> dict[str, str]:
        """Full ref name -> object id, heads and tags. An annotated tag's is the tag object's; see `commit_of`."""
        result = await self._runner.run(
            self.path, "for-each-ref", "--format=%(objectname) %(refname)", "refs/heads/", "refs/tags/"
        )
        pairs = (line.split(" ", 1) for line in result.out.decode("utf-8", "surrogateescape").splitlines())
        return {ref: oid for oid, ref in pairs}

    async def commit_of(self, oid: str) -> str:
        """The commit an object id stands for: itself, or what a tag points at. Raises: NotFound."""
        return await self._resolve(oid, "commit")

    async def has(self, oid: str) -> bool:
        result = await self._runner.run(self.path, "cat-file", "-e", check_oid(oid), ok=(0, 1, 128))
        return result.code == 0

    async def trees(self, commit: str) -> Tree:
        """Every entry of a commit. Raises: NotFound; Invalid past the caps of `trees`."""
        reader = TreeReader(await self._resolve(commit, "tree"))
        listing = ("ls-tree", "-r", "-t", "-z", "--full-tree", "--end-of-options", commit)
        async with self._runner.open(self.path, *listing) as running:
            async for chunk in running.chunks():
                reader.feed(chunk)
            code, err = await running.end()
        if code:
            raise failure("ls-tree", code, err)
        return reader.tree()

    async def sizes(self, oids: Collection[str]) -> dict[str, int]:
        """Units: bytes. Raises: NotFound, Invalid when one is not a file's content."""
        wanted = _list(oids)
        result = await self._runner.run(self.path, "cat-file", "--batch-check", stdin=wanted)
        out: dict[str, int] = {}
        for line in result.out.decode("ascii", "replace").splitlines():
            oid, size = _header(line)
            out[oid] = size
        return out

    async def blobs(
        self, oids: Collection[str], *, max_file: int = bundles.MAX_FILE, max_total: int = 64 * 1024 * 1024
    ) -> dict[str, bytes]:
        """Contents by id, through one process. Raises: Invalid past a cap, before anything is read; NotFound."""
        sizes = await self.sizes(oids)
        large = sorted(oid for oid, size in sizes.items() if size > max_file)
        if large or sum(sizes.values()) > max_total:
            raise Invalid(
                f"Files larger than {max_file} bytes, or {max_total} together, are not read.", oids=large[:20]
            )
        result = await self._runner.run(self.path, "cat-file", "--batch", stdin=_list(oids))
        return _contents(result.out)

    async def closures(self, tree: Tree, paths: Iterable[str] | None = None) -> dict[str, Closure]:
        """The closure of each stack directory, by path. What is wrong with one stands in its own `problems`."""
        wanted = sorted(tree.stack_directories if paths is None else paths)
        files = {e.oid for e in tree.entries.values() if is_module_file(e) or is_config(e)}
        sizes = await self.sizes(files)
        small = {oid for oid, size in sizes.items() if size <= MAX_CONFIG}
        texts = await self._texts({e.oid for e in tree.entries.values() if is_module_file(e)} & small)

        def text_of(entry: Entry) -> str:
            return texts[entry.oid]

        def readable(entry: Entry) -> bool:
            return entry.oid in small

        return {path: closure(tree, path, text_of, readable) for path in wanted}

    async def bundle(self, commit: str, path: str) -> bytes:
        """The stack's code as `bundles.pack` writes it. Raises: NotFound; FileInvalid, Invalid for what is refused."""
        tree = await self.trees(commit)
        found = await self._closure(tree, path)
        entries = bundles.members(tree, found)
        oids = {e.oid for e in entries}
        bundles.check_sizes(entries, await self.sizes(oids))
        return bundles.pack(entries, await self.blobs(oids))

    async def is_ancestor(self, older: str, newer: str) -> bool:
        """Whether history only grew from one to the other. A commit that is not here is nobody's ancestor."""
        args = ("merge-base", "--is-ancestor", "--end-of-options", check_oid(older), check_oid(newer))
        result = await self._runner.run(self.path, *args, ok=(0, 1, 128))
        if result.code == 128 and await self.has(older) and await self.has(newer):
            raise failure("merge-base", result.code, result.err)
        return result.code == 0

    async def merge_base(self, one: str, other: str) -> str | None:
        args = ("merge-base", "--end-of-options", check_oid(one), check_oid(other))
        result = await self._runner.run(self.path, *args, ok=(0, 1))
        return result.out.decode().strip() or None

    async def changed_paths(self, before: str, after: str) -> Changed:
        """Every path whose content, mode or existence differs between two commits, however they are related.

        Git compares the two trees, so `before` may be on no branch any more, as long as it is here. A rename is one
        path that went and one that came. Raises: NotFound when either commit is not here.
        """
        trees = [await self._resolve(commit, "tree") for commit in (before, after)]
        listing = ("diff-tree", "-r", "-z", "--name-only", "--no-renames", "--end-of-options", *trees)
        reader = NameReader()
        narrow = replace(self._runner, timeout=min(DIFF_SECONDS, self._runner.timeout), memory_cap=DIFF_MEMORY)
        try:
            async with narrow.open(self.path, *listing) as running:
                async for chunk in running.chunks():
                    reader.feed(chunk)
                    if reader.is_full:
                        return reader.changed(complete=False)
                code, _ = await running.end()
        except Faulty:  # it took too long: a tree made of billions of names
            return reader.changed(complete=False)
        return reader.changed(complete=code == 0)

    async def keep(self, commit: str) -> None:
        """Hold a commit here whatever happens to the branches, so that what it created can be destroyed.

        Raises: NotFound. Keeping twice is keeping once.
        """
        oid = await self.commit_of(commit)
        await self._runner.run(self.path, "update-ref", f"{_KEPT}{oid}", oid)

    async def kept(self) -> frozenset[str]:
        """The commits that are held."""
        result = await self._runner.run(self.path, "for-each-ref", "--format=%(objectname)", _KEPT)
        return frozenset(result.out.decode().split())

    async def release(self, commit: str) -> None:
        """Let a kept commit go; one that is not kept is no error."""
        await self._runner.run(self.path, "update-ref", "-d", f"{_KEPT}{check_oid(commit)}")

    async def commit_info(self, commit: str) -> CommitInfo:
        """Raises: NotFound."""
        oid = await self.commit_of(commit)
        return await asyncio.to_thread(_commit_info, self.path, oid)

    async def _closure(self, tree: Tree, path: str) -> Closure:
        if not tree.has_directory(path):
            raise NotFound(f"The commit has no directory {path!r}.")
        if path in tree.refused:
            raise Invalid(tree.refused[path])
        return (await self.closures(tree, [path]))[path]

    async def _texts(self, oids: Collection[str]) -> dict[str, str]:
        blobs = await self.blobs(oids, max_file=MAX_CONFIG)
        return {oid: data.decode("utf-8", "replace") for oid, data in blobs.items()}

    async def _resolve(self, oid: str, kind: str) -> str:
        spec = f"{check_oid(oid)}^{{{kind}}}"
        args = ("rev-parse", "--verify", "--quiet", "--end-of-options", spec)
        result = await self._runner.run(self.path, *args, ok=(0, 1, 128))
        found = result.out.decode().split()
        if result.code or not found:
            raise NotFound(f"The repository has no {kind} {oid}; it may have been pushed away. Sync it again.")
        return found[-1]

    async def _ensure(self) -> None:
        """Make the mirror whole or not at all: a half-made one would fail forever."""
        if (self.path / "HEAD").exists():
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.path.with_name(f".{self.path.name}.{new_token(6)}")
        fresh.mkdir(mode=0o700)
        try:
            await self._runner.run(fresh, "init", "--quiet", "--bare", "--template=", "--initial-branch=main")
            with contextlib.suppress(OSError):  # another was quicker, and its mirror is as good
                fresh.rename(self.path)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)

    async def _unlock(self) -> None:
        """A git that was killed leaves lock files; the caller is the only writer, so they are nobody's."""
        for lock in await asyncio.to_thread(lambda: list(self.path.rglob("*.lock"))):
            lock.unlink(missing_ok=True)


def _list(oids: Iterable[str]) -> bytes:
    return "".join(f"{check_oid(oid)}\n" for oid in sorted(set(oids))).encode()


def _header(line: str) -> tuple[str, int]:
    oid, kind, *size = line.split(" ")
    if kind == "missing":
        raise NotFound(f"The repository has no object {oid}.")
    if kind != "blob":
        raise Invalid(f"{oid} is not a file's content.")
    return oid, int(size[0])


def _contents(out: bytes) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    at = 0
    while at < len(out):
        end = out.index(b"\n", at)
        oid, size = _header(out[at:end].decode("ascii", "replace"))
        found[oid] = out[end + 1 : end + 1 + size]
        at = end + size + 2
    return found


def _commit_info(path: Path, oid: str) -> CommitInfo:
    try:
        with git.Repo(path) as repo:
            repo.git.update_environment(
                GIT_DIR=str(path), GIT_CONFIG_NOSYSTEM="1", GIT_CONFIG_GLOBAL="/dev/null", GIT_NO_LAZY_FETCH="1"
            )
            commit = git.Commit(repo, bytes.fromhex(oid))
            return CommitInfo(
                sha=oid,
                author=_person(commit.author),
                committer=_person(commit.committer),
                authored_at=commit.authored_datetime.astimezone(UTC),
                committed_at=commit.committed_datetime.astimezone(UTC),
                subject=str(commit.summary)[:500],
                parents=tuple(parent.hexsha for parent in commit.parents),
            )
    except (git.GitError, ValueError, OverflowError, LookupError) as error:
        raise Faulty(f"Commit {oid} could not be read: {error}") from error


def _person(actor: git.Actor) -> Person:
    return Person(str(actor.name or ""), str(actor.email or ""))
