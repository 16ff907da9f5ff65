"""A default branch that was renamed is a move: the states of its plain stacks follow to the branch it is now.

The branches may both be there for a while, and either may be seen first. What is followed is written in the
repository's row by whoever learns of the new name, and done by the next sync of the branch that is the default now.
"""

from collections.abc import Mapping

from stackly.db import Session
from stackly.engine.contracts.control import RefChange
from stackly.engine.moves import Place, passage
from stackly.events import store as events
from stackly.events.model import Bell
from stackly.stacks import refs_store, registry_store
from stackly.stacks.model import Repo, StackCode, StackKind, branch_of

HEADS = "refs/heads/"


def change_of(repo: Repo, heads: Mapping[str, str], changes: list[RefChange], seen: RefChange) -> list[RefChange]:
    """The changes, of which the default branch's carries the move; `seen` is that branch as it was processed last."""
    former = repo.former_default
    if former is None or seen.ref not in heads:
        return changes
    moving = RefChange(repo.id, seen.ref, heads[seen.ref], seen.seen, seen.generation, moved_from=f"{HEADS}{former}")
    return [moving, *(c for c in changes if c.ref != seen.ref)]


async def paths(session: Session, change: RefChange) -> frozenset[str]:
    """Where the plain stacks stood that are to follow."""
    if not change.moved_from:
        return frozenset()
    return frozenset(c.path for c in await registry_store.plain_codes(session, change.repo, change.moved_from))


async def origins(session: Session, change: RefChange, here: Mapping[str, StackCode]) -> dict[str, StackCode]:
    """For stacks of the default branch, by path: the stack of the former one that each was."""
    if not change.moved_from:
        return {}
    there = {c.path: c for c in await registry_store.plain_codes(session, change.repo, change.moved_from, lock=True)}
    plain = {p: c for p, c in here.items() if c.kind == StackKind.PLAIN}
    before = {p: Place(c.tree, c.name) for p, c in there.items()}
    way = passage(before, {p: Place(c.tree, c.name) for p, c in plain.items()})
    return {p: there[p] for p in way.stays} | {now: there[then] for now, then in way.moved.items()}


async def settled(session: Session, change: RefChange) -> None:
    """It is done; what is known of the former branch is not true any more."""
    await refs_store.default_followed(session, change.repo, change.moved_from)
    await events.ring(session, Bell.REPO_SYNC, change.repo)


def reason(origin: StackCode, code: StackCode) -> str:
    return (
        f"{branch_of(code.ref)} is the default branch now, and {origin.path} moved there from {branch_of(origin.ref)}"
    )
