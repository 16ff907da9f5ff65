"""`stackly approval`, `approve`, `deny`: a person's answer, bound to the digest of what they looked at."""

import sys
from typing import Annotated, Any

import typer

from stackly.cli.command import Cursor, Invocation, Limit, command
from stackly.cli.exits import CommandFailed, Exit
from stackly.cli.lean import group
from stackly.cli.screen import planned
from stackly.cli.speech import facts, field, short, table
from stackly.words import counted

Json = dict[str, Any]
app = group("approval", "What waits for a person.")
Run = Annotated[str, typer.Argument(help="An id, a unique beginning of it, or latest.")]


def _path(call: Invocation, run: str, rest: str = "") -> str:
    return f"/approvals/{call.id_of('run', run)}{rest}"


def show(approval: Json) -> str:
    said = facts(
        [
            ("run", approval["run_id"]),
            ("repository", approval["repo"]),
            ("stack", approval["stack"]),
            ("kind", approval["run_kind"]),
            ("commit", f"{approval['branch']} @ {short(approval['commit'])}"),
            ("status", approval["status"]),
            ("approved", f"{approval['approved']} of {approval['needed']}"),
            ("still needed", _still(approval.get("still_needed"))),
            *((("why" if n == 0 else ""), why) for n, why in enumerate(approval.get("why") or ())),
            ("by groups", ", ".join(approval["groups"])),
            ("policy", approval["policy"]),
            ("reason", approval["reason"]),
            ("expires", approval["expires_at"]),
            ("digest", approval["digest"]),
        ]
    )
    votes = [[v["login"], v["value"], v["at"], v["reason"]] for v in approval["votes"]]
    asked = (
        f"stackly approve {approval['run_id']} --digest {approval['digest']}" if approval["status"] == "open" else ""
    )
    would = "\n".join(["its plan would", *(f"  {line}" for line in planned(approval.get("plan")))])
    would = would if approval.get("plan") else ""
    return "\n\n".join(p for p in (said, would, table(["WHO", "VOTE", "AT", "REASON"], votes), asked) if p)


def _still(people: int | None) -> str | None:
    if people is None:
        return None
    return counted(people, "more person", "more people") if people else "nobody: the next decision lets it go on"


@command(app, "list")
def list_(
    call: Invocation,
    *,
    status: Annotated[str | None, typer.Option(help="Only those.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> None:
    """What waits, and waited, for a person."""
    columns = [
        ("RUN", lambda a: a["run_id"]),
        ("REPOSITORY", lambda a: a["repo"]),
        field("stack"),
        field("status"),
        ("APPROVED", lambda a: f"{a['approved']} of {a['needed']}"),
        field("policy"),
        ("EXPIRES", lambda a: a["expires_at"]),
        field("digest"),
    ]
    call.say.page(call.server.get("/approvals", status=status, limit=limit, cursor=cursor), columns)


@command(app, "show")
def show_(call: Invocation, run: Run) -> None:
    """What is asked of you, and its digest."""
    call.say.one(call.server.get(_path(call, run)), show)


def approve(
    call: Invocation,
    run: Run,
    *,
    digest: Annotated[str | None, typer.Option(help="Of what you looked at; asked for on a terminal.")] = None,
    reason: Annotated[str | None, typer.Option(help="Why; it is kept.")] = None,
) -> None:
    """Agree with exactly what you looked at."""
    if digest is None and not sys.stdin.isatty():
        raise CommandFailed(
            Exit.USAGE, "A digest is needed.", f"Give --digest; `stackly approval show {run}` shows it."
        )
    if digest is None:
        asked = call.server.get(_path(call, run))
        run = str(asked["run_id"])
        call.say.note(show(asked))
        call.confirm("Approve this?", yes=False)
        digest = str(asked["digest"])
    call.say.one(call.server.post(_path(call, run, "/approve"), {"digest": digest, "reason": reason}), show)


def deny(
    call: Invocation,
    run: Run,
    *,
    reason: Annotated[str, typer.Option(help="Why; it is kept.")],
    digest: Annotated[str | None, typer.Option(help="Of what you looked at.")] = None,
) -> None:
    """Refuse, with a reason."""
    call.say.one(call.server.post(_path(call, run, "/deny"), {"reason": reason, "digest": digest}), show)
