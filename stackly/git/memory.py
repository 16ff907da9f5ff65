"""What was read of repositories, by object id: it stays true for ever, so it is never renewed, only forgotten.

Memory of one process. Nothing depends on it but time: what is not known is read again.
"""

from collections import OrderedDict
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path

from stackly.git.closures import Closure
from stackly.git.modules import Rests
from stackly.git.trees import Tree

MAX_ENTRIES = 400_000  # of all trees together: about 150 MB
MAX_FILES = 400_000


@dataclass(slots=True)
class Found:
    """Closures of one tree, and what they rest on besides their own directories."""

    closures: dict[str, Closure] = field(default_factory=dict)
    users: dict[tuple[str, str], frozenset[str]] = field(default_factory=dict)  # of a module as it was
    unsound: frozenset[str] = frozenset()

    def add(self, new: Mapping[str, Closure]) -> None:
        self.closures.update(new)
        self.unsound |= {path for path, c in new.items() if c.problems}
        users: dict[tuple[str, str], set[str]] = {}
        for path, found in new.items():
            for module in found.rests_on:
                users.setdefault(module, set()).add(path)
        self.users.update((module, self.users.get(module, frozenset()) | by) for module, by in users.items())

    def after(self, lost: AbstractSet[tuple[str, str]], paths: AbstractSet[str]) -> "Found":
        """What is left of it for another tree of these paths, in which such directories are no more as they were.

        A closure without problems rests on its directory, the modules outside it and where the files lie that it reads
        outside. One with problems rests on what is not there, and is found anew.
        """
        stale = {path for path, _ in lost if path in self.closures} | self.unsound
        if not self.closures.keys() <= paths:
            stale |= self.closures.keys() - paths
        stale = stale.union(*(self.users.get(place, ()) for place in lost))
        closures, users = self.closures.copy(), self.users.copy()
        modules = {module for path in stale for module in closures.pop(path).rests_on}
        users.update((module, users[module] - stale) for module in modules)
        return Found(closures, {m: by for m, by in users.items() if by})


@dataclass(frozen=True, slots=True)
class Known:
    """A tree that was listed, and what was found in it so far."""

    tree: Tree
    found: Found = field(default_factory=Found)


class Memory:
    def __init__(self, *, max_entries: int = MAX_ENTRIES, max_files: int = MAX_FILES) -> None:
        self._max_entries = max_entries
        self._max_files = max_files
        self._trees: OrderedDict[tuple[Path, str], Known] = OrderedDict()
        self._latest: dict[Path, str] = {}
        self.sizes: dict[str, int] = {}
        self.rests: dict[tuple[str, bool], Rests] = {}

    def tree(self, mirror: Path, oid: str) -> Tree | None:
        known = self._known(mirror, oid)
        return known.tree if known else None

    def latest(self, mirror: Path) -> Tree | None:
        """The tree of this repository that was read or asked for last."""
        return self.tree(mirror, self._latest.get(mirror, ""))

    def remember(self, mirror: Path, tree: Tree) -> None:
        if (mirror, tree.oid) not in self._trees:
            self._trees[mirror, tree.oid] = Known(tree)
        self._known(mirror, tree.oid)
        self._make_room()

    def found(self, mirror: Path, tree: Tree) -> Found:
        """What is known of a tree; nothing when it was forgotten."""
        known = self._trees.get((mirror, tree.oid))
        return known.found if known else Found()

    def find(self, mirror: Path, tree: Tree, found: Found) -> None:
        if (mirror, tree.oid) in self._trees:
            self._trees[mirror, tree.oid] = Known(tree, found)

    def earlier(self, mirror: Path, tree: Tree) -> Known | None:
        """The newest tree of this repository of which closures are known, but for this one."""
        others = (k for (of, oid), k in reversed(self._trees.items()) if of == mirror and oid != tree.oid)
        return next((known for known in others if known.found.closures), None)

    def learn(self, sizes: Mapping[str, int], rests: Mapping[tuple[str, bool], Rests]) -> None:
        """What files are: their sizes, and what module files rest on."""
        if len(self.sizes) + len(sizes) > self._max_files:
            self.sizes.clear()
            self.rests.clear()
        self.sizes.update(sizes)
        self.rests.update(rests)

    def _known(self, mirror: Path, oid: str) -> Known | None:
        known = self._trees.get((mirror, oid))
        if known:
            self._trees.move_to_end((mirror, oid))
            self._latest[mirror] = oid
        return known

    def _make_room(self) -> None:
        """The one asked for last stays, however large it is."""
        total = sum(len(known.tree.entries) for known in self._trees.values())
        while total > self._max_entries and len(self._trees) > 1:
            _, dropped = self._trees.popitem(last=False)
            total -= len(dropped.tree.entries)
