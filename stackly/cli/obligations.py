"""`stackly obligation`: what is still to be destroyed, and who answers for what cannot be."""

from typing import Annotated, Any
from urllib.parse import quote

import typer

from stackly.cli.command import Cursor, Invocation, Limit, Yes, command, place_of
from stackly.cli.lean import group
from stackly.cli.speech import clean, facts, field, table
from stackly.words import counted

Json = dict[str, Any]
app = group("obligation", "What is still to be destroyed.")
Obligation = Annotated[str, typer.Argument(help="An id, or a unique beginning of it.")]

# A question names so many things; `show` names all.
_NAMED = 10
_NOTHING = "nothing that a target shows"


@command(app, "list")
def list_(
    call: Invocation,
    *,
    status: Annotated[str | None, typer.Option(help="open, met or waived.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> None:
    """What was owed, newest first."""
    page = call.server.get("/obligations", status=status, limit=limit, cursor=cursor)
    columns = [
        *(field(n) for n in ("id", "repository", "stack", "test", "status")),
        ("FAILED TRIES", lambda o: o["ladder"]),
        ("DUE", _due),
        field("waived_by"),
        field("reason"),
        ("RUN", lambda o: o["run_id"]),
    ]
    call.say.page(page, columns)


@command(app, "show")
def show_(call: Invocation, obligation: Obligation) -> None:
    """One obligation: what is left, why its destroy failed, and who answers for it."""
    call.say.one(call.server.get(f"/obligations/{call.id_of('obligation', obligation)}"), show)


@command(app, "waive")
def waive(
    call: Invocation,
    obligation: Obligation,
    *,
    reason: Annotated[str, typer.Option(help="Why; it is kept, with your name.")],
    yes: Yes = False,
) -> None:
    """Answer for what is left, instead of having it destroyed."""
    meant = call.meant("obligation", obligation)
    path, about = f"/obligations/{quote(meant['id'], safe='')}", _about(meant)
    if meant["status"] == "open" and not yes:  # of another the server says what became of it
        left = _left_in_words(call.server.get(path))
        call.confirm(f"Left of {about}: {left}. Leave it, in your name, and never destroy it?", yes=yes)
    done = call.server.post(f"{path}/waive", {"reason": reason})
    call.say.one(done, lambda d: f"obligation {d['id']} is waived: {about}")


def _about(meant: Json) -> str:
    """In full: the same test may stand in many stacks, and a stack's name in many repositories."""
    test = f"test {meant['test']}" if meant["test"] else "what was made"
    return clean(f"{test} of stack {meant['name']} ({place_of(meant)})")


def _due(owed: Json) -> str | None:
    return owed["due_at"] if owed["status"] == "open" else None


def show(owed: Json) -> str:
    said = facts(
        [
            ("obligation", owed["id"]),
            ("status", owed["status"]),
            ("repository", owed["repository"]),
            ("stack", owed["stack"]),
            ("test", owed["test"]),
            ("run", owed["run_id"]),
            ("failed tries", owed["ladder"]),
            ("next try" if owed["ladder"] else "due", _due(owed)),
            ("reason", owed["reason"]),
            ("waived by", owed["waived_by"]),
            ("owed since", owed["created_at"]),
            ("closed", owed["closed_at"]),
            ("left", None if owed["left"] else _NOTHING),
            ("terraform state", None if owed["resources"] is None else counted(owed["resources"], "resource")),
        ]
    )
    left = table(
        ["LEFT", "KIND", "TARGET", "SINCE"], [[i["id"], i["kind"], _target(i), i["since"]] for i in owed["left"]]
    )
    answer = f"stackly obligation waive {owed['id']} --reason '...'" if owed["status"] == "open" else ""
    return "\n\n".join(part for part in (said, left, answer) if part)


def _target(thing: Json) -> str:
    return str(thing["target"]).partition("@")[0]


def _left_in_words(owed: Json) -> str:
    """Shape: `container c1 on docker, network n1 on docker; its Terraform state names 3 resources`."""
    named = [clean(f"{i['kind']} {i['id']} on {_target(i)}") for i in owed["left"]]
    more = [f"{len(named) - _NAMED} more"] if len(named) > _NAMED else []
    shown = ", ".join([*named[:_NAMED], *more]) or _NOTHING
    if not owed["resources"]:
        return shown
    return f"{shown}; its Terraform state names {counted(owed['resources'], 'resource')}"
