"""What a run's plan would do, in words. Pure."""

from collections.abc import Mapping
from typing import Any

# A sentence names so many changes; the plan itself names more.
MAX_NAMED = 10
_ALWAYS = (("add", "create"), ("change", "update"), ("destroy", "delete"))
_MORE = (("move", "move"), ("import", "import"), ("forget", "forget"))


def amounts(plan: Mapping[str, Any]) -> str:
    """Shape: `add 0, change 0, destroy 0, move 2`; outputs that change alone are named as such."""
    found = [(word, int(plan.get(key) or 0)) for word, key in _ALWAYS + _MORE]
    if not any(n for _, n in found):
        return "change outputs only"
    always = {word for word, _ in _ALWAYS}
    return ", ".join(f"{word} {n}" for word, n in found if n or word in always)


def sentence(plan: Mapping[str, Any]) -> str:
    """What it would do, with the addresses. '' of a run without a plan, and of a plan that does nothing."""
    lines = [str(line) for line in plan.get("summary") or []]
    if not lines:
        return ""
    total = _total(plan)
    left = f", and {total - MAX_NAMED} more" if total > MAX_NAMED else ""
    return f"its plan would {amounts(plan)}: {'; '.join(lines[:MAX_NAMED])}{left}"


def shown(spec: Mapping[str, Any]) -> dict[str, Any] | None:
    """The plan of a run as people see it, None before there is one. Shape: the keys of `PlanView`."""
    plan = spec.get("plan")
    if not isinstance(plan, Mapping):
        return None
    counts = {key: int(plan.get(key) or 0) for _, key in _ALWAYS + _MORE}
    return counts | {"summary": [str(line) for line in plan.get("summary") or []], "changes": _total(plan)}


def _total(plan: Mapping[str, Any]) -> int:
    """Earlier releases did not count what they left out of a summary."""
    return max(int(plan.get("changes") or 0), len(plan.get("summary") or []))
