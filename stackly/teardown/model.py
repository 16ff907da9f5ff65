"""Obligations: written before the first create, ended by an empty inventory or a named person."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from stackly.errors import NotFound
from stackly.ids import ObligationId, RunId, StateId
from stackly.words import counted

# How long after its run's last sign of life an obligation falls due by itself.
DUE_AFTER = timedelta(minutes=15)
# A destroy that failed is asked for again after this, doubled each time up to the cap.
RETRY_FIRST = timedelta(seconds=20)
RETRY_CAP = timedelta(minutes=30)


class ObligationNotFound(NotFound):
    """`stackly obligation list` shows what is owed."""

    title = "There is no such obligation."

    @classmethod
    def of(cls, reference: str) -> "ObligationNotFound":
        said = f"There is no obligation {reference}; `stackly obligation list` shows what there is."
        return cls(said, obligation=reference)


@dataclass(frozen=True, slots=True)
class Obligation:
    """Shape: `kit` holds bundle, path, variables, target, agent, owner run and test, machines, network."""

    id: ObligationId
    account: str
    state: StateId
    run: RunId
    kit: Mapping[str, Any]
    status: str  # open, met, waived
    due_at: datetime
    ladder: int
    reason: str | None


@dataclass(frozen=True, slots=True)
class Owed:
    """A destroy that failed, and is tried again until it succeeds or a person waives it. Shape: `test` '' of a run."""

    id: ObligationId
    run: RunId
    state: StateId
    test: str
    target: str
    reason: str
    tries: int
    next_try: datetime
    since: datetime

    @property
    def command(self) -> str:
        return f"stackly obligation waive {self.id} --reason '...'"

    @property
    def sentence(self) -> str:
        """What stands in the way, and what ends it."""
        what = f"test {self.test}" if self.test else "what it made"
        return (
            f"{what} cannot be torn down ({counted(self.tries, 'try', 'tries')}): {self.reason}; next try "
            f"{self.next_try:%Y-%m-%d %H:%M:%S} UTC, or a person answers for it: {self.command}"
        )


def retry_after(ladder: int) -> timedelta:
    """The next try after `ladder` failed ones."""
    return min(RETRY_FIRST * (1 << min(ladder, 16)), RETRY_CAP)
