"""Every timeout and retry of the workflows, with its reason."""

from datetime import timedelta

from temporalio.common import RetryPolicy

# Local activities are one short transaction; Postgres may be restarting, so they go on until it is back.
LOCAL_TIMEOUT = timedelta(seconds=20)
LOCAL_RETRY = RetryPolicy(initial_interval=timedelta(milliseconds=300), maximum_interval=timedelta(seconds=5))

# A fetch may be slow, and an upstream may be away; the sync goes on trying, the sweeper rings as well.
SYNC_TIMEOUT = timedelta(minutes=10)
SYNC_RETRY = RetryPolicy(
    initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=30), maximum_attempts=20
)

# Activities of the control worker that take long beat. One whose worker was killed is tried again after this; a worker
# whose machine is busy beats late.
BEAT_EVERY = timedelta(seconds=2)
BEAT_TIMEOUT = timedelta(seconds=12)

# A slot of repositories, each with a few calls of GitHub's; the next tick comes anyway.
SWEEP_TIMEOUT = timedelta(minutes=10)
SWEEP_RETRY = RetryPolicy(
    initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=10), maximum_attempts=3
)

# The right to execute is a row: Temporal never retries a step by itself.
STEP_RETRY = RetryPolicy(maximum_attempts=1)

# A site agent that died is restarted by its supervisor; until then its queue waits.
SITE_PICKUP = timedelta(minutes=1)
SITE_PATIENCE = timedelta(minutes=15)
# How long a step waits in an edge agent's queue before it is asked for again. The agent is lost by its row alone: by
# heartbeats that are missing while the gateway served, never by time in a queue.
EDGE_PICKUP = timedelta(seconds=20)
EDGE_PATIENCE = timedelta(minutes=15)

# An image is built from the commit that started the run: it may come later than the run does.
IMAGE_PATIENCE = timedelta(minutes=30)
# How long after each look the next one comes; the last goes on.
IMAGE_PAUSES = tuple(timedelta(seconds=s) for s in (2, 4, 8, 15, 30))
# A look is one question to a registry.
IMAGE_LOOK = timedelta(minutes=2)
# Getting an image has a deadline of its own; the agent keeps it, and tells of it a moment before Temporal would.
IMAGE_PULL = timedelta(minutes=30)
IMAGE_PULL_ROOM = timedelta(minutes=1)

ENROL_PATIENCE = timedelta(minutes=5)
# How often a wait looks by itself, should a doorbell be lost.
LOOK_EVERY = timedelta(seconds=15)
# A step whose heartbeat was lost is looked at this often until its row says what became of it.
STEP_LOOK_EVERY = timedelta(seconds=2)

RECOVERIES = 5
VERIFY_TRIES = 5
VERIFY_PAUSE = timedelta(seconds=2)
TEARDOWN_PATIENCE = timedelta(hours=2)

# How long a step of a test may take at most, by what it does.
PROBE_TIMEOUT = timedelta(minutes=1)
APPLY_TIMEOUT = timedelta(hours=2)
BOOT_TIMEOUT = timedelta(minutes=15)
INSTALL_TIMEOUT = timedelta(minutes=20)
PREPARE_TIMEOUT = timedelta(hours=2)
EDGE_TIMEOUT = timedelta(minutes=15)
# Agents that enrol are looked for by their rows.
ENROL_LOOK = timedelta(seconds=2)


def within(seconds: float) -> timedelta:
    """What a plan or an answer names in seconds."""
    return timedelta(seconds=seconds)


def load_timeout(seconds: float) -> timedelta:
    """A load of so many seconds: as long again for a slow end, and ten minutes for its start."""
    return timedelta(seconds=seconds * 2 + 600)
