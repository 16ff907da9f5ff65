"""What a ref's commit is compared with, so that a push starts what it changed and nothing else.

A ref that was processed before is compared with that commit. A new branch is compared with the newest commit that it
shares with a branch that was processed: what was started there is not started again for a second name.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from stackly.db import Transactions
from stackly.engine.contracts.control import RefChange
from stackly.engine.watching import started_by, watching_of
from stackly.git.differences import Changed
from stackly.git.mirrors import Mirror
from stackly.stacks import store
from stackly.stacks.model import FoundStack


@dataclass(frozen=True, slots=True)
class Basis:
    """Shape: `commit` '' when there is nothing to compare with; `keys` are its stacks' contents, for a new branch."""

    commit: str
    changed: Changed | None
    is_new: bool = False
    keys: Mapping[str, str] = field(default_factory=dict)

    def programs(self, found: Mapping[str, FoundStack]) -> dict[str, tuple[str, ...]]:
        """For a new branch: stacks that are there as they are, whose `trigger.paths` fit what the branch changed."""
        if not self.is_new or not self.commit:
            return {}
        stays = {path: f for path, f in found.items() if self.keys.get(path) == f.tree_key}
        return started_by(self.changed, watching_of(stays))

    def untouched(self, found: Mapping[str, FoundStack]) -> frozenset[str]:
        """For a new branch: the stacks that it has exactly as the shared commit has them."""
        if not self.is_new or not self.commit:
            return frozenset()
        return frozenset(path for path, f in found.items() if self.keys.get(path) == f.tree_key)

    def reason(self, branch: str) -> str:
        return f"{branch} is new, and nothing of this stack differs from {self.commit[:7]}, which it shares with others"


async def basis(transactions: Transactions, mirror: Mirror, change: RefChange) -> Basis:
    if change.seen:
        is_here = await mirror.has(change.seen)
        return Basis(change.seen, await mirror.changed_paths(change.seen, change.commit) if is_here else None)
    async with transactions() as session:
        refs = await store.processed_refs(session, change.repo)
    others = {last for ref, (last, _) in refs.items() if last and ref != change.ref}
    shared = await mirror.newest_shared(change.commit, others)
    if shared is None:
        return Basis("", None, is_new=True)
    changed = await mirror.changed_paths(shared, change.commit)
    return Basis(shared, changed, is_new=True, keys=await keys_at(mirror, shared))


async def keys_at(mirror: Mirror, commit: str, paths: Collection[str] | None = None) -> dict[str, str]:
    """The contents of the stacks of a commit, by path."""
    tree = await mirror.trees(commit)
    return {path: c.key for path, c in (await mirror.closures(tree, paths)).items()}
