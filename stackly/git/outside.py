"""Files that modules read outside their directories: found in the commit, or named in a warning."""

import posixpath
import re
from collections.abc import Iterable
from functools import lru_cache

from stackly import texts
from stackly.errors import FileProblem
from stackly.git.modules import Rests
from stackly.git.trees import Entry, Tree, parent
from stackly.terraform_reads import MODULE, ROOT, Read, resolved

_CURE = "put it into this repository as a file, best below the stack's directory"
_MAY_LACK = frozenset({"fileexists", "fileset"})


class Outside:
    """Shape: `files` path -> mode and id; `watched` directories decide which these are; `inside` are bundled anyway."""

    def __init__(self, tree: Tree, root: str, inside: Iterable[str]) -> None:
        self._tree = tree
        self._root = root
        self._inside = tuple(inside)
        self.files: dict[str, str] = {}
        self.warnings: list[FileProblem] = []
        self.watched: set[str] = set()

    def follow(self, directory: str, files: Iterable[tuple[Entry, Rests]]) -> None:
        """Take in what the module files of one directory read."""
        said = list(files)
        constants = dict(c for _, rests in said for c in rests.reads.constants)
        for entry, rests in said:
            for read in rests.reads.found:
                path, pattern = resolved(read.path, constants), resolved(read.pattern, constants)
                place = None if path is None else self._place(directory, path)
                if place is not None and pattern is not None:
                    self._take(entry, read, place, pattern)

    def _place(self, directory: str, path: str) -> str | None:
        """Where it lies, not normalised; None for an absolute path, and for what is made of pieces."""
        base, rest = {MODULE: directory, ROOT: self._root}.get(path[:1], ""), path[1:]
        if not base:
            base, rest = self._root, f"/{path}"
        if path.startswith("/") or (rest and not rest.startswith("/")) or any(ord(c) < 32 for c in rest):
            return None
        return posixpath.join(base, rest.lstrip("/"))

    def _take(self, entry: Entry, read: Read, place: str, pattern: str) -> None:
        target = posixpath.normpath(place)
        why = self._objection(read, place, target)
        if why:
            message = f"{read.function}() reads {texts.shown(target)}, which {why}: it is not in the bundle; {_CURE}."
            self.warnings.append(FileProblem(entry.path, read.line, read.column, message))
        elif read.function == "fileset":
            self._take_set(target, pattern)
        if target.startswith("../") or self._is_inside(target) or read.function == "fileset":
            return
        self._watch(parent(target))
        found = self._tree.entries.get(target)
        if not why and found is not None and found.is_file:
            self.files[target] = f"{found.mode} {found.oid}"

    def _objection(self, read: Read, place: str, target: str) -> str:
        if target == ".." or target.startswith("../"):
            return "lies outside the repository"
        if through_link(self._tree, place):
            return "goes through a symbolic link or a submodule, which are not followed"
        if read.function in _MAY_LACK or target in self._tree.entries or target == ".":
            return ""
        return "is not in this commit"

    def _take_set(self, base: str, pattern: str) -> None:
        while pattern.startswith("../"):
            base, pattern = posixpath.normpath(posixpath.join(base, "..")), pattern[3:]
        if base == ".." or base.startswith("../") or self._is_inside(base):
            return
        self._watch(base)
        if not self._tree.has_directory(base):
            return
        wanted = _pattern(pattern)
        start = 0 if base == "." else len(base) + 1
        for entry in self._tree.below(base):
            if entry.is_file and wanted.fullmatch(entry.path[start:]) and not self._is_inside(entry.path):
                self.files[entry.path] = f"{entry.mode} {entry.oid}"

    def _is_inside(self, path: str) -> bool:
        return any(d in (".", path) or path.startswith(f"{d}/") for d in self._inside)

    def _watch(self, directory: str) -> None:
        """The nearest directory that is there: whatever comes or goes below changes it."""
        while not self._tree.has_directory(directory):
            directory = parent(directory)
        self.watched.add(directory)


@lru_cache(maxsize=256)
def _pattern(glob: str) -> re.Pattern[str]:
    """Terraform's globs: `*`, `**`, `?`, `[a-z]` and `{one,two}`."""
    out, depth, at = "", 0, 0
    while at < len(glob):
        rest = glob[at:]
        step = 1
        if rest.startswith("**/"):
            out, step = f"{out}(?:.*/)?", 3
        elif rest.startswith("**"):
            out, step = f"{out}.*", 2
        elif (found := re.match(r"\[[!^]?[^\]\\]+\]", rest)) is not None:
            out, step = out + found.group().replace("[!", "[^", 1), found.end()
        else:
            depth += {"{": 1, "}": -1}.get(rest[0], 0)
            special = {"*": "[^/]*", "?": "[^/]", "{": "(?:", "}": ")", ",": "|" if depth else ","}
            out += special.get(rest[0], re.escape(rest[0]))
        at += step
    try:
        return re.compile(out, re.DOTALL)
    except re.error:
        return re.compile(re.escape(glob))


def through_link(tree: Tree, path: str) -> bool:
    """Whether any step of a path is a link: `link/../x` is not where it looks to be."""
    at: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del at[-1:]
        elif part not in ("", "."):
            at.append(part)
        entry = tree.entries.get("/".join(at))
        if entry is not None and entry.is_link:
            return True
    return False
