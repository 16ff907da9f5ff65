"""One step of an agent, carried through lost heartbeats, dead agents and rolled-back histories."""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar, cast

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ActivityError, ApplicationError

with workflow.unsafe.imports_passed_through():
    from temporalio.converter import value_to_type

    from stackly.engine.contracts.control import Asked, Expected, RunActivities
    from stackly.engine.workflows.results import local_result
    from stackly.errors import Conflict, Faulty, Unavailable
    from stackly.temporal.steps import HEARTBEAT_TIMEOUT, STEP_ACTIVITY, STEP_CANCELLED, StepKey
    from stackly.temporal.timings import LOCAL_RETRY, LOCAL_TIMEOUT, STEP_LOOK_EVERY, STEP_RETRY

T = TypeVar("T")


class StepFailed(Faulty):
    """It ran, and failed: the sentence is for people."""


class StepGone(Unavailable):
    """The agent's life that executed it is over; whether it had effects is not known."""


class StepCancelled(Conflict):
    """The run's cancel column is set: somebody cancelled."""


class AgentLost(Unavailable):
    """Nobody took the step in time."""


@dataclass(frozen=True)
class Place:
    """How a step's agent is waited for. `patience` is how long the step may stay untaken before its agent is lost."""

    pickup: timedelta
    patience: timedelta


async def run_step(asked: Asked, outcome: type[T], *, place: Place, timeout: timedelta) -> T:
    """Carry a step out, through as many attempts as its row allows. Its outcome is what its row says.

    The activity is a doorbell and a witness: what it answers, or how it ends, means nothing (engine rules 1, 11, 23).
    Raises: StepFailed, StepGone, StepCancelled, AgentLost.
    """
    rung: StepKey | None = None
    since = workflow.now()
    while True:
        found = await _expected(asked)
        if found.outcome is not None:
            return _stored(found.outcome, outcome)
        if found.key is None:
            raise _without_a_row(found)
        if found.key != rung:
            rung, since = found.key, workflow.now()
        else:
            # It was rung for already: its lease says what becomes of it, or its agent did not come yet.
            await workflow.sleep(STEP_LOOK_EVERY)
            _must_come(found, since, place)
            if found.status == "running":
                continue
        await _ring(found, place, timeout)


async def _expected(asked: Asked) -> Expected:
    try:
        return await local_result(RunActivities.expect, asked, timeout=LOCAL_TIMEOUT, retry=LOCAL_RETRY)
    except (ActivityError, ApplicationError) as e:
        raise as_ours(e) from e


def _without_a_row(found: Expected) -> Exception:
    if found.status == "cancelled":
        return StepCancelled("cancelled")
    return StepGone(found.reason) if found.status == "gone" else StepFailed(found.reason)


def _must_come(found: Expected, since: datetime, place: Place) -> None:
    """Raises: AgentLost."""
    if found.status == "expected" and workflow.now() - since > place.patience:
        assert found.key is not None, "what is expected has a row"
        seconds = place.patience.total_seconds()
        raise AgentLost(f"no agent took {found.key.step} within {seconds:.0f} s ({found.queue})")


async def _ring(found: Expected, place: Place, timeout: timedelta) -> None:
    """Ask the agent to begin, and wait while it works. Nothing that comes of this is believed but by the row."""
    assert found.key is not None, "what is rung for has a row"
    try:
        await workflow.execute_activity(
            STEP_ACTIVITY,
            found.key,
            result_type=RawValue,
            task_queue=found.queue,
            start_to_close_timeout=timeout,
            schedule_to_start_timeout=place.pickup,
            heartbeat_timeout=HEARTBEAT_TIMEOUT,
            retry_policy=STEP_RETRY,
            summary=found.key.step,
        )
    except ActivityError:
        # Anybody may answer "cancelled"; whether this very task is being cancelled only we know.
        own = asyncio.current_task()
        if own is not None and own.cancelling():
            raise


def as_ours(e: ActivityError | ApplicationError) -> StepCancelled | StepFailed:
    """What a control activity's error means to the run."""
    # A local activity's own error comes as it is; only a remote one's is the cause of another.
    cause = e.cause if isinstance(e, ActivityError) else e
    if not isinstance(cause, ApplicationError):
        return StepFailed(str(cause or e))
    message = cause.message or "the step failed"
    return StepCancelled(message) if cause.type == STEP_CANCELLED else StepFailed(message)


def _stored(outcome: dict[str, Any], kind: type[T]) -> T:
    if outcome.get("ok"):
        return cast("T", value_to_type(kind, outcome.get("value")))
    if outcome.get("slug") == "cancelled":
        raise StepCancelled(str(outcome.get("detail", "cancelled")))
    raise StepFailed(str(outcome.get("detail", "the step failed")))
