"""The closures of a commit's stacks, with as little read as there is new: files by id, closures by their trees."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from stackly.errors import Invalid
from stackly.git.closures import Closure, closure, is_config, is_module_file, module_files, targets
from stackly.git.memory import Found, Memory
from stackly.git.modules import Rests, rests
from stackly.git.objects import Objects
from stackly.git.trees import Entry, Tree

MAX_FILE: Final = 256 * 1024
MAX_MODULE_FILE: Final = 1024 * 1024  # as large as a file of a bundle may be
_Kind = tuple[str, bool]  # a file's id, and whether it is read as JSON
_AT_ONCE: Final = 16 * 1024 * 1024
MAX_TOTAL: Final = 512 * 1024 * 1024  # of the module files that one sync reads


class Following:
    """Shape: of one mirror; `memory` may serve many."""

    def __init__(self, mirror: Path, objects: Objects, memory: Memory) -> None:
        self._mirror = mirror
        self._objects = objects
        self._memory = memory

    async def closures(self, tree: Tree, paths: AbstractSet[str]) -> dict[str, Closure]:
        """The closure of each directory, by path."""
        known = self._memory.found(self._mirror, tree)
        if paths <= known.closures.keys():
            return {path: known.closures[path] for path in paths}
        found = self._still_true(tree, paths)
        missing = sorted(paths - found.closures.keys())
        facts = await self._read(tree, missing)
        found.add({path: closure(tree, path, facts.rests_of, facts.readable) for path in missing})
        self._memory.find(self._mirror, tree, found)
        return found.closures.copy()

    def _still_true(self, tree: Tree, paths: AbstractSet[str]) -> Found:
        """Closures of an earlier tree that say the same of this one. A link anew could be in anybody's way."""
        earlier = self._memory.earlier(self._mirror, tree)
        if earlier is None or earlier.tree.links != tree.links:
            return Found()
        return earlier.found.after(tree.lost_since(earlier.tree), paths)

    async def _read(self, tree: Tree, directories: Iterable[str]) -> "_Facts":
        """Learn of every file that the closures of these directories rest on."""
        facts = _Facts()
        seen: set[str] = set()
        new = set(directories)
        while new:
            files = [e for path in new for e in tree.directly_in(path) if is_module_file(e) or is_config(e)]
            await self._learn(files, facts)
            seen |= new
            new = {target for path in new for target in _called(tree, path, facts)} - seen
        return facts

    async def _learn(self, files: list[Entry], facts: "_Facts") -> None:
        """From memory what it holds; the rest is read, and remembered."""
        oids = {e.oid for e in files}
        new = await self._objects.sizes(oids - self._memory.sizes.keys())
        facts.sizes |= {oid: self._memory.sizes[oid] for oid in oids - new.keys()} | new
        kinds = {(e.oid, _is_json(e)) for e in files if is_module_file(e) and facts.readable(e)}
        facts.rests |= {kind: self._memory.rests[kind] for kind in kinds & self._memory.rests.keys()}
        self._memory.learn(new, await self._scan(sorted(kinds - facts.rests.keys()), facts))

    async def _scan(self, kinds: list[_Kind], facts: "_Facts") -> dict[_Kind, Rests]:
        found: dict[_Kind, Rests] = {}
        facts.read += sum(facts.sizes[oid] for oid, _ in kinds)
        if facts.read > MAX_TOTAL:
            raise Invalid(f"The module files of the commit are larger than {MAX_TOTAL} bytes together.")
        for part in _portions(kinds, facts.sizes):
            blobs = await self._objects.contents({oid for oid, _ in part})
            found |= await asyncio.to_thread(_scanned, part, blobs)
        facts.rests |= found
        return found


@dataclass(slots=True)
class _Facts:
    """What one search for closures knows of files. Shape: `rests` of module files that are small enough."""

    sizes: dict[str, int] = field(default_factory=dict)
    rests: dict[_Kind, Rests] = field(default_factory=dict)
    read: int = 0

    def readable(self, entry: Entry) -> bool:
        return self.sizes[entry.oid] <= (MAX_MODULE_FILE if is_module_file(entry) else MAX_FILE)

    def rests_of(self, entry: Entry) -> Rests:
        return self.rests[entry.oid, _is_json(entry)]


def _called(tree: Tree, path: str, facts: _Facts) -> Iterator[str]:
    for entry in module_files(tree, path):
        if facts.readable(entry):
            yield from targets(tree, path, facts.rests_of(entry).calls)


def _is_json(entry: Entry) -> bool:
    return entry.path.endswith(".json")


def _portions(kinds: list[_Kind], sizes: Mapping[str, int]) -> Iterator[list[_Kind]]:
    part: list[_Kind] = []
    total = 0
    for kind in kinds:
        if part and total + sizes[kind[0]] > _AT_ONCE:
            yield part
            part, total = [], 0
        part.append(kind)
        total += sizes[kind[0]]
    if part:
        yield part


def _scanned(kinds: Iterable[_Kind], blobs: Mapping[str, bytes]) -> dict[_Kind, Rests]:
    texts = ((kind, blobs[kind[0]].decode("utf-8", "replace")) for kind in kinds)
    return {kind: rests(text, is_json=kind[1]) for kind, text in texts}
