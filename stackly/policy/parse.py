"""Policy files: HCL to policies, with every problem at its place."""

import re
from datetime import date
from typing import Any

from stackly import hcl
from stackly.errors import FileInvalid, FileProblem
from stackly.hcl_shape import Field, Read, Shape, Unbuilt, json_schema, lasting, matching, one_of, read_all, whole
from stackly.policy.model import ALL_DAY, ALL_DAYS, DAYS, ApprovalRule, Deny, Hours, Policy, Window
from stackly.policy.windows import zone

MAX_BYTES = 64 * 1024
_NAME = r"[a-z][a-z0-9_-]{0,62}"
_HOURS = re.compile(r"(\d{1,2})(?::(\d{2}))?-(\d{1,2})(?::(\d{2}))?")
_SOME = (("minItems", 1), ("maxItems", 12))


def policies(text: str, file: str, *, read: hcl.Read = hcl.read) -> list[Policy]:
    """Raises: FileInvalid. A stranger's file is read with `hcl_worker.read`."""
    return [policy for policy, _ in policies_with_lines(text, file, read=read)]


def policies_with_lines(text: str, file: str, *, read: hcl.Read = hcl.read) -> list[tuple[Policy, int]]:
    """The policies of a file, each with the line it begins on. Raises: FileInvalid."""
    body, problems = read(text, file, max_bytes=MAX_BYTES)
    reads = read_all(body, (POLICY,), file, problems)["policy"]
    for found in reads:
        problems += _contradictions(found, file)
    if problems:
        raise FileInvalid(sorted(problems, key=lambda p: (p.line, p.column)))
    return [(_policy(found), found.line) for found in reads]


def schema() -> dict[str, Any]:
    return json_schema(POLICY, "A file of policies")


def _contradictions(read: Read, file: str) -> list[FileProblem]:
    """What is wrong only in company."""
    out: list[FileProblem] = []
    if not any(read.blocks[name] for name in ("schedule", "approval")):
        message = "the policy rules nothing; give it a schedule or an approval"
        out.append(FileProblem(file, read.line, read.column, message))
    schedule = read.block("schedule")
    for deny in schedule.blocks["deny"] if schedule else ():
        first, last = deny.fields["first_day"], deny.fields["last_day"]
        if first and last and last < first:
            out.append(FileProblem(file, deny.line, deny.column, "last_day is before first_day"))
    return out


def _policy(read: Read) -> Policy:
    schedule, approval = read.block("schedule"), read.block("approval")
    action = read.block("action")
    return Policy(
        name=read.label,
        environment=read.fields["environment"],
        schedule=_window(schedule) if schedule else None,
        approval=_approval(approval) if approval else None,
        on_violation=action.fields["on_violation"] if action else "queue",
    )


def _window(read: Read) -> Window:
    return Window(
        hours=_merged(read.fields["allowed_hours"]),
        days=_weekdays(read.fields["allowed_days"]),
        timezone=read.fields["timezone"],
        deny=tuple(_deny(deny) for deny in read.blocks["deny"]),
        except_dates=tuple(sorted(read.fields["exception_dates"])),
    )


def _deny(read: Read) -> Deny:
    return Deny(
        name=read.label,
        hours=_merged(read.fields["hours"]),
        days=_weekdays(read.fields["days"]),
        first=read.fields["first_day"],
        last=read.fields["last_day"],
    )


def _approval(read: Read) -> ApprovalRule:
    return ApprovalRule(
        required=read.fields["required"],
        min_approvers=read.fields["min_approvers"],
        allowed_groups=tuple(sorted(read.fields["allowed_groups"])),
        expires_s=read.fields["expires"],
    )


def _merged(spans: tuple[Hours, ...]) -> tuple[Hours, ...]:
    """One order for one meaning, so that the digest does not depend on how it was written."""
    return tuple(sorted(set(spans), key=lambda span: (span.start, span.end))) or ALL_DAY


def _weekdays(groups: tuple[tuple[int, ...], ...]) -> tuple[int, ...]:
    return tuple(sorted({day for group in groups for day in group})) or ALL_DAYS


def _hours(text: str) -> Hours:
    if text == "*":
        return ALL_DAY[0]
    found = _HOURS.fullmatch(text)
    if found is None:
        raise ValueError(f"`{text}` is no range of hours; write for example 9-17, 22-6, 9:30-17 or *")
    start, end = (int(found[n]) * 60 + int(found[n + 1] or 0) for n in (1, 3))
    if int(found[2] or 0) > 59 or int(found[4] or 0) > 59 or start >= 1440 or end > 1440:
        raise ValueError(f"`{text}` is outside 0:00 to 24:00")
    if start == end:
        raise ValueError(f"`{text}` begins where it ends; write * for the whole day")
    return Hours(start, end or 1440)


def _days(text: str) -> tuple[int, ...]:
    if text == "*":
        return ALL_DAYS
    first, _, last = text.upper().partition("-")
    last = last or first
    if first not in DAYS or last not in DAYS or text.endswith("-"):
        raise ValueError(f"`{text}` is no day; write for example MON, MON-FRI or *")
    start, end = DAYS.index(first), DAYS.index(last)
    return tuple((start + step) % 7 for step in range((end - start) % 7 + 1))


def _date(text: str) -> date:
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        raise ValueError(f"`{text}` is no date; write for example 2026-12-25")
    try:
        return date.fromisoformat(text)
    except ValueError as wrong:
        raise ValueError(f"`{text}` is not in the calendar") from wrong


def _zone(text: str) -> str:
    zone(text)
    return text


_GROUP = matching(r"[A-Za-z0-9][A-Za-z0-9_./-]{0,99}", "a group's name")

DENY = Shape(
    "deny",
    "A closed time inside the schedule, by name.",
    fields=(
        Field("hours", "list", "Hours that are closed; all of them if left out.", (), check=_hours, schema=_SOME),
        Field("days", "list", "Days on which those hours start; all if left out.", (), check=_days, schema=_SOME),
        Field("first_day", "string", "First local date, included.", check=_date),
        Field("last_day", "string", "Last local date, included.", check=_date),
    ),
    label=_NAME,
    many=True,
)
SCHEDULE = Shape(
    "schedule",
    "When a run may start.",
    fields=(
        Field("allowed_hours", "list", "Half-open hours: 9-17 ends at 17:00.", (), check=_hours, schema=_SOME),
        Field("allowed_days", "list", "Days on which those hours start.", (), check=_days, schema=_SOME),
        Field("timezone", "string", "IANA zone as Area/City.", "UTC", check=_zone),
        Field(
            "exception_dates",
            "list",
            "Local dates that are closed as a whole.",
            (),
            check=_date,
            schema=(("maxItems", 400),),
        ),
    ),
    blocks=(DENY,),
)
APPROVAL = Shape(
    "approval",
    "Who has to agree.",
    fields=(
        Field("required", "bool", "False switches the rule off.", default=True),
        Field("min_approvers", "number", "Different people needed.", 1, check=whole(1, 20)),
        Field("allowed_groups", "list", "Groups whose members may approve; anyone if left out.", (), check=_GROUP),
        Field("expires", "string", "How long a request stays open.", check=lasting("1m", "90d")),
    ),
)
ACTION = Shape(
    "action",
    "What a violation does.",
    fields=(
        Field(
            "on_violation",
            "string",
            "queue waits for the window; deny rejects.",
            "queue",
            check=one_of("queue", "deny"),
            schema=(("enum", ["queue", "deny"]),),
        ),
    ),
)
POLICY = Shape(
    "policy",
    "One policy.",
    fields=(
        Field(
            "environment",
            "string",
            "Applies only to stacks of this environment; to all if left out.",
            check=matching(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", "an environment's name"),
        ),
    ),
    blocks=(SCHEDULE, APPROVAL, ACTION),
    unbuilt=(Unbuilt("quota", "delete it: nothing counts runs, machines or cores yet"),),
    label=_NAME,
    many=True,
)
