"""Runs, and the one table of transitions between their statuses."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from stackly.errors import Conflict
from stackly.ids import AccountId, RunId, StackId, StateId
from stackly.spec.runs import ENDED, RunKind, RunStatus, TestStatus


class RunEvent(StrEnum):
    ASK_APPROVAL = "ask_approval"
    RELEASE = "release"  # approved, or void: back to the queue
    ADMIT = "admit"
    PLAN = "plan"
    APPLY = "apply"
    LOAD = "load"
    TEAR_DOWN = "tear_down"
    RECOVER = "recover"
    SUCCEED = "succeed"
    FAIL = "fail"
    CANCEL = "cancel"
    REJECT = "reject"
    SUPERSEDE = "supersede"


# The generation of workflow code. Raise it, once a release, with a change that ends open workflows: what an earlier
# one took on is then started anew from its row, at once and uncounted.
WAYS = 2

# A queued run waits this long for its turn, then fails with what it waited for. Source: R5, nothing waits for ever.
QUEUE_PATIENCE = timedelta(days=7)
STARTING_PATIENCE = timedelta(minutes=10)

_S, _E = RunStatus, RunEvent
_ENDS = {_E.FAIL: _S.FAILED, _E.CANCEL: _S.CANCELLED}

TRANSITIONS: Mapping[RunStatus, Mapping[RunEvent, RunStatus]] = {
    _S.QUEUED: {
        _E.ASK_APPROVAL: _S.AWAITING_APPROVAL,
        _E.ADMIT: _S.STARTING,
        _E.REJECT: _S.REJECTED,
        _E.SUPERSEDE: _S.SUPERSEDED,
        **_ENDS,
    },
    _S.STARTING: {
        _E.PLAN: _S.PLANNING,
        _E.LOAD: _S.RUNNING,
        _E.TEAR_DOWN: _S.TEARING_DOWN,
        _E.SUPERSEDE: _S.SUPERSEDED,
        **_ENDS,
    },
    _S.PLANNING: {
        _E.ASK_APPROVAL: _S.AWAITING_APPROVAL,
        _E.APPLY: _S.APPLYING,
        _E.RECOVER: _S.RECOVERING,
        _E.SUCCEED: _S.SUCCEEDED,
        _E.REJECT: _S.REJECTED,
        _E.SUPERSEDE: _S.SUPERSEDED,
        **_ENDS,
    },
    _S.AWAITING_APPROVAL: {
        _E.RELEASE: _S.QUEUED,
        _E.PLAN: _S.PLANNING,
        _E.APPLY: _S.APPLYING,
        _E.REJECT: _S.REJECTED,
        _E.SUPERSEDE: _S.SUPERSEDED,
        **_ENDS,
    },
    _S.APPLYING: {_E.RECOVER: _S.RECOVERING, _E.SUCCEED: _S.SUCCEEDED, **_ENDS},
    _S.RUNNING: {
        _E.RECOVER: _S.RECOVERING,
        _E.TEAR_DOWN: _S.TEARING_DOWN,
        _E.SUCCEED: _S.SUCCEEDED,
        **_ENDS,
    },
    _S.RECOVERING: {
        _E.PLAN: _S.PLANNING,
        _E.APPLY: _S.APPLYING,
        _E.LOAD: _S.RUNNING,
        _E.TEAR_DOWN: _S.TEARING_DOWN,
        **_ENDS,
    },
    _S.TEARING_DOWN: {_E.RECOVER: _S.RECOVERING, _E.SUCCEED: _S.SUCCEEDED, **_ENDS},
    **{status: {} for status in ENDED},
}


class TransitionNotAllowed(Conflict):
    title = "The run's status does not allow this."


def after(status: RunStatus, event: RunEvent) -> RunStatus:
    """Raises: TransitionNotAllowed."""
    found = TRANSITIONS[status].get(event)
    if found is None:
        raise TransitionNotAllowed(
            f"A run that is {status} cannot {event.replace('_', ' ')}.", status=status, event=event
        )
    return found


class Blocker(StrEnum):
    WINDOW = "window"
    APPROVAL = "approval"
    QUOTA = "quota"
    QUEUE = "queue"
    AGENT = "agent"
    POLICY = "policy"
    IMAGE = "image"  # of a run that was admitted already


@dataclass(frozen=True, slots=True)
class Run:
    """A row of `operations`. `spec` is what is carried out, fixed when the run was made."""

    id: RunId
    account: AccountId
    parent: RunId | None
    code: StackId
    state: StateId
    kind: RunKind
    slot: str | None
    cause: str
    generation: int
    seq: int
    status: RunStatus
    epoch: int | None
    digest: str | None
    branch: str
    commit: str
    trigger: Mapping[str, Any]
    spec: Mapping[str, Any]
    agent: str | None
    cancel_requested: bool
    execution: str | None
    restarts: int
    blocker: str | None
    verdict: str | None
    reason: str | None
    not_before: datetime | None
    deadline: datetime | None
    created_at: datetime
    started_at: datetime | None

    @property
    def is_terminal(self) -> bool:
        return self.status in ENDED

    @property
    def is_admitted(self) -> bool:
        return self.epoch is not None


@dataclass(frozen=True, slots=True)
class NewRun:
    """What is asked for. Shape: `slot` is the ref for push-caused runs, else None; `cause` push:{ref}, person:{id}."""

    account: str
    code: str
    state: str
    kind: RunKind
    cause: str
    generation: int
    branch: str
    commit: str
    trigger: Mapping[str, Any]
    spec: Mapping[str, Any]
    slot: str | None = None
    parent: str | None = None
    digest: str | None = None
    agent: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why a run waits. Every non-terminal row has one (R5)."""

    blocker: Blocker
    reason: str
    deadline: datetime
    next_check: datetime | None = None
    not_before: datetime | None = None


BENCHMARK_PHASES = (
    "reserve",
    "provision",
    "enrol",
    "database",
    "install",
    "prepare",
    "warmup",
    "measure",
    "collect",
    "compare",
    "teardown",
    "verify",
)
DEPLOY_PHASES = ("plan", "approve", "apply", "outputs")
DESTROY_PHASES = ("remove", "destroy", "verify")


@dataclass(frozen=True, slots=True)
class TestRecord:
    """A row of `tests`."""

    __test__ = False

    run: RunId
    test: str
    name: str
    spec: Mapping[str, Any]
    state: str | None
    agent: str | None
    placement: Mapping[str, Any] | None
    status: TestStatus
    execution: str | None
    restarts: int
    verdict: str | None
    reasons: tuple[str, ...]
    deadline: datetime | None
