"""The tree of one commit as git lists it, and the stack directories in it. Pure: fed with bytes."""

import re
from collections.abc import Collection, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from stackly import texts
from stackly.errors import Invalid

CONFIG: Final = "stackly.hcl"
_MODULE: Final = (".tf", ".tf.json")  # Terraform's two languages
MAX_ENTRIES: Final = 200_000
MAX_DEPTH: Final = 32
MAX_PATH: Final = 1024
# What goes further than these is a fault of its own stack; what goes beyond the next ones cannot be listed at all.
_LISTED_DEPTH: Final = 256
_LISTED_PATH: Final = 4096

_FILES = frozenset({"100644", "100755", "100664"})
_SYMLINK, _GITLINK, _DIRECTORY = "120000", "160000", "040000"
_CONTROL = re.compile("[\x00-\x1f\x7f]")  # what a branch cannot have in its name either
_OID = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?\Z")


def check_oid(text: str) -> str:
    """Raises: Invalid unless it is a full object id: never a name, an option or an abbreviation."""
    if not _OID.match(text):
        raise Invalid("A commit is named by its full id: 40 or 64 lower-case hex digits.", given=text[:80])
    return text


@dataclass(frozen=True, slots=True)
class Entry:
    """Shape: `path` is relative to the repository; bytes that are not UTF-8 are surrogates in it."""

    path: str
    mode: str
    oid: str

    @property
    def is_file(self) -> bool:
        return self.mode in _FILES

    @property
    def is_directory(self) -> bool:
        return self.mode == _DIRECTORY

    @property
    def is_link(self) -> bool:
        """A symbolic link or a submodule: never followed."""
        return not self.is_file and not self.is_directory

    @property
    def is_submodule(self) -> bool:
        return self.mode == _GITLINK

    @property
    def is_far(self) -> bool:
        """Deeper, or of a longer path, than a stack may be."""
        return self.path.count("/") >= MAX_DEPTH or len(self.path) > MAX_PATH

    @property
    def executable(self) -> bool:
        return self.mode == "100755"


@dataclass(frozen=True)
class Tree:
    """Everything in one commit. `oid` is the root's tree id; the root directory is called "."."""

    oid: str
    entries: dict[str, Entry]

    @cached_property
    def _children(self) -> dict[str, dict[str, Entry]]:
        """What lies directly in each directory that holds anything, by name."""
        out: dict[str, dict[str, Entry]] = {}
        for entry in self.entries.values():
            directory, _, name = entry.path.rpartition("/")
            out.setdefault(directory or ".", {})[name] = entry
        return out

    @cached_property
    def _stacks(self) -> dict[str, str]:
        """Directories that would be stacks -> why they are not, or ''."""
        return {path: self._refusal(path) or "" for path in sorted(self._children) if self._is_stack(path)}

    @cached_property
    def stack_directories(self) -> dict[str, str]:
        """Directory -> its tree id, for each that holds stackly.hcl and Terraform files of its own, by path."""
        return {path: self.tree_of(path) for path, why in self._stacks.items() if not why}

    @cached_property
    def refused(self) -> dict[str, str]:
        """Directories that would be stacks, and why they are not."""
        return {path: why for path, why in self._stacks.items() if why}

    @cached_property
    def links(self) -> frozenset[str]:
        """Paths of symbolic links and submodules."""
        return frozenset(path for path, entry in self.entries.items() if entry.is_link)

    @cached_property
    def _places(self) -> frozenset[tuple[str, str]]:
        return frozenset([(".", self.oid), *((e.path, e.oid) for e in self.entries.values() if e.is_directory)])

    @cached_property
    def _step(self) -> tuple[str, AbstractSet[tuple[str, str]]]:
        """The tree this one was patched from, and which of its directories it has no more."""
        return "", frozenset()

    def lost_since(self, earlier: "Tree") -> AbstractSet[tuple[str, str]]:
        """Directories of another tree, with their tree ids, that are not in this one as they were."""
        if self._step[0] == earlier.oid:
            return self._step[1]
        return earlier._places - self._places  # noqa: SLF001 - its own kind

    def has_directory(self, path: str) -> bool:
        return path == "." or (path in self.entries and self.entries[path].is_directory)

    def tree_of(self, path: str) -> str:
        """Raises: Invalid when it is no directory."""
        if not self.has_directory(path):
            raise Invalid(f"{path!r} is not a directory of this commit.")
        return self.oid if path == "." else self.entries[path].oid

    def directly_in(self, path: str) -> list[Entry]:
        """Files and links of a directory, not of those below, by path."""
        return sorted((e for e in self._children.get(path, {}).values() if not e.is_directory), key=lambda e: e.path)

    def below(self, path: str) -> Iterator[Entry]:
        """Files and links of a directory and all below it."""
        waiting = [path]
        while waiting:
            for entry in self._children.get(waiting.pop(), {}).values():
                if entry.is_directory:
                    waiting.append(entry.path)
                else:
                    yield entry

    def patched(self, oid: str, gone: Collection[str], put: Collection[Entry]) -> "Tree":
        """The tree that git's diff leads to: `gone` first, then `put`, which is new or replaces.

        Equal to a full listing of it; the work is that of the difference, but for copies of what is known.
        """
        entries = self.entries.copy()
        for path in gone:
            del entries[path]
        entries.update((e.path, e) for e in put)
        tree = Tree(oid, entries)
        changed = {*gone, *(e.path for e in put)}
        touched = {parent(path) for path in changed}  # a directory changes when something directly in it does
        children = self._moved_on(gone, put)
        vars(tree).update(_children=children, links=self._links_after(gone, put))
        vars(tree).update(_step=(self.oid, self._lost(changed)))
        would = self._stacks_after(tree, touched)
        valid = self._valid_after(tree, would, touched)
        vars(tree).update(_stacks=would, stack_directories=valid)
        return tree

    def _moved_on(self, gone: Collection[str], put: Collection[Entry]) -> dict[str, dict[str, Entry]]:
        children = self._children.copy()
        for path in {parent(path) for path in (*gone, *(e.path for e in put))}:
            children[path] = children.get(path, {}).copy()
        for path in gone:
            del children[parent(path)][path.rpartition("/")[2]]
        for entry in put:
            children[parent(entry.path)][entry.path.rpartition("/")[2]] = entry
        for path in {parent(path) for path in gone}:
            if not children[path]:
                del children[path]
        return children

    def _links_after(self, gone: Collection[str], put: Collection[Entry]) -> frozenset[str]:
        dropped = self.links.intersection({*gone, *(e.path for e in put)})
        added = {e.path for e in put if e.is_link}
        return self.links if dropped == added else (self.links - dropped) | added

    def _lost(self, changed: Collection[str]) -> frozenset[tuple[str, str]]:
        return frozenset((path, self.tree_of(path)) for path in (*changed, ".") if self.has_directory(path))

    def _stacks_after(self, tree: "Tree", touched: Collection[str]) -> dict[str, str]:
        now = {path: tree._refusal(path) or "" for path in touched if tree._is_stack(path)}  # noqa: SLF001 - its own kind
        before = {path: why for path in touched if (why := self._stacks.get(path)) is not None}
        if now == before:
            return self._stacks
        left = {path: why for path, why in self._stacks.items() if path not in before} | now
        return dict(sorted(left.items()))

    def _valid_after(self, tree: "Tree", would: dict[str, str], touched: Collection[str]) -> dict[str, str]:
        if would is not self._stacks:
            return {path: tree.tree_of(path) for path, why in would.items() if not why}
        valid = self.stack_directories.copy()
        valid.update((path, tree.tree_of(path)) for path in touched if path in valid)
        return valid

    def _is_stack(self, path: str) -> bool:
        here = self._children.get(path, {})
        config = here.get(CONFIG)
        if config is None or config.is_directory:
            return False
        return any(name.endswith(_MODULE) and not e.is_directory for name, e in here.items())

    def _refusal(self, path: str) -> str | None:
        if texts.flaw(path) or _CONTROL.search(path):
            return "Its path holds control characters or bytes that are not UTF-8; rename it."
        if Entry(f"{path}/{CONFIG}", "", "").is_far:
            return (
                f"It is nested deeper than {MAX_DEPTH} directories, or its path is longer than {MAX_PATH} characters."
            )
        for entry in self.directly_in(path):
            name = entry.path.rpartition("/")[2]
            if entry.is_link and (name == CONFIG or name.endswith(_MODULE)):
                return f"{texts.shown(name)} is a symbolic link or a submodule, which are not followed; make it a file."
        return None


def parent(path: str) -> str:
    return path.rpartition("/")[0] or "."


class TreeReader:
    """Reads `ls-tree -r -t -z` piece by piece and stops at the caps.

    Raises: Invalid for too many entries, too deep or too long paths, and names that could leave a directory.
    """

    def __init__(self, oid: str, *, max_entries: int = MAX_ENTRIES) -> None:
        self._oid = oid
        self._max_entries = max_entries
        self._rest = b""
        self._entries: dict[str, Entry] = {}

    def feed(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest + chunk).split(b"\0")
        for line in lines:
            entry = _entry(line)
            check_count(len(self._entries) + 1, self._max_entries)
            check_entry(entry)
            self._entries[entry.path] = entry
        if len(self._rest) > 1 << 20:
            raise Invalid("The tree holds a name of more than a megabyte.")

    def tree(self) -> Tree:
        if self._rest:
            raise Invalid("git's listing of the tree ends in the middle.")
        return Tree(self._oid, self._entries)


def check_entry(entry: Entry) -> None:
    """Raises: Invalid for paths too deep or too long to be listed, and names that could leave a directory."""
    parts = entry.path.split("/")
    if len(parts) > _LISTED_DEPTH:
        raise Invalid(f"The commit has directories nested deeper than {_LISTED_DEPTH}.")
    if len(entry.path) > _LISTED_PATH:
        raise Invalid(f"The commit has a path longer than {_LISTED_PATH} characters.")
    if any(part in ("", ".", "..") or part.lower() == ".git" for part in parts):
        raise Invalid(f"The commit has a path that could leave its directory: {texts.shown(entry.path)}.")


def check_count(count: int, limit: int = MAX_ENTRIES) -> None:
    if count > limit:
        raise Invalid(f"The commit has more than {limit} files and directories; split the repository.")


def _entry(line: bytes) -> Entry:
    head, tab, path = line.partition(b"\t")
    fields = head.decode("ascii", "replace").split(" ")
    if not tab or len(fields) != 3:
        raise Invalid("git's listing of the tree is not readable.")
    return Entry(path.decode("utf-8", "surrogateescape"), fields[0], fields[2])
