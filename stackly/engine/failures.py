"""Errors across Temporal: kind -> retryable, one exhaustive table; causes unwrapped, texts capped."""

import functools
from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec, TypeVar

from temporalio.exceptions import ApplicationError

from stackly.errors import (
    Conflict,
    Denied,
    Exhausted,
    Faulty,
    Invalid,
    NotFound,
    StacklyError,
    Unauthenticated,
    Unavailable,
    kind_of,
    of_os,
)

P = ParamSpec("P")
T = TypeVar("T")

# Temporal refuses failures above 2 MB; people read the beginning.
MESSAGE_CAP = 8000

RETRYABLE: dict[type[StacklyError], bool] = {
    Invalid: False,
    Unauthenticated: False,
    Denied: False,
    NotFound: False,
    Conflict: False,
    Exhausted: True,
    Unavailable: True,
    Faulty: False,
}


def as_application_error(error: StacklyError) -> ApplicationError:
    """Shape: type is the slug; the fields travel as the first detail."""
    return ApplicationError(
        error.detail[:MESSAGE_CAP],
        error.fields,
        type=error.slug(),
        non_retryable=not RETRYABLE[kind_of(error)],
    )


def foreseen(error: BaseException) -> str | None:
    """The reason, where the error is one of ours, or is made of one for Temporal; None where nobody expected it."""
    if isinstance(error, ApplicationError) and error.__cause__ is not None:
        return foreseen(error.__cause__)
    known = of_os(error) if isinstance(error, OSError) else error
    return known.detail[:MESSAGE_CAP] if isinstance(known, StacklyError) else None


def told(method: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    """Wrap an activity so that our errors reach the workflow as what they are."""

    @functools.wraps(method)
    async def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await method(*args, **kwargs)
        except StacklyError as e:
            raise as_application_error(e) from e
        except OSError as e:
            if (known := of_os(e)) is None:
                raise
            raise as_application_error(known) from e

    return wrapped


def tell_all(cls: type[Any]) -> type[Any]:
    """Class decorator: every public coroutine of an activity class is `told`."""
    for name, method in list(vars(cls).items()):
        if not name.startswith("_") and callable(method):
            setattr(cls, name, told(method))
    return cls
