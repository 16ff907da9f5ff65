"""The tree of one commit as git lists it, and the stack directories in it. Pure: fed with bytes."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from stackly.errors import Invalid

CONFIG: Final = "stackly.hcl"
MAX_ENTRIES: Final = 200_000
MAX_DEPTH: Final = 32
MAX_PATH: Final = 1024

_FILES = frozenset({"100644", "100755", "100664"})
_SYMLINK, _GITLINK, _DIRECTORY = "120000", "160000", "040000"
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
    def executable(self) -> bool:
        return self.mode == "100755"


@dataclass(frozen=True)
class Tree:
    """Everything in one commit. `oid` is the root's tree id; the root directory is called "."."""

    oid: str
    entries: dict[str, Entry]

    @cached_property
    def _files_of(self) -> dict[str, list[Entry]]:
        """What lies directly in each directory, links included."""
        out: dict[str, list[Entry]] = {}
        for entry in self.entries.values():
            if not entry.is_directory:
                out.setdefault(parent(entry.path), []).append(entry)
        return out

    @cached_property
    def stack_directories(self) -> dict[str, str]:
        """Directory -> its tree id, for each that holds stackly.hcl and *.tf as files of its own, by path."""
        found = (path for path in self._files_of if self._is_stack(path) and self._refusal(path) is None)
        return {path: self.tree_of(path) for path in sorted(found)}

    @cached_property
    def refused(self) -> dict[str, str]:
        """Directories that would be stacks, and why they are not."""
        out = {path: self._refusal(path) for path in self._files_of if self._is_stack(path)}
        return {path: reason for path, reason in sorted(out.items()) if reason}

    def has_directory(self, path: str) -> bool:
        return path == "." or (path in self.entries and self.entries[path].is_directory)

    def tree_of(self, path: str) -> str:
        """Raises: Invalid when it is no directory."""
        if not self.has_directory(path):
            raise Invalid(f"{path!r} is not a directory of this commit.")
        return self.oid if path == "." else self.entries[path].oid

    def directly_in(self, path: str) -> list[Entry]:
        """Files and links of a directory, not of those below, by path."""
        return sorted(self._files_of.get(path, ()), key=lambda e: e.path)

    def below(self, path: str) -> Iterator[Entry]:
        """Files and links of a directory and all below it."""
        prefix = "" if path == "." else f"{path}/"
        return (e for e in self.entries.values() if not e.is_directory and e.path.startswith(prefix))

    def _is_stack(self, path: str) -> bool:
        names = [e.path.rpartition("/")[2] for e in self._files_of[path]]
        return CONFIG in names and any(n.endswith(".tf") for n in names)

    def _refusal(self, path: str) -> str | None:
        if not path.isprintable():
            return "Its path holds control characters or bytes that are not UTF-8; rename it."
        for entry in self.directly_in(path):
            name = entry.path.rpartition("/")[2]
            if entry.is_link and (name == CONFIG or name.endswith(".tf")):
                return f"{name!r} is a symbolic link or a submodule, which are not followed; make it a file."
        return None


def parent(path: str) -> str:
    return path.rpartition("/")[0] or "."


class TreeReader:
    """Reads `ls-tree -r -t -z` piece by piece and stops at the caps.

    Raises: Invalid for too many entries, too deep or too long paths, and names that could leave a directory.
    """

    def __init__(self, oid: str, *, max_entries: int = MAX_ENTRIES, max_depth: int = MAX_DEPTH) -> None:
        self._oid = oid
        self._max_entries = max_entries
        self._max_depth = max_depth
        self._rest = b""
        self._entries: dict[str, Entry] = {}

    def feed(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest + chunk).split(b"\0")
        for line in lines:
            entry = _entry(line)
            self._check(entry)
            self._entries[entry.path] = entry
        if len(self._rest) > 1 << 20:
            raise Invalid("The tree holds a name of more than a megabyte.")

    def tree(self) -> Tree:
        if self._rest:
            raise Invalid("git's listing of the tree ends in the middle.")
        return Tree(self._oid, self._entries)

    def _check(self, entry: Entry) -> None:
        if len(self._entries) >= self._max_entries:
            raise Invalid(f"The commit has more than {self._max_entries} files and directories; split the repository.")
        parts = entry.path.split("/")
        if len(parts) > self._max_depth:
            raise Invalid(f"The commit has directories nested deeper than {self._max_depth}.")
        if len(entry.path) > MAX_PATH:
            raise Invalid(f"The commit has a path longer than {MAX_PATH} characters.")
        if any(part in ("", ".", "..") or part.lower() == ".git" for part in parts):
            raise Invalid(f"The commit has a path that could leave its directory: {entry.path!r}.")


def _entry(line: bytes) -> Entry:
    head, tab, path = line.partition(b"\t")
    fields = head.decode("ascii", "replace").split(" ")
    if not tab or len(fields) != 3:
        raise Invalid("git's listing of the tree is not readable.")
    return Entry(path.decode("utf-8", "surrogateescape"), fields[0], fields[2])
