"""What differs between two lists of stack directories. Pure: no git, no clock."""

from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Verb = Literal["added", "updated", "removed"]


@dataclass(frozen=True, slots=True)
class Change:
    """One directory that came, changed or went.

    `moved_from` names the removed directory whose content an added one has; that one is still listed as removed.
    """

    verb: Verb
    path: str
    before: str | None  # tree key
    after: str | None
    moved_from: str | None = None


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[Change]:
    """Compare path -> tree key. Order: updated, added, removed, each by path.

    A move is an added directory with the key of a removed one. Each removed directory is the origin of one move at
    most; equal contents pair in order of their paths, so the same two trees always tell the same story.
    """
    differing = sorted(path for path, key in after.items() if before.get(path) != key)
    removed = sorted(before.keys() - after.keys())
    gone: dict[str, deque[str]] = defaultdict(deque)
    for path in removed:
        gone[before[path]].append(path)
    out = [Change("updated", path, before[path], after[path]) for path in differing if path in before]
    for path in differing:
        if path not in before:
            origins = gone.get(after[path])
            out.append(Change("added", path, None, after[path], origins.popleft() if origins else None))
    out.extend(Change("removed", path, before[path], None) for path in removed)
    return out
