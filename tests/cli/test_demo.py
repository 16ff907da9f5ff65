"""The demo against real git and a server that runs what was pushed, at once."""

import subprocess
from pathlib import Path

import pytest
import yaml

from stackly.cli import pushing
from tests.cli.fake_api import Answer, Asked, FakeApi, Stackly, Stream, a_run

REPO = {"full_name": "stackly/demo", "hook_id": "1"}


def _git(repo: Path, *args: str) -> str:
    return subprocess.run(["git", "-C", str(repo), *args], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def bare(tmp_path: Path, api: FakeApi) -> Path:
    """The hub's repository `stackly/demo`; each head of it has been measured, on `slower` as worse."""
    repo = tmp_path / "demo.git"
    subprocess.run(["git", "init", "-q", "--bare", "--initial-branch=main", str(repo)], check=True)
    made = {"made": False}

    def create(asked: Asked) -> Answer:
        made["made"] = True
        return 201, {}

    api.on("GET", "/repos/stackly/demo", lambda _: (200, {"clone_url": str(repo)}) if made["made"] else (404, {}))
    api.on("POST", "/orgs/stackly/repos", create)
    api.on("POST", "/api/v1/repos", lambda a: _connected(api, repo))
    api.get("/stacks", {"items": [], "next": None})
    api.on("GET", "/api/v1/runs", lambda _: (200, {"items": _runs(repo), "next": None}))
    return repo


def _connected(api: FakeApi, repo: Path) -> Answer:
    connected = {**REPO, "clone_url": str(repo)}
    api.get("/repos/stackly/demo", connected)
    return 201, connected


def _runs(repo: Path) -> list[dict[str, object]]:
    heads = _git(repo, "for-each-ref", "--format=%(refname:short) %(objectname)", "refs/heads").splitlines()
    return [_measured(*head.split()) for head in heads]


def _measured(branch: str, commit: str) -> dict[str, object]:
    worse = branch == "slower"
    gate: dict[str, object] = {"decision": "deny" if worse else "allow", "policy": "regression_gate", "reasons": []}
    return a_run(branch, branch=branch, commit=commit, verdict="worse" if worse else "pass", gate=gate)


def test_the_demo_pushes_once_and_shows_the_verdict(api: FakeApi, stackly: Stackly, bare: Path) -> None:
    first = stackly("demo")
    assert first.code == 0
    assert "verdict   pass" in first.out
    assert "inventory  leftovers 0" in first.out
    assert "pushed" in first.err
    head = _git(bare, "rev-parse", "main")
    assert set(_git(bare, "ls-tree", "--name-only", "main").split()) >= {"main.tf", "stackly.hcl", "suite.yaml"}
    again = stackly("demo", "--json")
    assert (again.code, again.json["commit"], _git(bare, "rev-parse", "main")) == (0, head, head)
    assert "measured already" in again.err
    assert len(api.seen("POST", "/repos")) == 1


def test_slower_is_a_branch_on_main_and_blocked(api: FakeApi, stackly: Stackly, bare: Path) -> None:
    said = stackly("demo", "--slower")
    assert said.code == 3
    assert _git(bare, "rev-parse", "slower~1") == _git(bare, "rev-parse", "main")
    assert _git(bare, "diff", "--name-only", "main", "slower") == "suite.yaml"
    suite = yaml.safe_load(_git(bare, "show", "slower:suite.yaml"))
    assert suite["tests"][0]["database"]["settings"]["enable_indexscan"] == "off"
    head = _git(bare, "rev-parse", "slower")
    assert stackly("demo", "--slower").code == 3
    assert _git(bare, "rev-parse", "slower") == head


def test_a_run_that_measured_nothing_is_run_again(api: FakeApi, stackly: Stackly, bare: Path) -> None:
    stackly("demo")
    broken = a_run("old", status="failed", commit=_git(bare, "rev-parse", "main"))
    api.get("/runs", {"items": [broken], "next": None})
    api.on("POST", "/api/v1/runs/old/rerun", (202, a_run("new", status="queued")))
    api.streams("new", Stream([("end", a_run("new"))]))
    said = stackly("demo", "--json")
    assert (said.code, said.json["id"]) == (0, "new")


def test_a_rejected_push_says_why(api: FakeApi, stackly: Stackly, bare: Path) -> None:
    def rejected(_: Asked) -> Answer:
        errors = [{"file": "suite.yaml", "line": 3, "column": 1, "message": "unknown key"}]
        return 200, {"items": [{"commit": _git(bare, "rev-parse", "main"), "errors": errors, "reason": None}]}

    api.get("/runs", {"items": [], "next": None})
    api.on("GET", "/api/v1/stacks", rejected)
    said = stackly("demo")
    assert said.code == 2
    assert "suite.yaml:3:1: unknown key" in said.err


def test_without_a_platform_it_says_what_to_run(stackly: Stackly) -> None:
    said = stackly("demo")
    assert said.code == 6
    assert "stackly up" in said.err


def test_a_push_changes_only_what_differs(tmp_path: Path, bare: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a").write_text("1")
    (source / "terraform.tfstate").write_text("secret")
    first = pushing.push(str(bare), source, branch="main", message="one")
    assert pushing.push(str(bare), source, branch="main", message="again") == first
    assert _git(bare, "ls-tree", "--name-only", "main") == "a"
    (source / "a").rename(source / "b")
    second = pushing.push(str(bare), source, branch="main", message="two")
    assert _git(bare, "rev-parse", "main~1") == first
    assert _git(bare, "ls-tree", "--name-only", second) == "b"


def test_the_demo_ends_at_its_deadline_and_the_run_goes_on(api: FakeApi, stackly: Stackly, bare: Path) -> None:
    def queued(_: Asked) -> Answer:
        runs = [{**r, "id": "r1", "status": "queued", "verdict": None} for r in _runs(bare)]
        return 200, {"items": runs, "next": None}

    api.on("GET", "/api/v1/runs", queued)
    api.streams("r1", Stream([("run", a_run("r1", status="queued"))], holds_s=60))
    said = stackly("demo", "--timeout", "1s")
    assert said.code == 7
    assert "stackly run wait r1" in said.err
