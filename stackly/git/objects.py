"""Objects of a mirror by their full ids: sizes, contents, trees."""

from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import replace
from pathlib import Path

from stackly.errors import Invalid, NotFound, StacklyError
from stackly.git import bundles
from stackly.git.differences import DIFF_MEMORY, DIFF_SECONDS, TreeDiff
from stackly.git.runner import Runner, failure
from stackly.git.trees import Tree, TreeReader, check_oid

MAX_TOTAL = 64 * 1024 * 1024


class Objects:
    """`bring` is asked for contents that are not here, as in a mirror that was fetched without them."""

    def __init__(self, path: Path, runner: Runner, bring: Callable[[Collection[str]], Awaitable[bool]]) -> None:
        self._path = path
        self._runner = runner
        self._bring = bring

    async def resolve(self, oid: str, kind: str) -> str:
        """The commit or tree that an object id stands for. Raises: NotFound."""
        spec = f"{check_oid(oid)}^{{{kind}}}"
        args = ("rev-parse", "--verify", "--quiet", "--end-of-options", spec)
        result = await self._runner.run(self._path, *args, ok=(0, 1, 128))
        found = result.out.decode().split()
        if result.code or not found:
            raise NotFound(f"The repository has no {kind} {oid}; it may have been pushed away. Sync it again.")
        return found[-1]

    async def sizes(self, oids: Collection[str]) -> dict[str, int]:
        """Units: bytes. Raises: NotFound, Invalid when one is not a file's content."""
        if not oids:
            return {}
        lines = await self._checked(oids)
        absent = [line.split(" ")[0] for line in lines if line.endswith(" missing")]
        if absent and await self._bring(absent):
            lines = await self._checked(oids)
        return dict(_header(line) for line in lines)

    async def _checked(self, oids: Collection[str]) -> list[str]:
        result = await self._runner.run(self._path, "cat-file", "--batch-check", stdin=listed(oids))
        return [line for line in result.out.decode("ascii", "replace").split("\n") if line]

    async def blobs(
        self, oids: Collection[str], *, max_file: int = bundles.MAX_FILE, max_total: int = MAX_TOTAL
    ) -> dict[str, bytes]:
        """Contents by id, through one process. Raises: Invalid past a cap, before anything is read; NotFound."""
        sizes = await self.sizes(oids)
        large = sorted(oid for oid, size in sizes.items() if size > max_file)
        if large or sum(sizes.values()) > max_total:
            raise Invalid(
                f"Files larger than {max_file} bytes, or {max_total} together, are not read.", oids=large[:20]
            )
        return await self.contents(oids)

    async def contents(self, oids: Collection[str]) -> dict[str, bytes]:
        """As `blobs`, for what is known to be small."""
        if not oids:
            return {}
        result = await self._runner.run(self._path, "cat-file", "--batch", stdin=listed(oids))
        return _contents(result.out)

    async def tree(self, commit: str, oid: str) -> Tree:
        """A full listing. Raises: Invalid past the caps of `trees`."""
        reader = TreeReader(oid)
        listing = ("ls-tree", "-r", "-t", "-z", "--full-tree", "--end-of-options", commit)
        async with self._runner.open(self._path, *listing) as running:
            async for chunk in running.chunks():
                reader.feed(chunk)
            code, err = await running.end()
        if code:
            raise failure("ls-tree", code, err)
        return reader.tree()

    async def tree_from(self, base: Tree, oid: str) -> Tree | None:
        """The same as a full listing, by what git says differs; None when that cannot be told."""
        diff = TreeDiff(base)
        args = ("diff-tree", "-r", "-t", "-z", "--raw", "--no-renames", "--end-of-options", base.oid, oid)
        narrow = replace(self._runner, timeout=min(DIFF_SECONDS, self._runner.timeout), memory_cap=DIFF_MEMORY)
        try:
            async with narrow.open(self._path, *args) as running:
                async for chunk in running.chunks():
                    diff.feed(chunk)
                code, _ = await running.end()
            return None if code else diff.tree(oid)
        except StacklyError:  # the listing says what is wrong with the tree, if it is the tree
            return None


def listed(oids: Iterable[str]) -> bytes:
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
