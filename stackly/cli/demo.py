"""`stackly demo`: an example becomes a repository of the hub, its push a verdict; what was made is destroyed."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from stackly.cli import follow, measuring, pushing
from stackly.cli.command import Invocation
from stackly.cli.examples import example
from stackly.cli.exits import CommandFailed, Exit
from stackly.spec.runs import ENDED

Json = dict[str, Any]
_SLOWER = "slower"
# Every row is then found by reading all of them, by one process: parallel workers' commits would be counted too.
SLOW_SETTINGS = {
    **dict.fromkeys(("enable_indexscan", "enable_bitmapscan", "enable_indexonlyscan"), "off"),
    "max_parallel_workers_per_gather": "0",
}


class DemoTarget(StrEnum):
    LOCAL = "local"
    DOCKER = "docker"


_REPOSITORY = {DemoTarget.LOCAL: "stackly/demo", DemoTarget.DOCKER: "stackly/demo-docker"}
_EXAMPLE = {DemoTarget.LOCAL: "pg-standalone", DemoTarget.DOCKER: "pg-docker"}


def slow_down(tree: Path) -> None:
    """Switch index scans off in the suite of a tree, and leave the verdict to the comparison.

    On a small or busy machine an absolute limit would answer `fail` before the comparison could say `worse`.
    """
    import yaml  # late: only this needs it

    file = tree / "suite.yaml"
    suite = yaml.safe_load(file.read_text(encoding="utf-8"))
    for test in suite["tests"]:
        test.pop("thresholds", None)
        test["database"]["settings"] = {**test["database"].get("settings", {}), **SLOW_SETTINGS}
    file.write_text(yaml.safe_dump(suite, sort_keys=False), encoding="utf-8")


def demo(
    call: Invocation,
    *,
    target: Annotated[DemoTarget, typer.Option(help="Where it is measured.")] = DemoTarget.LOCAL,
    slower: Annotated[bool, typer.Option("--slower", help="Push a change that measures worse.")] = False,
    timeout: Annotated[str, typer.Option(help="Stop following a run after this long; the run goes on.")] = "15m",
) -> int:
    """Push an example, follow its run, print the verdict; exits by the outcome."""
    limit_s = follow.seconds_of(timeout)
    repo, source = _REPOSITORY[target], example(_EXAMPLE[target])
    clone_url = pushing.ensure_repository(call, repo)
    run = _base(call, repo, clone_url, source)
    if not slower:
        return measuring.follow_and_show(call, run, timeout_s=limit_s)
    _finished(call, run, limit_s)
    return measuring.follow_and_show(call, _slower(call, repo, clone_url, source), timeout_s=limit_s)


def _base(call: Invocation, repo: str, clone_url: str, source: Path) -> Json:
    """The run of main's head; the example is pushed first when there is no head."""
    commit = pushing.head_of(clone_url, "main")
    if commit is None:
        commit = pushing.push(clone_url, source, branch="main", message=f"Add the {source.name} benchmark")
        call.say.note(f"pushed {commit[:7]} to {repo} main")
    return _run_of_head(call, repo, commit, "main")


def _run_of_head(call: Invocation, repo: str, commit: str, branch: str) -> Json:
    """A run that measured this head, that is about to, or a new one where the last was broken off."""
    run = measuring.await_run(call, repo, commit, branch)
    if measuring.measured(run):
        call.say.note(f"{branch} @ {commit[:7]} is measured already, by run {run['id']}")
    elif run["status"] in ENDED:
        call.say.note(f"run {run['id']} {run['status']} without a valid measurement; it is run again")
        run = call.server.post(f"/runs/{run['id']}/rerun", patience_s=30)
    return run


def _finished(call: Invocation, run: Json, timeout_s: float | None) -> None:
    """Something is only slower than something that was measured. Raises: CommandFailed."""
    if run["status"] not in ENDED:
        call.say.note(f"main is measured first, by run {run['id']}")
        run = follow.wait(call, run["id"], timeout_s=timeout_s)
    if not measuring.measured(run):
        said = f"Run {run['id']} of main is {run['status']}; look at: stackly run show {run['id']}"
        raise CommandFailed(Exit.FAILED, "There is nothing to be slower than.", said, run=run["id"])


def _slower(call: Invocation, repo: str, clone_url: str, source: Path) -> Json:
    before = pushing.head_of(clone_url, _SLOWER)
    commit = pushing.push(clone_url, source, branch=_SLOWER, message="Switch index scans off", change=slow_down)
    if commit != before:
        call.say.note(f"pushed {commit[:7]} to {repo} {_SLOWER}: index scans off")
    return _run_of_head(call, repo, commit, _SLOWER)
