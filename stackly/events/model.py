"""What can have happened. Names are snake_case past facts; the seed's nine keep their spelling."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class EventName(StrEnum):
    """Source: seed 004 section 5 for the first nine, in their order."""

    MODULE_REGISTERED = "module_registered"
    POLICY_CHECK = "policy_check"
    PLAN_INITIATED = "plan_initiated"
    PLAN_COMPLETED = "plan_completed"
    APPROVAL_REQUIRED = "approval_required"
    DEPLOY_INITIATED = "deploy_initiated"
    ACTIVITY_STARTED = "activity_started"
    ACTIVITY_COMPLETED = "activity_completed"
    DEPLOY_COMPLETED = "deploy_completed"

    MODULE_UPDATED = "module_updated"
    MODULE_DEREGISTERED = "module_deregistered"
    MODULE_REJECTED = "module_rejected"
    STACK_LOOSENED = "stack_loosened"
    STATE_CHANGED = "state_changed"
    STATE_ASSOCIATED = "state_associated"
    LOOSE_DESTROY_SCHEDULED = "loose_destroy_scheduled"
    LOOSE_DESTROY_CANCELLED = "loose_destroy_cancelled"
    REPO_STATUS_CHANGED = "repo_status_changed"
    REPO_RENAMED = "repo_renamed"
    FILE_LEFT_OUT = "file_left_out"
    PUSH_PROCESSED = "push_processed"
    SYNC_FAILED = "sync_failed"
    HISTORY_REWRITTEN = "history_rewritten"
    RUN_CREATED = "run_created"
    RUN_NOT_CREATED = "run_not_created"
    RUN_CHANGED = "run_changed"
    STEP_REFUSED = "step_refused"
    CALL_REFUSED = "call_refused"
    CODE_CHANGED = "code_changed"
    TEST_MEASURED = "test_measured"
    APPROVAL_VOTED = "approval_voted"
    OBLIGATION_MET = "obligation_met"
    OBLIGATION_WAIVED = "obligation_waived"
    TEARDOWN_STUCK = "teardown_stuck"


@dataclass(frozen=True, slots=True)
class Event:
    id: int
    account: str
    subject: str
    name: str
    payload: Mapping[str, Any]
    at: datetime


class Bell(StrEnum):
    """Kinds of doorbell. A doorbell carries no data: who hears it reads the rows."""

    REPO_SYNC = "repo-sync"  # key: repo id
    ADMIT = "admit"  # key: account id
    RUN_START = "run-start"  # key: run id
    RUN_RING = "run-ring"  # key: run id
    TEST_RING = "test-ring"  # key: run id/test
    REPO_LOOK = "repo-look"  # key: repo id
    INSTALLATION_LOOK = "installation-look"  # key: account id/GitHub's number of the installation


@dataclass(frozen=True, slots=True)
class Doorbell:
    """Several rows of one kind and key are one doorbell: act once, delete exactly these ids."""

    kind: str
    key: str
    ids: tuple[int, ...]
    attempts: int


@dataclass(frozen=True, slots=True)
class DecisionRecord:
    """A decision with everything it stood on.

    Shape: `subject` is run/{id}, stack/{id} or push/{repo}/{ref}; `decision` allow, hold, deny or no_run; `tree` one
    node a rule.
    """

    account: str
    subject: str
    generation: int
    question: str
    operation: str | None
    inputs: Mapping[str, Any]
    tzdata: str
    at: datetime
    decision: str
    tree: list[Any]
    next_check: datetime | None
