"""The log as the only source: what became of stacks, states and runs, told from events alone. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

_STACK = {
    "module_registered": "active",
    "module_updated": "active",
    "module_rejected": "rejected",
    "module_deregistered": "deregistered",
}


def fold(events: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Shape: events in the order of their ids, with subject, name and payload; gives subject -> status."""
    found: dict[str, str] = {}
    for event in events:
        subject, name, payload = event["subject"], event["name"], event["payload"]
        if subject.startswith("stack/") and name in _STACK:
            found[subject] = _STACK[name]
        elif name == "stack_loosened" and found.get(subject) == "deregistered":
            found[subject] = "loose"  # while its code stands, only a state of it is
        elif name == "run_created":
            found[subject] = "queued"
        elif name in {"run_changed", "state_changed"}:
            found[subject] = payload["to"]
    return found
