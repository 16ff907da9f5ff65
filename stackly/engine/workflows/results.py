"""What an activity returned, believed only when it was sealed for this workflow.

The SDK converts a result before the workflow's code runs, and what it raises there ends the workflow past every
`except`. Converted here, an unsealed result is an error of the one call, and a saga undoes what it did.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeVar, cast

from temporalio import workflow
from temporalio.common import RawValue, RetryPolicy

with workflow.unsafe.imports_passed_through():
    from stackly.temporal.sealed import Unsealed
    from stackly.temporal.timings import BEAT_TIMEOUT

P = TypeVar("P")
T = TypeVar("T")


async def local_result(
    method: Callable[[Any, P], Awaitable[T]], given: P, *, timeout: timedelta, retry: RetryPolicy
) -> T:
    """Raises: ActivityError; Unsealed (an ApplicationError) when somebody without our key wrote the answer."""
    raw = await workflow.execute_local_activity(
        _name_of(method), given, result_type=RawValue, start_to_close_timeout=timeout, retry_policy=retry
    )
    return _believed(method, raw)


async def remote_result(
    method: Callable[[Any, P], Awaitable[T]], given: P, *, timeout: timedelta, retry: RetryPolicy
) -> T:
    """Of an activity on this workflow's own queue, which beats (engine.beating). Raises: ActivityError, Unsealed."""
    raw = await workflow.execute_activity(
        _name_of(method),
        given,
        result_type=RawValue,
        start_to_close_timeout=timeout,
        heartbeat_timeout=BEAT_TIMEOUT,
        retry_policy=retry,
    )
    return _believed(method, raw)


def _name_of(method: Callable[..., Any]) -> str:
    return str(_definition(method).name)


def _believed(method: Callable[..., Awaitable[T]], raw: object) -> T:
    if not isinstance(raw, RawValue):  # an answer without a payload carries no seal
        raise Unsealed("an answer that nobody sealed")
    return cast("T", workflow.payload_converter().from_payload(raw.payload, _definition(method).ret_type))


def _definition(method: Callable[..., Any]) -> Any:
    return vars(method)["__temporal_activity_definition"]
