"""`stackly run`: what was tried, what is happening, and what came of it."""

from typing import Annotated, Any

import typer

from stackly.cli import comparing, follow, reports
from stackly.cli.command import Cursor, Invocation, Limit, command
from stackly.cli.exits import Exit, of_run
from stackly.cli.lean import group
from stackly.cli.screen import screen
from stackly.cli.speech import clean, facts, field, short, table
from stackly.spec.runs import ENDED

Json = dict[str, Any]
app = group("run", "Runs.")
Run = Annotated[str, typer.Argument(help="An id, a unique beginning of it, or latest.")]
Timeout = Annotated[str | None, typer.Option(help="Stop waiting after this long, such as 10m; the run goes on.")]
NoApproval = Annotated[bool, typer.Option("--no-wait-approval", help="Do not wait for a person: exit 9.")]


def path(call: Invocation, run: str, rest: str = "") -> str:
    return f"/runs/{call.id_of('run', run)}{rest}"


def leftovers_of(call: Invocation, run: str) -> int:
    """What no live state or run should hold, of one run."""
    items = call.server.get("/inventory", patience_s=5)["items"]
    return sum(i["run_id"] == run and i["class"] in {"overdue", "orphan"} for i in items)


def present(call: Invocation, run: Json) -> None:
    """The run in the form that was asked for."""
    wants_screen = call.say.form == "text" and run["kind"] == "benchmark"
    left = leftovers_of(call, run["id"]) if wants_screen else None
    reports.show(call, run, lambda r: screen(r, left))


def finish(call: Invocation, run: Json) -> Exit:
    """Show a run that was waited for, and exit by its outcome."""
    present(call, run)
    return of_run(run) if run["status"] in ENDED else Exit.WAITING


@command(app, "list")
def list_(
    call: Invocation,
    *,
    stack: Annotated[str | None, typer.Option(help="Of this stack.")] = None,
    status: Annotated[str | None, typer.Option(help="Only those.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only those.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Runs with a parent as well.")] = False,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> None:
    """Newest first."""
    asked: Json = {"stack": stack, "status": status, "kind": kind, "all": all_ or None}
    columns = [
        field("id"),
        ("REPOSITORY", lambda r: r["repo"]),
        field("stack"),
        field("kind"),
        field("status"),
        field("verdict"),
        ("GATE", lambda r: (r["gate"] or {}).get("decision")),
        ("BRANCH", lambda r: f"{r['branch']} @ {short(r['commit'])}"),
        ("CREATED", lambda r: r["created_at"]),
        ("WHY", lambda r: r["reason"] or (r["waiting"] or {}).get("reason")),
    ]
    call.say.page(call.server.get("/runs", limit=limit, cursor=cursor, **asked), columns)


@command(app, "show", reports=True)
def show(call: Invocation, run: Run) -> None:
    """One run on one screen."""
    present(call, call.server.get(path(call, run)))


@command(app, "start", reports=True)
def start(  # noqa: PLR0913 - each is an option of the command
    call: Invocation,
    stack: Annotated[
        str, typer.Argument(help="A stack: its id, a unique beginning of it, a name, or OWNER/REPO:PATH@REF.")
    ],
    *,
    state: Annotated[str, typer.Option(help="Which of its states.")] = "default",
    ref: Annotated[str | None, typer.Option(help="The branch whose stack is meant.")] = None,
    kind: Annotated[
        str | None, typer.Option(help="benchmark or deploy; the stack's own unless told otherwise.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for its end, and exit by its outcome.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would do.")] = False,
    timeout: Timeout = None,
    no_wait_approval: NoApproval = False,
) -> int | None:
    """Start a run as a push would."""
    limit_s = follow.seconds_of(timeout)
    body = {"stack": stack, "state": state, "ref": ref, "kind": kind, "dry_run": dry_run}
    made = call.server.post("/runs", {k: v for k, v in body.items() if v is not None})
    if dry_run:
        call.say.one(made, _planned)
        return None
    if not wait:
        present(call, made)
        return None
    return finish(call, follow.wait(call, made["id"], timeout_s=limit_s, for_person=not no_wait_approval))


def _planned(planned: Json) -> str:
    said = [
        ("would run", f"{planned['kind']} of {planned['stack']} in {planned['repo']}, state {planned['state']}"),
        ("commit", f"{planned['branch']} @ {planned['commit']}"),
        ("phases", " ".join(planned["phases"])),
        ("tests", " ".join(str(t.get("test") or t.get("name")) for t in planned["tests"])),
    ]
    return facts(said)


@command(app, "wait", reports=True)
def wait(call: Invocation, run: Run, *, timeout: Timeout = None, no_wait_approval: NoApproval = False) -> int:
    """Wait for a run's end, and exit by its outcome."""
    limit_s = follow.seconds_of(timeout)
    return finish(call, follow.wait(call, call.id_of("run", run), timeout_s=limit_s, for_person=not no_wait_approval))


def _log_line(line: Json) -> str:
    where = "/".join(p for p in (line["test"], line["source"]) if p)
    return clean(f"{line['at']} {where} {line['text']}")


@command(app, "logs")
def logs(
    call: Invocation,
    run: Run,
    *,
    is_followed: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run ends.")] = False,
    test: Annotated[str | None, typer.Option(help="Of this test only.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, max=5000, help="How many at most; all unless told.")] = None,
    cursor: Cursor = None,
) -> None:
    """What a run said, oldest first."""
    if is_followed:
        for event in call.server.events(path(call, run, "/stream")):
            if event.name == "log" and test in {None, event.data["test"]}:
                call.say.item(event.data, _log_line)
        return
    whole = path(call, run, "/logs")  # once: `latest` may be another run a moment later
    page = call.server.get(whole, limit=limit, cursor=cursor, test=test)
    while limit is None and page["next"]:
        more = call.server.get(whole, cursor=page["next"], test=test)
        page = {"items": page["items"] + more["items"], "next": more["next"]}
    if call.say.form == "text":
        for line in page["items"]:
            call.say.line(_log_line(line))
    else:
        call.say.page(page, [])


@command(app, "cancel")
def cancel(call: Invocation, run: Run) -> None:
    """Gentle first, then firm; what was created is destroyed."""
    call.say.one(
        call.server.post(path(call, run, "/cancel")),
        lambda r: f"run {r['id']} of {r['repo']} is {r['status']}, asked to end",
    )


@command(app, "rerun")
def rerun(call: Invocation, run: Run) -> None:
    """The same resolved config once more, as a new run."""
    call.say.one(
        call.server.post(path(call, run, "/rerun")), lambda r: f"run {r['id']} of {r['repo']} is {r['status']}"
    )


@command(app, "compare", reports=True)
def compare(
    call: Invocation,
    first: Annotated[str, typer.Argument(metavar="[BASE] CANDIDATE", help="Two runs, or one beside its own baseline.")],
    second: Annotated[str | None, typer.Argument(hidden=True)] = None,
) -> int:
    """What changed between two runs; exits by the gate."""
    if second is None:
        run = comparing.ended(call.server.get(path(call, first)))
    else:
        base, candidate = call.server.get(path(call, first)), call.server.get(path(call, second))
        run = comparing.beside(comparing.ended(base), comparing.ended(candidate))
    reports.show(call, run, _compared)
    return of_run(run)


def _compared(run: Json) -> str:
    rows = [_compared_row(t["name"], c) for t in run["tests"] for c in t["comparisons"]]
    heads = ["TEST", "METRIC", "BASELINE", "CANDIDATE", "CHANGE", "VERDICT", "WHY"]
    base = (run["baseline"] or {}).get("run_id")
    if not rows:
        return f"run {run['id']} has no baseline: thresholds alone decide; verdict {run['verdict']}"
    gate = (run["gate"] or {}).get("decision", "-")
    return f"run {run['id']} beside run {base}: {run['verdict']}, gate {gate}\n\n{table(heads, rows)}"


def _compared_row(test: str, c: Json) -> list[object]:
    values = [_value(c["baseline"]), _value(c["candidate"]), _percent(c["change_pct"])]
    return [test, c["metric"], *values, c["verdict"], c["reason"]]


def _value(value: float | None) -> str:
    return "-" if value is None else f"{value:,.2f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:+.1f}%"
