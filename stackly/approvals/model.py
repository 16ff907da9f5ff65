"""Approval requests: bound to one digest, ended by quorum, denial, expiry, or a digest that moved."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from stackly.ids import IdentityId, RunId
from stackly.policy.model import VoteFact

DEFAULT_EXPIRY = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class ApprovalRequest:
    id: str
    account: str
    run: RunId
    digest: str
    needed: int
    groups: tuple[str, ...]
    policy: str
    status: str  # open, approved, denied, expired, void
    reason: str | None
    expires: datetime


@dataclass(frozen=True, slots=True)
class Vote:
    """A vote with who the voter is now: membership is read when votes are counted, not when they are cast."""

    person: IdentityId
    login: str
    roles: tuple[str, ...]
    groups: tuple[str, ...]
    value: str  # approve, deny
    reason: str | None
    at: datetime

    def fact(self, digest: str | None) -> VoteFact:
        return VoteFact(self.login, self.groups, self.value, self.roles, digest, self.at)
