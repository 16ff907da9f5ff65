"""Policies, the facts they are asked about, and the decision they give."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Self

from stackly.policy import canonical

ALLOW, HOLD, DENY = "allow", "hold", "deny"
DAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
ALL_DAYS = (0, 1, 2, 3, 4, 5, 6)


@dataclass(frozen=True, slots=True)
class Hours:
    """Half-open: 9-17 ends when 17:00 begins. `start` > `end` runs past midnight into the next day.

    Units: minutes since local midnight, as the clock on the wall shows them.
    """

    start: int
    end: int


ALL_DAY = (Hours(0, 1440),)


@dataclass(frozen=True, slots=True)
class Deny:
    """A closed time inside a window, by name.

    Shape: `first` and `last` are local dates, both included; None is without end. `days` is the day a range starts on.
    """

    name: str
    hours: tuple[Hours, ...] = ALL_DAY
    days: tuple[int, ...] = ALL_DAYS
    first: date | None = None
    last: date | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """When something may start.

    Shape: `days` counts from Monday = 0 and is the day a range starts on, so MON with 22-6 includes Tuesday's first
    six hours; `except_dates` are whole local days that are closed.
    """

    hours: tuple[Hours, ...] = ALL_DAY
    days: tuple[int, ...] = ALL_DAYS
    timezone: str = "UTC"
    deny: tuple[Deny, ...] = ()
    except_dates: tuple[date, ...] = ()


@dataclass(frozen=True, slots=True)
class ApprovalRule:
    """Units: `expires_s` in seconds after the request was opened; None never expires."""

    required: bool = True
    min_approvers: int = 1
    allowed_groups: tuple[str, ...] = ()
    expires_s: int | None = None


@dataclass(frozen=True, slots=True)
class Quota:
    """Upper limits; None is without. Names are those of `Facts.counts` and `Facts.asks`."""

    runs: int | None = None
    machines: int | None = None
    cores: int | None = None
    runs_per_event: int | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    name: str
    environment: str | None = None
    schedule: Window | None = None
    approval: ApprovalRule | None = None
    quota: Quota | None = None
    on_violation: str = "queue"  # or deny

    @property
    def digest(self) -> str:
        """Shape: sha256 of the canonical form; comments, order of lines and file name do not count."""
        return _digest(self)

    def as_json(self) -> dict[str, Any]:
        return dict(canonical.as_json(self))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return canonical.from_json(cls, data)


@functools.lru_cache(maxsize=1024)
def _digest(policy: Policy) -> str:
    return canonical.digest(policy)


@dataclass(frozen=True, slots=True)
class VoteFact:
    """A vote with the voter's groups and roles as they are now, not as they were.

    Shape: `value` is approve or deny; `digest` is what was voted on, None when the store already compared it.
    """

    person: str
    groups: tuple[str, ...]
    value: str
    roles: tuple[str, ...] = ()
    digest: str | None = None
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything a decision may depend on; nothing else is read.

    Shape: `kind` is the run's (deploy, benchmark, destroy, preview, drift_check); `counts` is what others use now,
    `asks` what this run adds, both keyed like `Quota`; `digest` is what is being decided on; logins are compared
    without case.
    """

    now: datetime
    account: str
    stack: str
    repo: str
    kind: str
    environment: str | None = None
    branch: str | None = None
    default_branch: str | None = None
    trigger_kind: str | None = None
    author: str | None = None
    committer: str | None = None
    pusher: str | None = None
    is_pusher_unknown: bool = False
    actor: str | None = None
    contributors: tuple[str, ...] = ()
    expected_duration_s: int | None = None
    digest: str | None = None
    votes: tuple[VoteFact, ...] = ()
    requested_at: datetime | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    asks: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.now.tzinfo is None:
            raise ValueError("facts need an aware moment")

    def involved(self) -> frozenset[str]:
        """Who may not approve this: everyone it came from."""
        logins = (self.author, self.committer, self.pusher, self.actor, *self.contributors)
        return frozenset(login.casefold() for login in logins if login)

    def as_json(self) -> dict[str, Any]:
        return dict(canonical.as_json(self))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return canonical.from_json(cls, data)


@dataclass(frozen=True, slots=True)
class Reason:
    """What one rule of one policy said.

    Shape: `rule` is window, approval, quota, environment, kind, error or none; `not_before` is set on a closed window,
    `needed` on a missing approval (how many more).
    """

    policy: str
    outcome: str
    rule: str
    text: str
    not_before: datetime | None = None
    needed: int | None = None


@dataclass(frozen=True, slots=True)
class ApprovalNeed:
    """Shape: `given` are the people whose approval counts now; `expires_at` is None until a request is open."""

    policy: str
    needed: int
    given: tuple[str, ...]
    groups: tuple[str, ...]
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Flip:
    """One thing that has to change for an allow; where there are several, all of them have to.

    Shape: `change` is wait, approve, withdraw, free, shrink, fix or edit; `at` belongs to wait, `count` to the others.
    """

    policy: str
    change: str
    text: str
    at: datetime | None = None
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer. Equal inputs give an equal decision, to the bit.

    Shape: `policies` are the digests of all policies asked, in order; `not_before` is the first moment at which every
    window that applies is open long enough; `next_check` is set on every hold.
    """

    outcome: str
    question: str
    at: datetime
    reasons: tuple[Reason, ...]
    tzdata: str
    not_before: datetime | None = None
    next_check: datetime | None = None
    approvals: tuple[ApprovalNeed, ...] = ()
    policies: tuple[str, ...] = ()
    flips: tuple[Flip, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return dict(canonical.as_json(self))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return canonical.from_json(cls, data)

    def canonical(self) -> str:
        return canonical.text(self)
