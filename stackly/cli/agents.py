"""`stackly agent`: who works where, and what they can do."""

from typing import Annotated, Any
from urllib.parse import quote

import typer

from stackly.cli.command import Cursor, Invocation, Limit, command
from stackly.cli.lean import group
from stackly.cli.speech import facts, field

Json = dict[str, Any]
app = group("agent", "Agents.")


@command(app, "list")
def list_(
    call: Invocation,
    *,
    role: Annotated[str | None, typer.Option(help="site or edge.")] = None,
    gone: Annotated[bool, typer.Option("--gone", help="Those that are gone as well.")] = False,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> None:
    """The agents."""
    page = call.server.get("/agents", role=role, gone=gone or None, limit=limit, cursor=cursor)
    call.say.page(page, [field(n) for n in ("id", "name", "role", "status", "version", "run_id", "machine", "seen_at")])


@command(app, "show")
def show(call: Invocation, agent: Annotated[str, typer.Argument(help="An agent's id.")]) -> None:
    """One agent, and what it can do."""
    call.say.one(call.server.get(f"/agents/{quote(agent, safe='')}"), _show)


def _show(agent: Json) -> str:
    names = ("name", "id", "role", "status", "version", "run_id", "test", "machine", "seen_at", "created_at")
    listed = [(f"{kind} {k}", v) for kind in ("labels", "capabilities") for k, v in agent[kind].items()]
    return facts([*((n.replace("_", " "), agent[n]) for n in names), *listed])
