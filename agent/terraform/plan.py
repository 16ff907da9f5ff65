"""Reading `terraform show -json` of a saved plan."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from stackly.errors import Invalid

SUMMARY_MOST = 1000
_QUIET = (["no-op"], ["read"])


@dataclass(frozen=True, slots=True)
class Plan:
    """Shape: a replacement counts as one create and one delete."""

    create: int
    update: int
    delete: int
    changed: bool
    summary: list[str]
    declared: dict[str, Any]
    sensitive: list[Any]  # values of variables declared sensitive


def read(raw: dict[str, Any]) -> Plan:
    changes = [c for c in raw.get("resource_changes", []) if c["change"]["actions"] not in _QUIET]
    actions = [action for c in changes for action in c["change"]["actions"]]
    declared = raw.get("configuration", {}).get("root_module", {}).get("variables", {})
    values = raw.get("variables", {})
    outputs = any(c["actions"] != ["no-op"] for c in raw.get("output_changes", {}).values())
    return Plan(
        create=actions.count("create"),
        update=actions.count("update"),
        delete=actions.count("delete"),
        changed=bool(changes) or outputs,
        summary=[_told(c) for c in changes][:SUMMARY_MOST],
        declared=declared,
        sensitive=[values[n].get("value") for n, d in declared.items() if d.get("sensitive") and n in values],
    )


def _told(change: dict[str, Any]) -> str:
    return f"{'/'.join(change['change']['actions'])} {change['address']}"


def check_approved(raw: dict[str, Any], approved: Collection[str]) -> None:
    """What is left of a half-done apply is part of what was approved. Raises: Invalid with what is not.

    Code, variables and lock file are bound by the digest; here it is what the world did meanwhile that could add to
    the plan. A resource that broke while it was created may be made anew.
    """
    known = set(approved)
    others = []
    for change in raw.get("resource_changes", []):
        is_half_made = change.get("action_reason") == "replace_because_tainted"
        may = change["change"]["actions"] in _QUIET or _told(change) in known
        if not may and not (is_half_made and f"create {change['address']}" in known):
            others.append(_told(change))
    if others:
        raise Invalid(
            f"Something moved while the apply was interrupted: what is left would {', '.join(others[:5])}, "
            "which was not in the approved plan. Nothing more was applied; run it again to plan and approve anew.",
            changes=others[:50],
        )


def check_creates_only(raw: dict[str, Any], *, recovering: bool) -> None:
    """A test starts from an empty state. While recovering, what is half made may be made anew. Raises: Invalid."""
    others = [
        _told(c)
        for c in raw.get("resource_changes", [])
        if c["change"]["actions"] not in (["create"], *_QUIET)
        and not (recovering and c.get("action_reason") == "replace_because_tainted")
    ]
    if others:
        raise Invalid(f"A test's plan may only create; this one would {', '.join(others[:5])}.", changes=others[:50])
