"""Reading `terraform show -json` of a saved plan."""

from dataclasses import dataclass
from typing import Any

from stackly.errors import Invalid

SUMMARY_MOST = 200
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
        summary=[f"{'/'.join(c['change']['actions'])} {c['address']}" for c in changes][:SUMMARY_MOST],
        declared=declared,
        sensitive=[values[n].get("value") for n, d in declared.items() if d.get("sensitive") and n in values],
    )


def check_creates_only(raw: dict[str, Any], *, recovering: bool) -> None:
    """A test starts from an empty state. While recovering, what is half made may be made anew. Raises: Invalid."""
    others = [
        f"{'/'.join(c['change']['actions'])} {c['address']}"
        for c in raw.get("resource_changes", [])
        if c["change"]["actions"] not in (["create"], *_QUIET)
        and not (recovering and c.get("action_reason") == "replace_because_tainted")
    ]
    if others:
        raise Invalid(f"A test's plan may only create; this one would {', '.join(others[:5])}.", changes=others[:50])
