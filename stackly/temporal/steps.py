"""What every step of an agent shares: its key in Postgres, its queue, its timings."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import timedelta

from temporalio import activity

CONTROL_QUEUE = "control"


def site_queue(agent_id: str) -> str:
    return f"site/{agent_id}"


def teardown_queue(agent_id: str) -> str:
    """A queue with slots of its own: destroy never waits behind load (engine rule 14)."""
    return f"teardown/{agent_id}"


def edge_queue(agent_id: str) -> str:
    return f"edge/{agent_id}"


def run_workflow_id(run: str) -> str:
    return f"run/{run}"


def test_workflow_id(run: str, test: str) -> str:
    return f"test/{run}/{test}"


def sync_workflow_id(repo: str) -> str:
    return f"repo-sync/{repo}"


@dataclass(frozen=True)
class StepKey:
    """The primary key of the step's row and the epoch it runs under. Only recovery raises `attempt`."""

    run: str
    test: str  # '' for a run's own steps
    step: str
    attempt: int
    epoch: int


STEP_CANCELLED = "StepCancelled"  # type of a control activity's error: the run's cancel column is set


STEP_ACTIVITY = "step"


class StepActivities(ABC):
    """What every agent serves: on `site/{agent}` and `teardown/{agent}`, or on `edge/{agent}`.

    The message holds the key alone: the agent begins the step by its row, which names what to do and with what, and
    answers nothing. Who asks reads the row.
    """

    @activity.defn(name=STEP_ACTIVITY)
    @abstractmethod
    async def carry_out(self, key: StepKey) -> None: ...


# A step's lease in Postgres: the agent renews it this often, and is judged gone when it was not for TTL. That is longer
# than the gateway is away for a restart (engine rule 18), so that a measurement goes on meanwhile.
RENEW_EVERY = timedelta(seconds=2)
STEP_TTL = timedelta(seconds=60)
STEP_GRACE = timedelta(seconds=10)
STEP_MARGIN = timedelta(seconds=3)
HEARTBEAT_TIMEOUT = timedelta(seconds=12)

RESULT_CAP_BYTES = 256 * 1024
