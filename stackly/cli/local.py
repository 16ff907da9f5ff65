"""`stackly up`, `down`, `status`, `logs`, `doctor`: the platform on this machine, which is a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import typer

from stackly.cli.command import Invocation, Yes
from stackly.cli.exits import CommandFailed, Exit, of_problem
from stackly.cli.speech import clean, facts, table

Json = dict[str, Any]
_STATUS_OF_DEFECT = 500


def ask(call: Invocation, *args: str) -> Json:
    """What `python -m stackly.local` answers; its progress goes to stderr. Raises: CommandFailed."""
    with _started(call, args, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        problem = _told(call, process.stderr)
        said = process.stdout.read()
    if process.returncode or problem:
        raise _failed(problem, process.returncode)
    answer: Json = json.loads(said)
    return answer


def _started(call: Invocation, args: tuple[str, ...], *, stderr: int) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "stackly.local", *args],
        env={**os.environ, "STACKLY_HOME": str(call.place.home)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        errors="replace",
    )


def _told(call: Invocation, lines: Iterator[str] | Any) -> Json | None:
    """Pass progress on; return the problem, if there was one."""
    problem: Json | None = None
    for line in lines:
        try:
            said = json.loads(line)
        except ValueError:
            said = line.rstrip()
        if not isinstance(said, dict):
            call.say.note(str(said))
        elif "problem" in said:
            problem = said["problem"]
        else:
            call.say.note(_progress(said))
    return problem


def _progress(said: Json) -> str:
    return f"{said['component']:<11} {said['state']}" + (f": {said['reason']}" if said.get("reason") else "")


def _failed(problem: Json | None, code: int) -> CommandFailed:
    if problem is None:
        return CommandFailed(
            Exit.INTERNAL, "The local platform failed.", f"`python -m stackly.local` ended with {code}."
        )
    failed = CommandFailed(of_problem(_STATUS_OF_DEFECT, problem), problem["title"], problem["detail"])
    failed.problem = problem
    return failed


def up(call: Invocation) -> None:
    """Start everything on this machine, or find it running."""
    call.say.one(ask(call, "up"), _where)


def _where(found: Json) -> str:
    told = found["endpoints"]
    said = [
        ("page", told.get("ui_url")),
        ("api", told.get("api_url")),
        ("hub", told.get("hub_url")),
        ("temporal", told.get("temporal_address")),
        ("database", told.get("database_url")),
        ("isolation", (found.get("isolation") or {}).get("note")),
        ("next", "stackly demo"),
    ]
    how = "was running already" if found["adopted"] else "runs"
    replaced = " Its parts ran other code, and were started anew." if found.get("replaced") else ""
    return f"Stackly {how}.{replaced}\n{facts(said)}"


def down(
    call: Invocation,
    *,
    wipe: Annotated[bool, typer.Option("--wipe", help="Forget everything: data, runs, repositories.")] = False,
    keeps: Annotated[
        bool,
        typer.Option("--keep-machines", help="Leave the machines of tests running until the next `down`."),
    ] = False,
    yes: Yes = False,
) -> None:
    """Stop everything on this machine, the machines of tests last."""
    if wipe:
        call.confirm(f"Forget everything in {call.place.home}?", yes=yes)
    options = [*(["--wipe"] if wipe else []), *(["--keep-machines"] if keeps else [])]
    call.say.one(ask(call, "down", *options), _stopped)


def _stopped(found: Json) -> str:
    things = ", ".join(f"{n} {kind}" for kind, n in found["machines"].items())
    if found["kept"]:
        return f"The platform is stopped. Its machines go on: {things or 'none'}. End them with: stackly down"
    with_them = f", machines included ({things})" if things else ""
    return f"Everything is stopped{with_them}{', and forgotten' if found['wiped'] else ''}."


def status(call: Invocation) -> None:
    """The components of the local platform."""
    call.say.one(ask(call, "status"), lambda found: _status(found, call.place.endpoints()))


def _status(found: Json, endpoints: dict[str, str]) -> str:
    names = ("name", "state", "pid", "address", "restarts", "reason")
    rows = [[c[n] for n in names] for c in found["components"]]
    note = (found.get("isolation") or {}).get("note")
    page = found.get("ui_url")
    where = facts(
        [("page", page), ("api", endpoints.get("api_url")), ("hub", endpoints.get("hub_url")), ("isolation", note)]
    )
    parts = (found.get("trouble"), table([n.upper() for n in names], rows), where)
    return "\n\n".join(p for p in parts if p)


def logs(
    call: Invocation,
    component: Annotated[str, typer.Argument(help="As `stackly status` names it, or `supervisor`.")],
    *,
    is_followed: Annotated[bool, typer.Option("--follow", "-f", help="Go on until interrupted.")] = False,
) -> None:
    """The log of one component."""
    args = ("logs", component, *(["-f"] if is_followed else []))
    with _started(call, args, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        show: Callable[[str], Json] = lambda line: {"component": component, "text": line}  # noqa: E731 - named once
        items = []
        for line in process.stdout:
            text = line.rstrip("\n")
            if call.say.form == "json" and not is_followed:
                items.append(show(text))
            else:
                call.say.item(show(text), lambda said: clean(said["text"]))
        problem = _told(call, process.stderr)
    if process.returncode or problem:
        raise _failed(problem, process.returncode)
    if call.say.form == "json" and not is_followed:
        call.say.page({"items": items, "next": None}, [])


def doctor(call: Invocation) -> int:
    """What this machine lacks, and the one command that mends it."""
    found = ask(call, "doctor")
    lacking = [f for f in found["findings"] if not f["ok"] and not f["optional"]]
    call.say.one(found, _findings)
    return Exit.FAILED if lacking else Exit.OK


def _findings(found: Json) -> str:
    rows = [[f["name"], _standing(f), f["detail"], f["fix"]] for f in found["findings"]]
    return table(["WHAT", "STATE", "DETAIL", "FIX"], rows)


def _standing(finding: Json) -> str:
    if finding["ok"]:
        return "ok"
    return finding.get("state") or ("absent, optional" if finding["optional"] else "missing")
