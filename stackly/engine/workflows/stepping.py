"""One step of an agent, carried through lost heartbeats, dead agents and rolled-back histories."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar, cast

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.exceptions import TimeoutError as TemporalTimeoutError

with workflow.unsafe.imports_passed_through():
    from temporalio.converter import value_to_type

    from stackly.engine.contracts.control import RunActivities, StepLook
    from stackly.engine.contracts.steps import (
        HEARTBEAT_TIMEOUT,
        STEP_CANCELLED,
        STEP_FAILED,
        STEP_GONE,
        STEP_INTERRUPTED,
        STEP_REFUSED,
        StepKey,
    )
    from stackly.engine.contracts.timings import LOCAL_RETRY, LOCAL_TIMEOUT, STEP_LOOK_EVERY, STEP_RETRY
    from stackly.errors import Conflict, Faulty, Unavailable

P = TypeVar("P")
T = TypeVar("T")


class StepFailed(Faulty):
    """It ran, and failed: the sentence is for people."""


class StepGone(Unavailable):
    """The agent's life that executed it is over; whether it had effects is not known."""

    def __init__(self, detail: str = "", *, stopped: bool = False) -> None:
        super().__init__(detail)
        self.counts = not stopped  # of RECOVERIES: who is stopped politely comes back


class StepCancelled(Conflict):
    """The run's cancel column is set: somebody cancelled."""


class AgentLost(Unavailable):
    """Nobody took the step in time."""


@dataclass(frozen=True)
class Place:
    """Where a step runs. `patience` is how long its queue may stand unserved before the agent counts as lost."""

    queue: str
    pickup: timedelta
    patience: timedelta


async def run_step(
    method: Callable[[Any, P], Awaitable[T]], given: P, outcome: type[T], *, place: Place, timeout: timedelta
) -> T:
    """Carry out one attempt of a step, whose key is `given.key` or `given.module.key`.

    A lost heartbeat is not the end of the step: its row in Postgres says what became of it (ENGINE rules 1 and 11).
    Raises: StepFailed, StepGone, StepCancelled, AgentLost.
    """
    key = _key_of(given)
    asked_at = workflow.now()
    while True:
        try:
            return await workflow.execute_activity_method(
                method,
                given,
                task_queue=place.queue,
                start_to_close_timeout=timeout,
                schedule_to_start_timeout=place.pickup,
                heartbeat_timeout=HEARTBEAT_TIMEOUT,
                retry_policy=STEP_RETRY,
                summary=key.step,
            )
        except ActivityError as e:
            found = await _after_error(e, key, outcome, asked_at, place)
            if found is not None:
                return found


def _key_of(given: object) -> StepKey:
    key = getattr(given, "key", None) or getattr(getattr(given, "module", None), "key", None)
    assert isinstance(key, StepKey)
    return key


async def _after_error(e: ActivityError, key: StepKey, outcome: type[T], asked_at: datetime, place: Place) -> T | None:
    """The outcome when the row has it; None when the step should be asked for again."""
    if isinstance(e.cause, ApplicationError):
        raise_told(e.cause)
        await workflow.sleep(STEP_LOOK_EVERY)  # the agent could not reach the gateway: ask again
        return None
    if not isinstance(e.cause, TemporalTimeoutError):
        raise StepFailed(str(e.cause or e)) from e
    look = await _settled(key)
    if look.status == "done" and look.outcome is not None:
        return _stored(look.outcome, outcome)
    if look.status == "gone":
        raise StepGone(look.reason, stopped=look.stopped)
    if look.cancelled:
        raise StepCancelled("cancelled")
    if workflow.now() - asked_at > place.patience:
        raise AgentLost(f"no agent took {key.step} within {place.patience.total_seconds():.0f} s ({place.queue})")
    return None


def raise_told(cause: ApplicationError) -> None:
    message = cause.message or "the step failed"
    if cause.type in {STEP_GONE, STEP_INTERRUPTED}:
        raise StepGone(message, stopped=cause.type == STEP_INTERRUPTED)
    if cause.type == STEP_CANCELLED:
        raise StepCancelled(message)
    if cause.type == STEP_REFUSED:
        raise StepFailed(message)
    if cause.type == STEP_FAILED or cause.non_retryable:
        raise StepFailed(message)


async def _settled(key: StepKey) -> StepLook:
    """Wait while the step's row says that it runs: the reaper marks it gone when its lease stands still."""
    while True:
        look = await workflow.execute_local_activity_method(
            RunActivities.look, key, start_to_close_timeout=LOCAL_TIMEOUT, retry_policy=LOCAL_RETRY
        )
        if look.status != "running":
            return look
        await workflow.sleep(STEP_LOOK_EVERY)


def _stored(outcome: dict[str, Any], kind: type[T]) -> T:
    if outcome.get("ok"):
        return cast("T", value_to_type(kind, outcome.get("value")))
    if outcome.get("slug") == "cancelled":
        raise StepCancelled(str(outcome.get("detail", "cancelled")))
    raise StepFailed(str(outcome.get("detail", "the step failed")))
