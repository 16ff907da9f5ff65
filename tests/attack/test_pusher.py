"""Somebody who may push, to look around: their code runs in a sandbox, their files are code, their names are text."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import sinks
from tests.e2e.house import PLAIN_TF, House, Repository, plain

pytestmark = [pytest.mark.e2e, pytest.mark.real, pytest.mark.timeout(600)]


def _tries(home: Path, marker: str) -> str:
    """A plan that reads the home, and a provisioner that reads, lists, writes and puts links where states are."""
    secrets = [home / name for name in ("token", "hub-token", "config.json", "keyring.json", "agent/identity.json")]
    words = " ".join(map(str, secrets))
    # What stands above its own directory is made of nothing in a sandbox, and is gone with it.
    above = "|".join(str(home / part) for part in ("", "agent", "agent/runs")).replace("/|", "|")
    return f"""
locals {{ found = [for p in {json.dumps([str(p) for p in secrets])} : try(base64encode(file(p)), "nothing")] }}
resource "terraform_data" "look" {{
  for_each = toset(local.found)
  input    = each.value
  provisioner "local-exec" {{
    command = <<-EOT
      for f in {words}; do cat $f | base64 -w0; echo {marker} >> $f; done 2>/dev/null
      for p in /proc/[0-9]*; do tr '\\0' '\\n' < $p/environ | grep -i -E 'token|secret|password'; done 2>/dev/null
      find {home} -writable 2>/dev/null | grep -v "$(cd ../..; pwd)" | grep -v -x -E '{above}' | sed 's/^/WRITA''BLE /'
      find / -path '*plugin*' -name 'terraform-provider-*' -writable 2>/dev/null | sed 's/^/WRITA''BLE /'
      touch {home}/agent/{marker} {home}/{marker} /etc/{marker} 2>/dev/null
      true
    EOT
  }}
}}
output "found" {{ value = local.found }}
"""


_LINKS = """
resource "terraform_data" "link" {
  provisioner "local-exec" {
    command = "cd ../.. && for f in $(find . -name 'terraform.tfstate'); do rm -f $f; %s; done; true"
  }
}
"""
_ERRORED = {
    "version": 4,
    "terraform_version": "1.11.4",
    "serial": 99,
    "lineage": "evil",
    "outputs": {},
    "resources": [
        {
            "mode": "managed",
            "type": "terraform_data",
            "name": "victim",
            "provider": 'provider["terraform.io/builtin/terraform"]',
            "instances": [{"schema_version": 0, "attributes": {"id": "evil"}}],
        }
    ],
}


@pytest.fixture(scope="module")
def pushed(platform: House) -> Iterator[Repository]:
    """One push with one stack for each attack; their runs are carried out beside each other."""
    home = platform.home
    errored = json.dumps(_ERRORED)
    files = {
        "look/main.tf": _tries(home, "gotcha"),
        "link/main.tf": _LINKS % f"ln -s {home}/token $f",
        "fifo/main.tf": _LINKS % "mkfifo $f",
        "errored/main.tf": PLAIN_TF + 'module "called" {\n  source = "./called"\n}\n',
        "errored/errored.tfstate": errored,
        "errored/terraform.tfstate": errored,
        "errored/called/main.tf": PLAIN_TF,
        "errored/called/errored.tfstate": errored,
    }
    files |= {f"{name}/stackly.hcl": plain(f"attack-{name}") for name in ("look", "link", "fifo", "errored")}
    with tempfile.TemporaryDirectory() as place:
        repo = platform.repository("attack-pusher", Path(place))
        repo.push(dict(files), "look around")
        yield repo
        # Whose state was taken away: what their runs left is kept until their states are gone.
        for name in ("link", "fifo"):
            asked = platform.post(f"stacks/attack-{name}/destroy")
            platform.ended(asked["id"])


def _ended(platform: House, name: str) -> dict[str, Any]:
    (run,) = platform.until(lambda: platform.runs(stack=f"attack-{name}"), bool, 120)
    return platform.ended(run["id"], 240)


def _log(platform: House, run: str) -> str:
    return json.dumps(platform.get(f"runs/{run}/logs", limit=500))


def test_code_reads_and_writes_nothing_but_its_own(platform: House, pushed: Repository, isolated: None) -> None:
    ended = _ended(platform, "look")
    said = json.dumps(ended) + _log(platform, ended["id"])
    secrets = {
        "token": platform.token.encode(),
        "hub-token": (platform.home / "hub-token").read_bytes().strip(),
        **{k: v.encode() for k, v in platform.secrets.items()},
    }
    assert sinks.found(secrets, [("run", said.encode())]) == []
    assert base64.b64encode(platform.token.encode()[:24]).decode() not in said
    assert "WRITABLE" not in said
    assert [str(p) for p in platform.home.rglob("gotcha")] == []
    assert not Path("/etc/gotcha").exists()
    assert b"gotcha" not in (platform.home / "token").read_bytes()


@pytest.mark.parametrize("name", ["link", "fifo"])
def test_what_stands_in_for_a_state_is_no_state(platform: House, pushed: Repository, name: str) -> None:
    ended = _ended(platform, name)
    assert ended["status"] == "failed", "an apply without a whole state has not succeeded"
    said = json.dumps(ended) + json.dumps(platform.stack(f"attack-{name}")) + _log(platform, ended["id"])
    assert platform.token not in said
    assert "state" in ended["reason"]


def test_a_committed_state_is_no_state(platform: House, pushed: Repository) -> None:
    ended = _ended(platform, "errored")
    assert (ended["status"], ended["changed"]) == ("succeeded", True), ended["reason"]
    stack = platform.stack("attack-errored")
    events = platform.get("events", subject=f"stack/{stack['id']}", limit=100)["items"]
    told = json.dumps([e["payload"] for e in events if e["name"] == "file_left_out"])
    for name in ("errored.tfstate", "terraform.tfstate", "called/errored.tfstate"):
        assert name in told, told
    again = pushed.push({"errored/README.md": "words"}, "once more")
    (run,) = platform.until(
        lambda: [r for r in platform.runs(stack="attack-errored") if r["commit"] == again], bool, 120
    )
    second = platform.ended(run["id"], 240)
    assert (second["status"], second["changed"]) == ("succeeded", False), "what the files named was never taken over"


def test_names_of_any_bytes_cost_themselves_alone(platform: House, clones: Path) -> None:
    repo = platform.repository("attack-names", clones)
    first = repo.push({"a/stackly.hcl": plain("attack-names"), "a/main.tf": PLAIN_TF}, "first")
    platform.processed(repo, main=first)
    latin, line = b"refs/heads/caf\xe9", "refs/heads/line\u2028end".encode()
    wrong = [
        b"HEAD:" + ref
        for ref in (latin, line, b"refs/heads/-x", b"refs/heads/\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x92\xbb")
    ]
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
    subprocess.run(
        [b"git", b"-C", os.fsencode(repo.clone), b"push", b"-q", b"origin", *wrong], env=environment, check=True
    )
    last = repo.push({"a/README.md": "words"}, "after them")
    platform.processed(repo, main=last, **{"line\u2028end": first})
    shown = platform.get(f"repos/{repo.id}")
    assert shown["status"] == "active"
    failed = [e["payload"] for e in platform.get("events", name="sync_failed", limit=100)["items"]]
    (told,) = [e["reason"] for e in failed if e["repo"].endswith(repo.name)]
    assert "caf\\xe9 is not UTF-8" in told, "the one that is no text, by its name"


def test_a_strangers_repository_under_an_old_name_is_not_ours(platform: House, clones: Path) -> None:
    """Renamed away, and somebody else takes the name: what they push is never taken for it."""
    repo = platform.repository("attack-renamed", clones / "ours")
    first = repo.push({"a/stackly.hcl": plain("attack-renamed"), "a/main.tf": PLAIN_TF}, "ours")
    platform.processed(repo, main=first)
    platform.hub("PATCH", f"/repos/developer/{repo.name}", {"name": "attack-moved"})
    platform.hub("POST", "/user/repos", {"name": repo.name})
    theirs = Repository(platform, repo.name, repo.url, clones / "theirs" / repo.name, "").begin()
    evil = theirs.push({"evil/stackly.hcl": plain("attack-evil"), "evil/main.tf": PLAIN_TF}, "theirs")
    for _ in range(2):
        platform.post(f"repos/{repo.id}/sync")
        platform.get(f"repos/{repo.id}")
    repo.git("remote", "set-url", "origin", repo.url.replace("attack-renamed", "attack-moved"))
    last = repo.push({"a/README.md": "still ours"}, "still ours")
    platform.processed(repo, main=last)
    commits = {s["commit"] for s in platform.get("stacks", repo=repo.id, limit=100)["items"]}
    assert evil not in commits
    assert [s for s in platform.get("stacks", limit=100)["items"] if s["path"] == "evil"] == []
