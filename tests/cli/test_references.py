"""What means more than one thing is refused by every verb, with nothing asked for; questions name the repository."""

import json
import os
import pty
from typing import Any

import pytest

from stackly.cli import main
from tests.cli.fake_api import Asked, FakeApi, Stackly, a_run, problem

CANDIDATES = [
    {"id": "c1", "repository": "acme/shop", "path": "orders", "ref": "refs/heads/main", "status": "active"},
    {"id": "c2", "repository": "other/shop", "path": "orders", "ref": "refs/heads/main", "status": "active"},
]
VERBS = [
    "stack show two",
    "stack show two --ref main",
    "stack history two",
    "stack destroy two --yes",
    "stack destroy two --cancel",
    "stack associate two c2",
    "stack associate c1 two",
    "stack waive two --reason r --yes",
    "stack list --repo two",
    "run list --stack two",
    "run start two",
    "run show two",
    "run wait two",
    "run logs two",
    "run logs two -f",
    "run cancel two",
    "run rerun two",
    "run compare two",
    "run compare r1 two",
    "approval show two",
    "approve two --digest d",
    "deny two --reason r",
    "explain run two",
    "explain stack two",
    "repo show two",
    "repo sync two",
    "repo deliveries two",
    "repo rotate two",
    "repo redeliver two g",
    "obligation show two",
    "obligation waive two --reason r",
    "obligation waive two --reason r --yes",
]


@pytest.fixture
def doubtful(api: FakeApi) -> FakeApi:
    """`two` means two things, whatever it is asked as."""
    refused = problem("reference-ambiguous", 422) | {"kind": "invalid", "candidates": CANDIDATES}

    def resolve(asked: Asked) -> tuple[int, dict[str, Any]]:
        if "two" in {asked.query.get("reference"), asked.query.get("stack"), asked.query.get("repo")}:
            return 422, refused
        if asked.method == "POST" and asked.body.get("stack") == "two":
            return 422, refused
        return 200, {
            "id": asked.query["reference"],
            "name": "n",
            "ref": "refs/heads/main",
            "path": "",
            "repository": "o/r",
        }

    for noun in ("stack", "run", "repo", "obligation"):
        api.on("GET", f"/api/v1/resolve/{noun}", resolve)
    for method, path in (("GET", "/stacks"), ("GET", "/runs"), ("POST", "/runs")):
        api.on(method, f"/api/v1{path}", resolve)
    api.get("/runs/r1", a_run("r1"))
    return api


@pytest.mark.parametrize("verb", VERBS)
def test_what_means_two_things_is_refused_with_both(doubtful: FakeApi, stackly: Stackly, verb: str) -> None:
    said = stackly(*verb.split(), "--json")
    assert said.code == 2, said.err
    assert [c["id"] for c in json.loads(said.err)["candidates"]] == ["c1", "c2"]
    assert said.out == ""
    assert not [a for a in doubtful.asked if a.method == "POST" and a.path != "/api/v1/runs"], "nothing was asked for"


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("stack show acme/shop:orders@feature/x", "/stacks/c9"),
        ("run show latest", "/runs/c9"),
        ("repo show shop", "/repos/c9"),
        ("obligation show 01", "/obligations/c9"),
    ],
)
def test_what_a_reference_means_is_asked_for_by_its_id(api: FakeApi, stackly: Stackly, verb: str, path: str) -> None:
    noun, _, reference = verb.split()
    api.get(f"/resolve/{noun}", {"id": "c9"})
    stackly(*verb.split(), "--json")
    assert [a.query["reference"] for a in api.seen("GET", f"/resolve/{noun}")] == [reference]
    assert api.seen("GET", path)


def test_a_question_names_the_repository(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    where = {
        "repository": "other/shop",
        "path": "orders",
        "ref": "refs/heads/main",
        "status": "loose",
        "name": "orders",
    }
    api.get("/resolve/stack", {"id": "c2", **where})
    for verb in (["destroy"], ["waive", "--reason", "r"]):
        ours, theirs = pty.openpty()
        os.write(ours, b"n\n")
        with os.fdopen(theirs) as terminal:
            monkeypatch.setattr("sys.stdin", terminal)
            assert main.run(["stack", verb[0], "orders", *verb[1:]]) == 2
        os.close(ours)
        assert "orders (other/shop:orders@main, c2)" in capsys.readouterr().err
    assert not [a for a in api.asked if a.method == "POST"]
