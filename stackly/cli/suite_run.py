"""`stackly suite run FILE`: the directory of a suite is pushed to a repository of the local hub, and followed."""

import re
from pathlib import Path

from stackly.cli import measuring, pushing
from stackly.cli.command import Invocation
from stackly.cli.exits import CommandFailed, Exit
from stackly.cli.suite_file import checked
from stackly.spec.runs import ENDED


def suite_run(call: Invocation, file: Path) -> int:
    """Raises: FileInvalid, CommandFailed; the exit is the outcome's."""
    checked(file, target=None, commit="0" * 40)
    source = file.resolve().parent
    if not (source / "stackly.hcl").exists():
        said = f"{source} has no stackly.hcl; a suite runs as part of a stack."
        raise CommandFailed(Exit.USAGE, "This directory is not a stack.", said)
    repo = f"stackly/{repository_name(source.name)}"
    clone_url = pushing.ensure_repository(call, repo)
    before = pushing.head_of(clone_url, "main")
    commit = pushing.push(clone_url, source, branch="main", message=f"Run {file.name}")
    if commit != before:
        call.say.note(f"pushed {commit[:7]} to {repo} main")
        return measuring.follow_and_show(call, measuring.await_run(call, repo, commit, "main"))
    call.say.note(f"main @ {commit[:7]} is the same; it is measured once more")
    last = measuring.await_run(call, repo, commit, "main")
    if last["status"] in ENDED:
        last = call.server.post(f"/runs/{last['id']}/rerun")
    return measuring.follow_and_show(call, last)


def repository_name(directory: str) -> str:
    """Shape: what the hub takes as a name."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", directory).strip(".-") or "suite"
    return f"suite-{name}"[:100]
