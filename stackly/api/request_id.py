"""The id that ties a request's answer, its problem body and its log lines together."""

import re
from contextvars import ContextVar

from stackly import ids

_CURRENT: ContextVar[str] = ContextVar("request_id", default="none")
_GIVEN = re.compile(r"[0-9A-Za-z-]{8,64}\Z")


def current() -> str:
    return _CURRENT.get()


def begin(given: str | None) -> str:
    """Take the caller's id when it looks like one, else a new one; it holds for this task."""
    request_id = given if given and _GIVEN.match(given) else ids.new_id()
    _CURRENT.set(request_id)
    return request_id
