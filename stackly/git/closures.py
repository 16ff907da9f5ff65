"""A stack's closure: its directory, every local module it calls, directly or through another, and files they read.

The closure's key changes exactly when the code of the stack or of a module it uses does. It is the directory's own
tree id when nothing outside is called, so that a moved directory keeps its key.
"""

import hashlib
import posixpath
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from stackly.errors import FileProblem
from stackly.git.modules import Call, Rests
from stackly.git.outside import Outside, through_link
from stackly.git.trees import CONFIG, Entry, Tree


@dataclass(frozen=True)
class Closure:
    """`modules` are the directories called outside the stack's own, with their tree ids, by path.

    With `problems` it cannot be bundled: each says which file calls what wrongly. `warnings` name what is read and is
    not in it. Shape: `files` outside of all that, with their modes and ids, by path; `watched`: directories, with their
    tree ids, whose change may change which files that are.
    """

    path: str
    tree: str
    modules: tuple[tuple[str, str], ...]
    problems: tuple[FileProblem, ...]
    files: tuple[tuple[str, str], ...] = ()
    warnings: tuple[FileProblem, ...] = ()
    watched: tuple[tuple[str, str], ...] = ()

    @cached_property
    def key(self) -> str:
        """Shape: a tree id, or 64 hex digits when modules or files outside take part."""
        if not self.modules and not self.files:
            return self.tree
        told = "\n".join([self.tree, *(f"{path} {oid}" for path, oid in (*self.modules, *self.files))])
        return hashlib.sha256(told.encode("utf-8", "surrogateescape")).hexdigest()

    @property
    def directories(self) -> tuple[str, ...]:
        return (self.path, *(path for path, _ in self.modules))

    @property
    def rests_on(self) -> tuple[tuple[str, str], ...]:
        """Directories that decide, besides its own, whether it is still true."""
        return (*self.modules, *self.watched)


def is_module_file(entry: Entry) -> bool:
    return entry.is_file and entry.path.endswith((".tf", ".tf.json"))


def is_config(entry: Entry) -> bool:
    return entry.is_file and entry.path.rpartition("/")[2] == CONFIG


def module_files(tree: Tree, path: str) -> list[Entry]:
    return [e for e in tree.directly_in(path) if is_module_file(e)]


def closure(
    tree: Tree,
    path: str,
    rests_of: Callable[[Entry], Rests],
    readable: Callable[[Entry], bool] = lambda _: True,
) -> Closure:
    """Follow the calls from one stack directory.

    `rests_of` tells what a module file rests on, and is asked only for what is `readable`: small enough.
    """
    problems = [_too_large(e) for e in tree.directly_in(path) if is_config(e) and not readable(e)]
    seen: dict[str, list[tuple[Entry, Rests]]] = {}
    waiting = [path]
    while waiting:
        directory = waiting.pop()
        files = module_files(tree, directory)
        problems += [_too_large(e) for e in files if not readable(e)]
        seen[directory] = [(e, rests_of(e)) for e in files if readable(e)]
        for entry, rests in seen[directory]:
            called = (_resolve(tree, directory, entry, call, problems) for call in rests.calls)
            waiting += [d for d in dict.fromkeys(called) if d is not None and d not in seen and d not in waiting]
    inside = "" if path == "." else f"{path}/"
    outside = sorted(d for d in seen if d != path and not (inside and d.startswith(inside)) and path != ".")
    found = Outside(tree, path, (path, *outside))
    for directory, said in seen.items():
        found.follow(directory, said)
    return Closure(
        path,
        tree.tree_of(path),
        tuple((d, tree.tree_of(d)) for d in outside),
        tuple(sorted(problems, key=str)),
        tuple(sorted(found.files.items())),
        tuple(sorted(found.warnings, key=str)),
        tuple(sorted((d, tree.tree_of(d)) for d in found.watched)),
    )


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
    elif through_link(tree, posixpath.join(directory, call.source)):
        message = f"Module source {call.source!r} goes through a symbolic link or a submodule, which are not followed."
    elif not tree.has_directory(target):
        message = f"Module source {call.source!r} is not a directory of this commit."
    if message is None:
        return target
    problems.append(FileProblem(entry.path, call.line, call.column, message))
    return None
