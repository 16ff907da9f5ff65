"""`stackly stack`: what is registered, what is wrong with it, what happened to it, and its end."""

from typing import Annotated, Any

import typer

from stackly.cli.command import Cursor, Invocation, Limit, Yes, called, command
from stackly.cli.lean import group
from stackly.cli.screen import screen
from stackly.cli.speech import clean, facts, field, short, table

Json = dict[str, Any]
app = group("stack", "Stacks and their states.")
Stack = Annotated[str, typer.Argument(help="An id, a unique beginning of it, a name, or OWNER/REPO:PATH@REF.")]
Ref = Annotated[str | None, typer.Option(help="The branch whose stack is meant, where its name stands on several.")]


def path(call: Invocation, stack: str, *, ref: str | None = None) -> str:
    return f"/stacks/{call.id_of('stack', stack, ref=ref)}"


def show(stack: Json) -> str:
    said = facts(
        [
            ("stack", stack["name"]),
            ("id", stack["id"]),
            ("status", stack["status"]),
            ("reason", stack["reason"]),
            ("kind", stack.get("kind")),
            ("version", stack.get("version")),
            ("repository", stack["repo"]),
            ("path", stack["path"] or "."),
            ("ref", stack["ref"]),
            ("commit", stack["commit"]),
            ("registered", stack["registered_at"]),
            ("moved from", stack["moved_from"]),
        ]
    )
    errors = "\n".join(map(_placed, stack["errors"]))
    names = ("name", "status", "since", "commit", "environment", "last_run")
    states = table(
        ["STATE", "STATUS", "SINCE", "COMMIT", "ENVIRONMENT", "LAST RUN"],
        [[s.get(n) for n in names] for s in stack["states"]],
    )
    notes = "\n".join(clean(f"{s['name']}: {note}") for s in stack["states"] for note in _notes(s))
    warnings = "\n".join(f"warning: {clean(w)}" for w in stack.get("warnings", ()))
    return "\n\n".join(part for part in (said, errors, warnings, states, notes) if part)


def _placed(found: Json) -> str:
    return clean(f"{found['file']}:{found['line']}:{found['column']}: {found['message']}")


def _notes(state: Json) -> list[str]:
    """What a row of the table has no room for."""
    altered = state.get("history_altered")
    return [
        *([state["reason"]] if state.get("reason") else []),
        *([f"waits to follow {state['successor']}"] if state.get("successor") else []),
        *([f"its destroy is asked for at {state['destroy_at']}"] if state.get("destroy_at") else []),
        *([f"waived by {state['waived_by']}"] if state.get("waived_by") else []),
        *([f"the history of its commit {short(state['commit'])} was rewritten"] if altered else []),
    ]


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
    call.say.one(call.server.get(path(call, stack, ref=ref)), show)


@command(app, "history")
def history(call: Invocation, stack: Stack, limit: Limit = 50, cursor: Cursor = None) -> None:
    """Runs of the stack's states, newest first."""
    page = call.server.get(path(call, stack) + "/history", limit=limit, cursor=cursor)
    columns = [
        ("RUN", lambda r: r["id"]),
        field("kind"),
        field("state"),
        field("status"),
        ("FROM", lambda r: short(r["from_commit"])),
        ("TO", lambda r: short(r["to_commit"])),
        field("actor"),
        ("WHY", lambda r: r.get("why")),
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
    cancel: Annotated[bool, typer.Option("--cancel", help="Call off one that is due later, or has not begun.")] = False,
    yes: Yes = False,
) -> None:
    """Destroy what a state holds; of a stack whose code is gone as well."""
    if cancel:
        call.say.one(call.server.post(path(call, stack) + "/keep", {"state": state}), show)
        return
    meant = call.meant("stack", stack)
    call.confirm(f"Destroy everything that state {state} of stack {called(meant)} holds?", yes=yes)
    run = call.server.post(path(call, meant["id"]) + "/destroy", {"state": state, "reason": reason})
    call.say.one(run, screen)


@command(app, "associate")
def associate(
    call: Invocation,
    loose: Annotated[str, typer.Argument(help="A stack whose code is gone.")],
    target: Annotated[str, typer.Argument(help="The stack whose code its state gets.")],
    *,
    state: Annotated[str, typer.Option(help="Which of its states.")] = "default",
    name: Annotated[str | None, typer.Option(help="What the state is called there; as here unless told.")] = None,
    reason: Annotated[str | None, typer.Option(help="Why; it is kept.")] = None,
) -> None:
    """Give a loose state other code; a deploy of it follows, judged by policies."""
    from_, to = path(call, loose), call.id_of("stack", target)
    body = {"target": to, "state": state, "name": name, "reason": reason}
    call.say.one(call.server.post(from_ + "/associate", body), screen)


@command(app, "waive")
def waive(
    call: Invocation,
    stack: Stack,
    *,
    reason: Annotated[str, typer.Option(help="Why; it is kept, with your name.")],
    state: Annotated[str, typer.Option(help="Which of its states.")] = "default",
    yes: Yes = False,
) -> None:
    """Answer for what a state holds, instead of destroying it."""
    meant = call.meant("stack", stack)
    call.confirm(f"Leave everything that state {state} of stack {called(meant)} holds, in your name?", yes=yes)
    body = {"state": state, "reason": reason}
    call.say.one(call.server.post(path(call, meant["id"]) + "/waive", body), show)
