"""The words of a run: kinds, statuses, what an end is, and what comes before what."""

from collections.abc import Mapping
from enum import StrEnum


class RunKind(StrEnum):
    PREVIEW = "preview"
    DEPLOY = "deploy"
    BENCHMARK = "benchmark"
    DESTROY = "destroy"
    DRIFT_CHECK = "drift_check"


class RunStatus(StrEnum):
    QUEUED = "queued"
    STARTING = "starting"
    PLANNING = "planning"
    AWAITING_APPROVAL = "awaiting_approval"
    APPLYING = "applying"
    RUNNING = "running"
    RECOVERING = "recovering"
    TEARING_DOWN = "tearing_down"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    SUPERSEDED = "superseded"


class TestStatus(StrEnum):
    __test__ = False  # pytest: an enum, not a test

    WAITING = "waiting"
    RUNNING = "running"
    TEARING_DOWN = "tearing_down"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


def _sql(words: tuple[StrEnum, ...]) -> str:
    return "(" + ",".join(f"'{word.value}'" for word in words) + ")"


_ENDS = (RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.REJECTED, RunStatus.SUPERSEDED)
_TEST_ENDS = (TestStatus.SUCCEEDED, TestStatus.FAILED, TestStatus.CANCELLED)
ENDED = frozenset(_ENDS)
TEST_ENDED = frozenset(_TEST_ENDS)
# As SQL. Shape: ('succeeded', …), for `status IN` and `status NOT IN`.
ENDED_SQL = _sql(_ENDS)
TEST_ENDED_SQL = _sql(_TEST_ENDS)

KINDS_SQL = _sql(tuple(RunKind))

_MUTATE = (RunKind.DEPLOY, RunKind.BENCHMARK, RunKind.DESTROY)
MUTATING = frozenset(_MUTATE)
MUTATING_SQL = _sql(_MUTATE)
# Only these supersede, and only each other (engine rule 6).
_SUPERSEDE = (RunKind.DEPLOY, RunKind.PREVIEW, RunKind.BENCHMARK)
SUPERSEDING = frozenset(_SUPERSEDE)
SUPERSEDING_SQL = _sql(_SUPERSEDE)
PRIORITY: Mapping[str, int] = {
    RunKind.DESTROY: 0,
    RunKind.DEPLOY: 1,
    RunKind.BENCHMARK: 2,
    RunKind.PREVIEW: 3,
    RunKind.DRIFT_CHECK: 4,
}
