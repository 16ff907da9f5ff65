"""What git's own diff of two trees says, read as it comes. Pure: fed with bytes."""

from dataclasses import dataclass
from typing import Final

from stackly import texts
from stackly.errors import Invalid
from stackly.git.trees import Entry, Tree, check_count, check_entry

MAX_CHANGED: Final = 50_000
# A diff against a tree of billions of names holds them all before it prints one: it is stopped by these.
DIFF_SECONDS: Final = 20.0
DIFF_MEMORY: Final = 512 * 1024**2


@dataclass(frozen=True, slots=True)
class Changed:
    r"""Shape: `paths` of files, sorted; bytes that are not UTF-8 are `\xNN` in them.

    When it is not `complete` there were too many to list: take it that any path may have changed.
    """

    paths: tuple[str, ...]
    complete: bool


class NameReader:
    """Reads `diff-tree -r -z --name-only` piece by piece."""

    def __init__(self, limit: int = MAX_CHANGED) -> None:
        self._limit = limit
        self._rest = b""
        self._paths: list[str] = []

    @property
    def is_full(self) -> bool:
        return len(self._paths) > self._limit

    def feed(self, chunk: bytes) -> None:
        *names, self._rest = (self._rest + chunk).split(b"\0")
        self._paths.extend(texts.legible(name) for name in names)

    def changed(self, *, complete: bool) -> Changed:
        return Changed(tuple(sorted(self._paths[: self._limit])), complete)


class TreeDiff:
    """Reads `diff-tree -r -t -z --raw` from a known tree to another, piece by piece; `tree` is then the other."""

    def __init__(self, base: Tree) -> None:
        self._base = base
        self._rest = b""
        self._head = b""
        self._gone: set[str] = set()
        self._put: dict[str, Entry] = {}

    def feed(self, chunk: bytes) -> None:
        *parts, self._rest = (self._rest + chunk).split(b"\0")
        for part in parts:
            if self._head:
                self._take(self._head, part)
                self._head = b""
            else:
                self._head = part

    def tree(self, oid: str) -> Tree:
        """Raises: Invalid past the caps of `trees`, and for a diff of something else."""
        if self._rest or self._head or not self._gone <= self._base.entries.keys():
            raise Invalid("git's diff of the trees is not readable.")
        tree = self._base.patched(oid, self._gone, tuple(self._put.values()))
        check_count(len(tree.entries))
        return tree

    def _take(self, head: bytes, name: bytes) -> None:
        """A file that became a directory is two lines of one path: it went, and it came."""
        fields = head.decode("ascii", "replace").removeprefix(":").split(" ")
        if len(fields) != 5 or not head.startswith(b":"):
            raise Invalid("git's diff of the trees is not readable.")
        _, mode, _, oid, verb = fields
        path = name.decode("utf-8", "surrogateescape")
        if verb == "D":
            self._gone.add(path)
            return
        entry = Entry(path, mode, oid)
        check_entry(entry)
        check_count(len(self._put) + 1)
        self._put[path] = entry
