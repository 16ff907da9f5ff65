"""`stackly obligation`: what is still to be destroyed, and who answers for what cannot be."""

from typing import Annotated, Any
from urllib.parse import quote

import typer

from stackly.cli.command import Cursor, Invocation, Limit, Yes, command
from stackly.cli.lean import group
from stackly.cli.speech import field

Json = dict[str, Any]
app = group("obligation", "What is still to be destroyed.")


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
    names = ("id", "run_id", "test", "status", "due_at", "ladder", "waived_by", "reason")
    call.say.page(page, [field(n) for n in names])


@command(app, "waive")
def waive(
    call: Invocation,
    obligation: Annotated[str, typer.Argument(help="Its id.")],
    *,
    reason: Annotated[str, typer.Option(help="Why; it is kept, with your name.")],
    yes: Yes = False,
) -> None:
    """Answer for what is left, instead of having it destroyed."""
    call.confirm(f"Leave what obligation {obligation} is about, in your name?", yes=yes)
    done = call.server.post(f"/obligations/{quote(obligation, safe='')}/waive", {"reason": reason})
    call.say.one(done, lambda d: f"obligation {d['id']} is waived")
