"""A bare mirror of one repository: what is remote goes through the hardened runner, what is local by full object id.

There is never a work tree. Who calls sees to it that one mirror has one writer at a time.
"""

import asyncio
import contextlib
import re
import shutil
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from stackly import texts
from stackly.errors import Faulty, Invalid, NotFound
from stackly.git import bundles, commits, packs
from stackly.git.closures import Closure
from stackly.git.commits import CommitInfo
from stackly.git.differences import DIFF_MEMORY, DIFF_SECONDS, Changed, NameReader
from stackly.git.following import MAX_FILE, Following
from stackly.git.memory import Memory
from stackly.git.objects import MAX_TOTAL, Objects, listed
from stackly.git.payloads import Announced
from stackly.git.runner import Runner, failure, is_harmless
from stackly.git.submodules import trick
from stackly.git.trees import Tree, check_oid
from stackly.ids import new_token

_REPO_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,63}\Z")
_HEADS = "+refs/heads/*:refs/heads/*"
_TAGS = "+refs/tags/*:refs/tags/*"
_REMOTE = "origin"  # has no place in the mirror's configuration: what it is stands in each call
_FILTER = "blob:none"
# A fetch repeats the objects that its deltas stand on, as a directory of thousands: squeezing them again takes longer
# than all the rest of it, and `tidy` drops the repetitions.
_UNPACKED = ("core.compression=0", "core.looseCompression=1")
_FIRST_PAUSE = 0.2
AWAIT_SECONDS = 5.0
_KEPT = "refs/stackly/keep/"


@dataclass(frozen=True, slots=True)
class Fetched:
    """`refs` are the mirror's now; `missing` of what was awaited is not served.

    Shape: `unreadable` are refs whose names are no UTF-8, as they are shown, with their object ids: they are in no
    other list. Units: seconds that the fetch took, its waiting included.
    """

    refs: Mapping[str, str]
    missing: frozenset[Announced]
    lag: float
    unreadable: Mapping[str, str] = field(default_factory=dict)


class Mirror:
    """Shape: `root`/`repo_id`.git on disk. `memory` spares later mirrors of the same place what this one read.

    `blobless`: files' contents are fetched when they are read, all that are wanted at once, from remotes that offer
    it; others send everything as ever.
    """

    def __init__(
        self,
        root: Path,
        repo_id: str,
        clone_url: str,
        runner: Runner,
        *,
        token: str | None = None,
        memory: Memory | None = None,
        blobless: bool = False,
    ) -> None:
        if not _REPO_ID.match(repo_id):
            raise Invalid("A mirror is named by its repository's id.")
        runner.check_url(clone_url)
        self.path = root / f"{repo_id}.git"
        self._url = clone_url
        self._runner = runner
        self._token = token
        self._memory = memory or Memory()
        self._blobless = blobless
        self._objects = Objects(self.path, runner, self._bring)
        self._following = Following(self.path, self._objects, self._memory)

    async def fetch(self, *, awaiting: Collection[Announced] = (), within: float = AWAIT_SECONDS) -> Fetched:
        """Bring every branch and tag here, exactly as the remote has them; what is gone there goes here.

        `awaiting` are pushes that were announced: while one is not served yet, the fetch is repeated, for so many
        seconds at most. Then it goes on with what is there.

        Raises: Unavailable, Invalid (refused by fsck, or a protocol that is not allowed), Faulty.
        """
        await self._ensure()
        await self._unlock()
        loop = asyncio.get_running_loop()
        started, pause = loop.time(), _FIRST_PAUSE
        while True:
            await self._fetch("--prune", "--force", "--end-of-options", _REMOTE, _HEADS, _TAGS)
            refs, unreadable = await self._refs()
            missing = await self.unserved(awaiting, refs)
            lag = loop.time() - started
            if not missing or lag + pause > within:
                return Fetched(refs, missing, lag, unreadable)
            await asyncio.sleep(pause)
            pause *= 2

    async def unserved(self, announced: Collection[Announced], refs: Mapping[str, str]) -> frozenset[Announced]:
        """Those of these pushes that neither the mirror's refs nor its commits show."""
        shown = {push: push.is_shown(refs) for push in announced}
        return frozenset([p for p, is_so in shown.items() if not (await self.has(p.after) if is_so is None else is_so)])

    async def _fetch(self, *args: str, stdin: bytes = b"", config: tuple[str, ...] = ()) -> None:
        remote = [f"remote.{_REMOTE}.url={self._url}"]
        narrow = []
        if self._without_contents():  # told in full here, or git would write it down, and miss what it reads later
            remote += [f"remote.{_REMOTE}.promisor=true", f"remote.{_REMOTE}.partialclonefilter={_FILTER}"]
            narrow = [f"--filter={_FILTER}"]
        quiet = ("--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance")

        async def run(*how: str, of: list[str]) -> None:
            settings = (*of, *_UNPACKED, *config)
            await self._runner.run(
                self.path, "fetch", *quiet, *how, *args, stdin=stdin, url=self._url, token=self._token, config=settings
            )

        try:
            await run(*narrow, of=remote)
        except Invalid as e:
            # Older gits do not read what is to be ignored where they fetch without contents: then all of it comes.
            if not narrow or not is_harmless(e.detail):
                raise
            await run("--refetch", of=remote[:1])

    def _without_contents(self) -> bool:
        """A mirror that has holes keeps them: a fetch that took it for whole would not fill them."""
        return self._blobless or next(self.path.glob("objects/pack/*.promisor"), None) is not None

    async def _bring(self, oids: Collection[str]) -> bool:
        """All in one: a fetch for each would be a round trip for each. False when nothing can be missing."""
        if not self._without_contents():
            return False
        noop = ("fetch.negotiationAlgorithm=noop",)
        with contextlib.suppress(Faulty):  # the remote has not got them either: who asked finds them missing
            await self._fetch("--stdin", "--end-of-options", _REMOTE, stdin=listed(oids), config=noop)
        return True

    async def remote_refs(self) -> dict[str, str]:
        """What the remote has now, without fetching it; names that are no UTF-8 are left out."""
        await self._ensure()
        result = await self._runner.run(
            self.path,
            *("ls-remote", "--quiet", "--refs", "--heads", "--tags", "--end-of-options", self._url),
            url=self._url,
            token=self._token,
        )
        return _named(result.out, b"\t")[0]

    async def refs(self) -> dict[str, str]:
        """Full ref name -> object id, heads and tags whose names are UTF-8.

        An annotated tag's id is the tag object's; see `commit_of`.
        """
        return (await self._refs())[0]

    async def _refs(self) -> tuple[dict[str, str], dict[str, str]]:
        """Those whose names can be kept, and those that can only be shown."""
        result = await self._runner.run(
            self.path, "for-each-ref", "--format=%(objectname) %(refname)", "refs/heads/", "refs/tags/"
        )
        return _named(result.out, b" ")

    async def commit_of(self, oid: str) -> str:
        """The commit an object id stands for: itself, or what a tag points at. Raises: NotFound."""
        return await self._objects.resolve(oid, "commit")

    async def has(self, oid: str) -> bool:
        result = await self._runner.run(self.path, "cat-file", "-e", check_oid(oid), ok=(0, 1, 128))
        return result.code == 0

    async def trees(self, commit: str) -> Tree:
        """Every entry of a commit. Raises: NotFound; Invalid past the caps of `trees`.

        Found from the tree that was read last, by git's own diff of the two; listed in full when there is none.
        """
        oid = await self._objects.resolve(commit, "tree")
        known = self._memory.tree(self.path, oid)
        if known is not None:
            return known
        base = self._memory.latest(self.path)
        tree = await self._objects.tree_from(base, oid) if base is not None else None
        if tree is None:
            tree = await self._objects.tree(commit, oid)
        if self._without_contents():  # then git's own check on arrival did not see this file
            await self._check_submodules(tree)
        self._memory.remember(self.path, tree)
        return tree

    async def _check_submodules(self, tree: Tree) -> None:
        found = tree.entries.get(".gitmodules")
        if found is None or not found.is_file:
            return
        if (await self.sizes([found.oid]))[found.oid] > MAX_FILE:
            raise Invalid(f".gitmodules is larger than {MAX_FILE} bytes.")
        args = ("config", f"--blob={found.oid}", "--list", "-z")
        listing = await self._runner.run(self.path, *args, ok=(0, 1, 3, 128))
        why = "It is not readable." if listing.code else trick(listing.out)
        if why is not None:
            raise Invalid(f".gitmodules is refused: {why}")

    async def sizes(self, oids: Collection[str]) -> dict[str, int]:
        """Units: bytes. Raises: NotFound, Invalid when one is not a file's content."""
        return await self._objects.sizes(oids)

    async def blobs(
        self, oids: Collection[str], *, max_file: int = bundles.MAX_FILE, max_total: int = MAX_TOTAL
    ) -> dict[str, bytes]:
        """Contents by id, through one process. Raises: Invalid past a cap, before anything is read; NotFound."""
        return await self._objects.blobs(oids, max_file=max_file, max_total=max_total)

    async def closures(self, tree: Tree, paths: Iterable[str] | None = None) -> dict[str, Closure]:
        """The closure of each stack directory, by path. What is wrong with one stands in its own `problems`."""
        wanted = tree.stack_directories.keys() if paths is None else frozenset(paths)
        return await self._following.closures(tree, wanted)

    async def bundle(self, commit: str, path: str, *, earlier: bool = False) -> bytes:
        """As `bundles.pack` writes it, or earlier releases did. Raises: NotFound; FileInvalid, Invalid if refused."""
        tree = await self.trees(commit)
        found = await self._closure(tree, path)
        entries = (bundles.earlier_members if earlier else bundles.members)(tree, found)
        oids = {e.oid for e in entries}
        bundles.check_sizes(entries, await self.sizes(oids))
        blobs = await self.blobs(oids)
        bundles.check_links(entries, blobs, bundles.links(tree, found))
        return bundles.pack(entries, blobs)

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

    async def newest_shared(self, commit: str, others: Collection[str]) -> str | None:
        """The newest commit in the histories of this one and of any of the others that are here."""
        if not others:
            return None
        listing = await self._runner.run(self.path, "cat-file", "--batch-check", stdin=listed(others))
        there = [
            line.split(b" ")[0].decode() for line in listing.out.split(b"\n") if line.split(b" ")[1:2] == [b"commit"]
        ]
        if not there:
            return None
        args = ("merge-base", "--end-of-options", check_oid(commit), *there)
        result = await self._runner.run(self.path, *args, ok=(0, 1))
        return result.out.decode().strip() or None

    async def changed_paths(self, before: str, after: str) -> Changed:
        """Every path whose content, mode or existence differs between two commits, however they are related.

        Git compares the two trees, so `before` may be on no branch any more, as long as it is here. A rename is one
        path that went and one that came. Raises: NotFound when either commit is not here.
        """
        trees = [await self._objects.resolve(commit, "tree") for commit in (before, after)]
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

    async def tidy(self) -> int:
        """Put small packs together when they are many. Returns how many went. Raises: Faulty."""
        return await packs.combine(self.path, self._runner)

    async def commit_info(self, commit: str) -> CommitInfo:
        """Raises: NotFound."""
        oid = await self.commit_of(commit)
        result = await self._runner.run(self.path, *commits.ARGS, "--end-of-options", oid)
        return await asyncio.to_thread(commits.read, self.path, oid, result.out)

    async def _closure(self, tree: Tree, path: str) -> Closure:
        if not tree.has_directory(path):
            raise NotFound(f"The commit has no directory {path!r}.")
        if path in tree.refused:
            raise Invalid(tree.refused[path])
        return (await self.closures(tree, [path]))[path]

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


def _named(listing: bytes, between: bytes) -> tuple[dict[str, str], dict[str, str]]:
    """Lines of an object id and a ref's name. Shape: name -> id, of names that can be kept, and of the others."""
    good, bad = dict[str, str](), dict[str, str]()
    for line in listing.split(b"\n"):
        oid, mark, raw = line.partition(between)
        if mark:
            name = texts.decoded(raw)
            kind = bad if name is None else good
            kind[texts.legible(raw) if name is None else name] = oid.decode("ascii")
    return good, bad
