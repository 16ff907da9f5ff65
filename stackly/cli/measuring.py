"""From a commit to its verdict: find the run that the push made, follow it, show it."""

import time
from typing import Any
from urllib.parse import quote

from stackly import clock
from stackly.cli import follow, runs
from stackly.cli.command import Invocation
from stackly.cli.exits import CommandFailed, Exit, of_run
from stackly.cli.speech import clean, table
from stackly.spec.runs import ENDED

Json = dict[str, Any]
_APPEARS_WITHIN_S = 120.0
_LOOK_S = 0.5
_SYNC_AGAIN_S = 15.0


def run_of(call: Invocation, repo: str, commit: str, branch: str) -> Json | None:
    """The newest benchmark of a commit on a branch."""
    cursor: str | None = None
    while True:
        page = call.server.get("/runs", kind="benchmark", limit=200, cursor=cursor, patience_s=60)
        for run in page["items"]:
            if (run["repo"], run["commit"], run["branch"]) == (repo, commit, branch):
                return dict(run)
        cursor = page["next"]
        if cursor is None:
            return None


def measured(run: Json | None) -> bool:
    return run is not None and run["status"] == "succeeded" and run["verdict"] is not None


def await_run(call: Invocation, repo: str, commit: str, branch: str) -> Json:
    """The run that a push makes. Raises: CommandFailed with the stack's own errors, or when none appears."""
    until = clock.monotonic() + _APPEARS_WITHIN_S
    again = clock.monotonic() + _SYNC_AGAIN_S
    while (found := run_of(call, repo, commit, branch)) is None:
        _refuse_rejected(call, repo, commit)
        if clock.monotonic() > until:
            said = f"No run of {commit[:7]} after {_APPEARS_WITHIN_S:.0f} s; look at: stackly event list"
            raise CommandFailed(Exit.TIMED_OUT, "The push started no run.", said, repo=repo, commit=commit)
        if clock.monotonic() > again:
            # The webhook may have been lost; asking for a look is what a sweep would do later.
            call.server.post(f"/repos/{quote(repo)}/sync", patience_s=60)
            again += _SYNC_AGAIN_S
        time.sleep(_LOOK_S)
    return found


def _refuse_rejected(call: Invocation, repo: str, commit: str) -> None:
    for stack in call.server.get("/stacks", repo=repo, status="rejected", patience_s=60)["items"]:
        if stack["commit"] == commit:
            said = "\n".join(f"{e['file']}:{e['line']}:{e['column']}: {e['message']}" for e in stack["errors"])
            why = said or stack["reason"] or "see: stackly stack show"
            raise CommandFailed(Exit.USAGE, "The stack was rejected.", why, errors=stack["errors"])


def follow_and_show(call: Invocation, run: Json, *, timeout_s: float | None = None) -> Exit:
    """To its end, its verdict, and what was destroyed. Raises: CommandFailed with TIMED_OUT; the run goes on."""
    if run["status"] not in ENDED:
        call.say.note(f"run {run['id']}: {run['url']}")
        run = follow.wait(call, run["id"], timeout_s=timeout_s)
    return conclude(call, run)


def conclude(call: Invocation, run: Json) -> Exit:
    runs.present(call, run)
    if call.say.form == "text":
        call.say.line(_destroyed(call, run))
    return of_run(run)


def _destroyed(call: Invocation, run: Json) -> str:
    """What the run owed to destroy, and whether all of it is gone."""
    owed = _obligations(call, run["id"])
    rows = [[o["test"], _ended(o["status"]), o["created_at"], o["closed_at"], o["reason"]] for o in owed]
    shown = table(["DESTROYED TEST", "STATUS", "CREATED", "GONE", "REASON"], rows)
    inventory = call.server.get("/inventory", patience_s=10)
    left = [clean(f"{i['class']} {i['kind']} {i['id']}") for i in inventory["items"] if i["run_id"] == run["id"]]
    said = f"inventory  leftovers {inventory['leftovers']}" + (
        f"; still there: {', '.join(left)}" if left else "; empty"
    )
    return "\n".join(["", *([shown] if shown else []), said])


def _ended(status: str) -> str:
    return "gone" if status == "met" else status


def _obligations(call: Invocation, run: str) -> list[Json]:
    cursor: str | None = None
    found: list[Json] = []
    while True:
        page = call.server.get("/obligations", limit=200, cursor=cursor, patience_s=10)
        found += [o for o in page["items"] if o["run_id"] == run]
        cursor = page["next"]
        if cursor is None:
            return found
