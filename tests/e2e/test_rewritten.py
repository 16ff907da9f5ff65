"""History is rewritten, and the applied commit is collected as garbage: what it made is destroyed by its own code."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.house import House, Repository, plain
from tests.ledger import Ledger, ledger

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]


# Only the code that was applied knows what its destruction has to do.
def _module(cloud: Ledger) -> str:
    made, gone = cloud.provisioner(cloud.report("made")), cloud.provisioner(cloud.report("destroyed"), when="destroy")
    return f'resource "terraform_data" "thing" {{\n{made}{gone}}}\n'


# A mirror holds no blob that nobody read: its packs say so, and a git that is told so too.
_GIT = ("git", "-c", "safe.directory=*", "-c", "remote.origin.promisor=true")


def _git(repository: Path, *args: str) -> bool:
    return subprocess.run([*_GIT, "-C", str(repository), *args], check=False, capture_output=True).returncode == 0


def _holding(platform: House, commit: str) -> Path:
    (found,) = [r for r in (platform.home / "hub").glob("**/*.git") if _git(r, "cat-file", "-e", commit)]
    return found


def _collected(repository: Path, commit: str) -> bool:
    """Everything that no ref holds goes. Returns whether the commit went."""
    for args in (("reflog", "expire", "--expire=now", "--all"), ("gc", "-q", "--prune=now")):
        subprocess.run([*_GIT, "-C", str(repository), *args], check=True)
    return not _git(repository, "cat-file", "-e", commit)


def _rewritten(repo: Repository) -> str:
    repo.git("checkout", "-q", "--orphan", "again")
    repo.git("rm", "-q", "-rf", ".")
    repo.write({"README.md": "another beginning\n"})
    commit = repo.commit("nothing of this was there before")
    repo.git("push", "-q", "--force", "origin", "HEAD:refs/heads/main")
    return commit


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Ledger]:
    with ledger(tmp_path / "trace") as kept:
        yield kept


@pytest.mark.parametrize("mirror", ["collected", "lost"])
def test_what_a_vanished_commit_made_is_destroyed_by_its_own_code(
    platform: House, clones: Path, cloud: Ledger, mirror: str
) -> None:
    name = f"vanished-{mirror}"
    repo = platform.repository(name, clones)
    applied = repo.push({"a/stackly.hcl": plain(name), "a/main.tf": _module(cloud)}, "make it")
    run = platform.ended(platform.until(lambda: platform.runs(stack=name), bool)[0]["id"])
    assert (run["status"], run["commit"]) == ("succeeded", applied), run
    assert cloud.words() == ["made"]

    platform.processed(repo, main=_rewritten(repo))
    stack = platform.stack(name)
    assert stack["status"] == "loose"
    upstream = _holding(platform, applied)
    assert _collected(upstream, applied)
    (own,) = [m for m in (platform.home / "mirrors").glob("*") if repo.id in m.name]
    if mirror == "collected":
        assert _git(own, "show-ref", "--verify", f"refs/stackly/keep/{applied}"), "its own ref holds an applied commit"
        assert not _collected(own, applied)
    else:
        shutil.rmtree(own)

    ended = platform.ended(platform.post(f"stacks/{stack['id']}/destroy")["id"])
    assert (ended["status"], ended["commit"]) == ("succeeded", applied), ended["reason"]
    assert cloud.words() == ["made", "destroyed"]
    assert [s["status"] for s in platform.stack(stack["id"])["states"]] == ["destroyed"]
