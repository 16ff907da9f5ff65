"""`stackly stack`: what is registered, what is wrong with it, what happened to it, and its end."""

from typing import Annotated, Any
from urllib.parse import quote

import typer

from stackly.cli.command import Cursor, Invocation, Limit, Yes, command
from stackly.cli.screen import screen
from stackly.cli.speech import clean, facts, field, short, table

Json = dict[str, Any]
app = typer.Typer(name="stack", help="Stacks and their states.", no_args_is_help=True)
Stack = Annotated[str, typer.Argument(help="A name or an id.")]
Ref = Annotated[str | None, typer.Option(help="The branch; the default one unless told otherwise.")]


def show(stack: Json) -> str:
    said = facts(
        [
            ("stack", stack["name"]),
            ("id", stack["id"]),
            ("status", stack["status"]),
            ("reason", stack["reason"]),
            ("kind", stack.get("kind")),
            ("repository", stack["repo"]),
            ("path", stack["path"] or "."),
            ("ref", stack["ref"]),
            ("commit", stack["commit"]),
            ("registered", stack["registered_at"]),
            ("moved from", stack["moved_from"]),
        ]
    )
    errors = "\n".join(clean(f"{e['file']}:{e['line']}:{e['column']}: {e['message']}") for e in stack["errors"])
    names = ("name", "status", "commit", "environment", "last_run")
    states = table(
        ["STATE", "STATUS", "COMMIT", "ENVIRONMENT", "LAST RUN"], [[s[n] for n in names] for s in stack["states"]]
    )
    return "\n\n".join(part for part in (said, errors, states) if part)


@command(app, "list")
def list_(
    call: Invocation,
    *,
    repo: Annotated[str | None, typer.Option(help="Of this repository.")] = None,
    status: Annotated[str | None, typer.Option(help="Only those.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Deregistered ones as well.")] = False,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> None:
    """The registered stacks."""
    page = call.server.get("/stacks", repo=repo, status=status, all=all_ or None, limit=limit, cursor=cursor)
    columns = [
        field("name"),
        field("repo"),
        ("PATH", lambda s: s["path"] or "."),
        ("REF", lambda s: s["ref"].removeprefix("refs/heads/")),
        field("status"),
        ("COMMIT", lambda s: short(s["commit"])),
        field("reason"),
    ]
    call.say.page(page, columns)


@command(app, "show")
def show_(call: Invocation, stack: Stack, ref: Ref = None) -> None:
    """One stack: its states, and every error of its files with file:line:column."""
    call.say.one(call.server.get(f"/stacks/{quote(stack, safe='')}", ref=ref), show)


@command(app, "history")
def history(call: Invocation, stack: Stack, limit: Limit = 50, cursor: Cursor = None) -> None:
    """Runs of the stack's states, newest first."""
    page = call.server.get(f"/stacks/{quote(stack, safe='')}/history", limit=limit, cursor=cursor)
    columns = [
        ("RUN", lambda r: r["id"]),
        field("kind"),
        field("state"),
        field("status"),
        ("FROM", lambda r: short(r["from_commit"])),
        ("TO", lambda r: short(r["to_commit"])),
        field("actor"),
        field("verdict"),
        ("AT", lambda r: r["created_at"]),
        field("reason"),
    ]
    call.say.page(page, columns)


@command(app, "destroy")
def destroy(
    call: Invocation,
    stack: Stack,
    *,
    state: Annotated[str, typer.Option(help="Which of its states.")] = "default",
    reason: Annotated[str | None, typer.Option(help="Why; it is kept.")] = None,
    yes: Yes = False,
) -> None:
    """Destroy what a state holds."""
    call.confirm(f"Destroy everything that state {state} of stack {stack} holds?", yes=yes)
    run = call.server.post(f"/stacks/{quote(stack, safe='')}/destroy", {"state": state, "reason": reason})
    call.say.one(run, screen)
