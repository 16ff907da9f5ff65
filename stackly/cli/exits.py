"""What the command's exit says: one table for problems by kind, one for runs by outcome."""

from collections.abc import Mapping
from enum import IntEnum
from typing import Any


class Exit(IntEnum):
    OK = 0
    FAILED = 1  # the run failed, or its measurement is invalid
    USAGE = 2
    BLOCKED = 3
    DENIED = 4
    NOT_FOUND = 5
    UNREACHABLE = 6
    TIMED_OUT = 7
    CANCELLED = 8
    WAITING = 9
    UNDECIDED = 10
    REJECTED = 11
    CONFLICT = 12
    EXHAUSTED = 13
    INTERNAL = 70
    INTERRUPTED = 130


BY_KIND: Mapping[str, Exit] = {
    "invalid": Exit.USAGE,
    "unauthenticated": Exit.DENIED,
    "denied": Exit.DENIED,
    "not-found": Exit.NOT_FOUND,
    "conflict": Exit.CONFLICT,
    "exhausted": Exit.EXHAUSTED,
    "unavailable": Exit.UNREACHABLE,
    "faulty": Exit.INTERNAL,
}

BY_STATUS: Mapping[int, Exit] = {
    400: Exit.USAGE,
    401: Exit.DENIED,
    403: Exit.DENIED,
    404: Exit.NOT_FOUND,
    405: Exit.USAGE,
    409: Exit.CONFLICT,
    412: Exit.CONFLICT,
    413: Exit.USAGE,
    422: Exit.USAGE,
    429: Exit.EXHAUSTED,
    503: Exit.UNREACHABLE,
    504: Exit.UNREACHABLE,
}

_ENDED = {
    "failed": Exit.FAILED,
    "cancelled": Exit.CANCELLED,
    "superseded": Exit.CANCELLED,
    "rejected": Exit.REJECTED,
}
_BY_GATE = {"allow": Exit.OK, "deny": Exit.BLOCKED, "hold": Exit.UNDECIDED}


class CommandFailed(Exception):  # noqa: N818 - it is the command's end, of whatever kind
    """Ends a command. `problem` is what is shown: RFC 9457 members, and the problem's own fields."""

    def __init__(self, code: Exit, title: str, detail: str = "", **fields: Any) -> None:
        super().__init__(detail or title)
        self.code = code
        self.problem: dict[str, Any] = {"title": title, "detail": detail or title, **fields}


def of_problem(status: int, problem: Mapping[str, Any]) -> Exit:
    """By the problem's kind; by the status where another server than ours answered."""
    kind = problem.get("kind")
    if isinstance(kind, str) and kind in BY_KIND:
        return BY_KIND[kind]
    return BY_STATUS.get(status, Exit.INTERNAL)


def waits_for_person(run: Mapping[str, Any]) -> bool:
    waiting = run.get("waiting") or {}
    return run["status"] == "awaiting_approval" or waiting.get("blocker") == "approval"


def of_run(run: Mapping[str, Any]) -> Exit:
    """How a run that has ended turned out. The gate, not the verdict, chooses between 0, 3 and 10."""
    if run["status"] in _ENDED:
        return _ENDED[run["status"]]
    if run.get("verdict") == "invalid":
        return Exit.FAILED
    gate = run.get("gate")
    return _BY_GATE.get(gate["decision"], Exit.INTERNAL) if gate else Exit.OK
