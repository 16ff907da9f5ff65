"""A stack's closure: its directory and every local module it calls, directly or through another module.

The closure's key changes exactly when the code of the stack or of a module it uses does. It is the directory's own
tree id when nothing outside is called, so that a moved directory keeps its key.
"""

import hashlib
import posixpath
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from stackly.errors import FileProblem
from stackly.git.modules import Call
from stackly.git.trees import CONFIG, Entry, Tree


@dataclass(frozen=True)
class Closure:
    """`modules` are the directories called outside the stack's own, with their tree ids, by path.

    With `problems` it cannot be bundled: each says which file calls what wrongly.
    """

    path: str
    tree: str
    modules: tuple[tuple[str, str], ...]
    problems: tuple[FileProblem, ...]

    @cached_property
    def key(self) -> str:
        """Shape: a tree id, or 64 hex digits when modules outside take part."""
        if not self.modules:
            return self.tree
        told = "\n".join([self.tree, *(f"{path} {tree}" for path, tree in self.modules)])
        return hashlib.sha256(told.encode("utf-8", "surrogateescape")).hexdigest()

    @property
    def directories(self) -> tuple[str, ...]:
        return (self.path, *(path for path, _ in self.modules))


def is_module_file(entry: Entry) -> bool:
    return entry.is_file and entry.path.endswith((".tf", ".tf.json"))


def is_config(entry: Entry) -> bool:
    return entry.is_file and entry.path.rpartition("/")[2] == CONFIG


def module_files(tree: Tree, path: str) -> list[Entry]:
    return [e for e in tree.directly_in(path) if is_module_file(e)]


def closure(
    tree: Tree,
    path: str,
    calls_of: Callable[[Entry], tuple[Call, ...]],
    readable: Callable[[Entry], bool] = lambda _: True,
) -> Closure:
    """Follow the calls from one stack directory.

    `calls_of` tells what a module file calls, and is asked only for what is `readable`: small enough.
    """
    problems = [_too_large(e) for e in tree.directly_in(path) if is_config(e) and not readable(e)]
    seen = {path}
    waiting = [path]
    while waiting:
        directory = waiting.pop()
        for entry in module_files(tree, directory):
            if not readable(entry):
                problems.append(_too_large(entry))
                continue
            for call in calls_of(entry):
                called = _resolve(tree, directory, entry, call, problems)
                if called is not None and called not in seen:
                    seen.add(called)
                    waiting.append(called)
    inside = "" if path == "." else f"{path}/"
    outside = sorted(d for d in seen if d != path and not (inside and d.startswith(inside)) and path != ".")
    modules = tuple((d, tree.tree_of(d)) for d in outside)
    return Closure(path, tree.tree_of(path), modules, tuple(sorted(problems, key=str)))


def targets(tree: Tree, directory: str, calls: Iterable[Call]) -> Iterator[str]:
    """The directories of this commit that calls from one directory lead to."""
    found = (posixpath.normpath(posixpath.join(directory, call.source)) for call in calls)
    return (path for path in found if tree.has_directory(path))


def _too_large(entry: Entry) -> FileProblem:
    return FileProblem(entry.path, 0, 0, "The file is too large to be read; split it.")


def _resolve(tree: Tree, directory: str, entry: Entry, call: Call, problems: list[FileProblem]) -> str | None:
    """The directory a call names, or None with a problem noted."""
    target = posixpath.normpath(posixpath.join(directory, call.source))
    message = None
    if target == ".." or target.startswith("../"):
        message = f"Module source {call.source!r} leaves the repository."
    elif _through_link(tree, posixpath.join(directory, call.source)):
        message = f"Module source {call.source!r} goes through a symbolic link or a submodule, which are not followed."
    elif not tree.has_directory(target):
        message = f"Module source {call.source!r} is not a directory of this commit."
    if message is None:
        return target
    problems.append(FileProblem(entry.path, call.line, call.column, message))
    return None


def _through_link(tree: Tree, path: str) -> bool:
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
