"""What was read of repositories, by object id: it stays true for ever, so it is never renewed, only forgotten.

Memory of one process. Nothing depends on it but time: what is not known is read again.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from stackly.git.closures import Closure
from stackly.git.modules import Call
from stackly.git.trees import Tree

MAX_ENTRIES = 400_000  # of all trees together: about 150 MB
MAX_FILES = 400_000


@dataclass(frozen=True, slots=True)
class Known:
    """A tree that was listed, and the closures found in it so far, by path."""

    tree: Tree
    closures: dict[str, Closure] = field(default_factory=dict)


class Memory:
    def __init__(self, *, max_entries: int = MAX_ENTRIES, max_files: int = MAX_FILES) -> None:
        self._max_entries = max_entries
        self._max_files = max_files
        self._trees: OrderedDict[tuple[Path, str], Known] = OrderedDict()
        self._latest: dict[Path, str] = {}
        self.sizes: dict[str, int] = {}
        self.calls: dict[tuple[str, bool], tuple[Call, ...]] = {}

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

    def closures(self, mirror: Path, tree: Tree) -> dict[str, Closure]:
        """What is known of a tree, to be added to. Empty and nobody's when the tree was forgotten."""
        known = self._trees.get((mirror, tree.oid))
        return known.closures if known else {}

    def earlier_closures(self, mirror: Path, tree: Tree) -> tuple[Tree, Mapping[str, Closure]] | None:
        """The newest tree of this repository with closures, but for this one."""
        for (of, oid), known in reversed(self._trees.items()):
            if of == mirror and oid != tree.oid and known.closures:
                return known.tree, known.closures
        return None

    def learn(self, sizes: Mapping[str, int], calls: Mapping[tuple[str, bool], tuple[Call, ...]]) -> None:
        """What files are: their sizes, and the calls in those that hold any."""
        if len(self.sizes) + len(sizes) > self._max_files:
            self.sizes.clear()
            self.calls.clear()
        self.sizes.update(sizes)
        self.calls.update(calls)

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
