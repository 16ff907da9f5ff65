"""What a sync knows of a push before it decides anything: who, what, and what git says of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stackly.engine.contracts.control import RefChange
from stackly.engine.moves import Passage
from stackly.stacks.model import FoundStack, Repo, branch_of

# A trigger names so many of the files that made it; a push may change any number.
MAX_NAMED = 20


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a sync knows of the commit it brings in."""

    repo: Repo
    change: RefChange
    author: str
    committer: str
    pusher: str | None
    subject: str

    @property
    def branch(self) -> str:
        return branch_of(self.change.ref)

    @property
    def on_default(self) -> bool:
        return self.branch == self.repo.default_branch

    def trigger(self, paths: Sequence[str]) -> dict[str, Any]:
        return {
            "kind": "push",
            "actor": self.pusher,  # what git calls people is text that anybody writes, and no login
            "pusher": self.pusher,
            "author": self.author,
            "committer": self.committer,
            "ref": self.change.ref,
            "pull_request": None,
            "paths": list(paths[:MAX_NAMED]),
            "subject": self.subject,
        }


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A ref that left the commit processed last behind.

    Shape: `kind` reset (to an older commit of the same history) or rewritten; `base` the newest commit both have.
    """

    kind: str
    before: str
    base: str | None


@dataclass(frozen=True, slots=True)
class Intake:
    """What a push brings, read from git.

    Shape: `found` by path, for every stack that stays, moved or is new; `keys` the content of every stack by path;
    `programs` path -> the files that its `trigger.paths` name, for stacks whose own code is as it was; `lost` are the
    commits in use that are part of the ref's history no more, None: not looked for; `would` says what would have
    started a run. `untouched` are stacks of a new branch that are as they were, and why they start nothing is in
    `would`; `unnamed` are directories whose names cannot be kept, as they are shown, and why they are no stacks.
    """

    passage: Passage
    found: Mapping[str, FoundStack] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)
    programs: Mapping[str, Sequence[str]] = field(default_factory=dict)
    rewritten: Rewritten | None = None
    lost: frozenset[str] | None = None
    would: str = ""
    untouched: frozenset[str] = frozenset()
    unnamed: Mapping[str, str] = field(default_factory=dict)

    @property
    def arriving(self) -> list[str]:
        way = self.passage
        return sorted([*way.stays, *way.moved, *way.new])
