"""History is rewritten, and the applied commit is collected as garbage: what it made is destroyed by its own code."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.house import House, Repository, plain

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]

# Only the code that was applied knows what its destruction has to do.
_MAIN = """resource "terraform_data" "thing" {{
  provisioner "local-exec" {{
    command = "echo made >> {trace}"
  }}
  provisioner "local-exec" {{
    when    = destroy
    command = "echo destroyed >> {trace}"
  }}
}}
"""


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


@pytest.mark.parametrize("mirror", ["collected", "lost"])
def test_what_a_vanished_commit_made_is_destroyed_by_its_own_code(
    platform: House, clones: Path, tmp_path: Path, mirror: str
) -> None:
    name, trace = f"vanished-{mirror}", tmp_path / "trace"
    repo = platform.repository(name, clones)
    applied = repo.push({"a/stackly.hcl": plain(name), "a/main.tf": _MAIN.format(trace=trace)}, "make it")
    run = platform.ended(platform.until(lambda: platform.runs(stack=name), bool)[0]["id"])
    assert (run["status"], run["commit"]) == ("succeeded", applied), run
    assert trace.read_text().split() == ["made"]

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
    assert trace.read_text().split() == ["made", "destroyed"]
    assert [s["status"] for s in platform.stack(stack["id"])["states"]] == ["destroyed"]
