"""`stackly event`, `explain`, `inventory`: what happened, why, and what is there."""

from typing import Annotated, Any
from urllib.parse import quote

import typer

from stackly.cli.command import Cursor, Invocation, Limit, command
from stackly.cli.exits import CommandFailed, Exit
from stackly.cli.lean import group
from stackly.cli.speech import clean, field, paint, table

Json = dict[str, Any]
app = group("event", "The event log.")
_KINDS = ("run", "event", "stack")


def _summary(payload: Json) -> str:
    return " ".join(f"{k}={v}" for k, v in payload.items() if isinstance(v, str | int | float))[:200]


@command(app, "list")
def list_(
    call: Invocation,
    *,
    subject: Annotated[str | None, typer.Option(help="run/ID, stack/ID or push/REPO/REF.")] = None,
    name: Annotated[str | None, typer.Option(help="Only those.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> None:
    """What happened, newest first."""
    page = call.server.get("/events", subject=subject, name=name, limit=limit, cursor=cursor)
    columns = [field("id"), field("at"), field("name"), field("subject"), ("ABOUT", lambda e: _summary(e["payload"]))]
    call.say.page(page, columns)


def explain(
    call: Invocation,
    kind: Annotated[str, typer.Argument(metavar="run|event|stack", help="What is asked about.")],
    id_: Annotated[str, typer.Argument(metavar="ID", help="Its id; of a run or a stack whatever names it.")],
) -> None:
    """Why something happened, or why not, and what would change that."""
    if kind not in _KINDS:
        raise CommandFailed(Exit.USAGE, "There is no such choice.", f"{kind!r} is none of run, event, stack.")
    meant = quote(id_, safe="") if kind == "event" else call.id_of(kind, id_)
    call.say.one(call.server.get(f"/explain/{kind}/{meant}"), _explained)


def _explained(found: Json) -> str:
    parts = [clean(found["summary"])]
    for decision in found["decisions"]:
        lines = [f"decision  {decision['question']}: {paint(decision['decision'])}  at {decision['at']}"]
        lines += [f"  {_reason(r)}" for r in decision["tree"]]
        if decision["next_check"]:
            lines.append(f"  looked at again {decision['next_check']}")
        parts.append("\n".join(lines))
    happened = [[e["at"], e["name"], _summary(e["payload"])] for e in reversed(found["events"])]
    parts.append(table(["AT", "EVENT", "ABOUT"], happened))
    return "\n\n".join(p for p in parts if p)


def _reason(reason: Any) -> str:
    if not isinstance(reason, dict):
        return clean(reason)
    said = clean(reason.get("message") or reason.get("detail") or reason.get("said") or reason.get("text") or "")
    if not said:
        return clean(" ".join(f"{k}={v}" for k, v in reason.items() if v not in (None, "", [])))
    who = reason.get("policy")
    return (f"{paint(reason.get('outcome') or '')}  " + (f"{clean(who)}: " if who else "") + said).strip()


def inventory(call: Invocation) -> None:
    """What exists on the targets, and what of it nobody should hold."""
    found = call.server.get("/inventory")
    if call.say.is_json:
        call.say.one(found, str)
        return
    names = ("class", "kind", "id", "target", "run_id", "since")
    shown = table([n.replace("_", " ").upper() for n in names], [[i[n] for n in names] for i in found["items"]])
    owed = "\n".join(
        f"{clean(i['id'])}: {clean(i['reason'])}; next try {i['next_try']}; or answer for it: {clean(i['command'])}"
        for i in found["items"]
        if i.get("command")
    )
    call.say.line("\n\n".join(p for p in (shown, owed, f"leftovers {found['leftovers']}") if p))
