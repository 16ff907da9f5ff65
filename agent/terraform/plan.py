"""Reading `terraform show -json` of a saved plan."""

import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

from stackly.errors import Invalid, Unavailable

SUMMARY_MOST = 1000
_SUMMARY_BYTES = 96 * 1024  # an outcome holds little more: whoever reads wants no more than this
Shown = Callable[[str], str]  # a line as people may see it
_QUIET = (["no-op"], ["read"])


@dataclass(frozen=True, slots=True)
class Plan:
    """Shape: a replacement counts as one create and one delete; `changed` is Terraform's own verdict."""

    create: int
    update: int
    delete: int
    move: int
    adopt: int  # objects that exist already, taken over by an `import`
    forget: int
    changed: bool
    lines: list[str]  # all that it would do
    declared: dict[str, Any]
    sensitive: list[Any]


def read(raw: dict[str, Any]) -> Plan:
    """Raises: Unavailable when Terraform is too old to say whether there is anything to apply."""
    if not isinstance(raw.get("applyable"), bool):
        raise Unavailable(
            f"Terraform {raw.get('terraform_version', '')} does not say whether a plan is applyable: "
            "install 1.11 or newer; `stackly doctor` checks."
        )
    changes = raw.get("resource_changes", [])
    actions = [action for c in changes for action in c["change"]["actions"]]
    declared = raw.get("configuration", {}).get("root_module", {}).get("variables", {})
    return Plan(
        create=actions.count("create"),
        update=actions.count("update"),
        delete=actions.count("delete"),
        move=sum("previous_address" in c for c in changes),
        adopt=sum("importing" in c["change"] for c in changes),
        forget=actions.count("forget"),
        changed=raw["applyable"],
        lines=lines_of(raw),
        declared=declared,
        sensitive=list(_sensitive(raw, declared)),
    )


def summary(lines: Collection[str], shown: Shown = str) -> list[str]:
    """The first of them, as people may see them."""
    out: list[str] = []
    room = _SUMMARY_BYTES
    for line in list(lines)[:SUMMARY_MOST]:
        out.append(shown(line))
        room -= len(json.dumps(out[-1]))
        if room < 0:
            return out[:-1]
    return out


def lines_of(raw: dict[str, Any]) -> list[str]:
    """All that an apply would do, line by line. Shape: secrets in addresses stand as they are."""
    outputs = raw.get("output_changes", {}).items()
    told = [f"{'/'.join(c['actions'])} output {name}" for name, c in outputs if c["actions"] not in _QUIET]
    return [line for change in raw.get("resource_changes", []) for line in _told(change)] + told


def _told(change: dict[str, Any]) -> Iterator[str]:
    """What an apply would do to one address: where it comes from, then what becomes of it."""
    address, details = change["address"], change["change"]
    if "previous_address" in change:
        yield f"move {change['previous_address']} to {address}"
    if "importing" in details:
        identity = (details["importing"] or {}).get("id")
        yield f"import {address}" + (f" from {identity}" if identity else "")
    if details["actions"] not in _QUIET:
        yield f"{'/'.join(details['actions'])} {address}"


def _sensitive(raw: dict[str, Any], declared: dict[str, Any]) -> Iterator[Any]:
    """Values that are marked sensitive: variables, outputs, and parts of resources."""
    values = raw.get("variables", {})
    yield from (values[n].get("value") for n, d in declared.items() if d.get("sensitive") and n in values)
    changes = [*(c["change"] for c in raw.get("resource_changes", [])), *raw.get("output_changes", {}).values()]
    for change in changes:
        for side in ("before", "after"):
            yield from _marked(change.get(side), change.get(f"{side}_sensitive"))


def _marked(value: Any, marks: Any) -> Iterator[Any]:
    if marks is True:
        yield value
    elif isinstance(marks, dict) and isinstance(value, dict):
        for name, mark in marks.items():
            yield from _marked(value.get(name), mark)
    elif isinstance(marks, list) and isinstance(value, list):
        for each, mark in zip(value, marks, strict=False):
            yield from _marked(each, mark)


def check_approved(raw: dict[str, Any], approved: Collection[str], shown: Shown = str) -> None:
    """What is left of a half-done apply is part of what was approved. Raises: Invalid with what is not.

    Code, variables and lock file are bound by the digest; here it is what the world did meanwhile that could add to
    the plan. A resource that broke while it was created may be made anew. Shape: `approved` as `shown` shows it.
    """
    known = set(approved)
    others = []
    for change in raw.get("resource_changes", []):
        is_half_made = change.get("action_reason") == "replace_because_tainted"
        if not (is_half_made and shown(f"create {change['address']}") in known):
            others += [line for each in _told(change) if (line := shown(each)) not in known]
    if others:
        raise Invalid(
            f"Something moved while the apply was interrupted: what is left would {', '.join(others[:5])}, "
            "which was not in the approved plan. Nothing more was applied; run it again to plan and approve anew.",
            changes=others[:50],
        )


def check_creates_only(raw: dict[str, Any], shown: Shown = str, *, recovering: bool) -> None:
    """A test starts from an empty state. While recovering, what is half made may be made anew. Raises: Invalid."""
    others = [
        shown(line)
        for c in raw.get("resource_changes", [])
        if not (recovering and c.get("action_reason") == "replace_because_tainted")
        for line in _told(c)
        if line != f"create {c['address']}"
    ]
    if others:
        raise Invalid(f"A test's plan may only create; this one would {', '.join(others[:5])}.", changes=others[:50])
