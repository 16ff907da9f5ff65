"""`stackly obligation`: whose teardown is owed, what is left of it, and who answers for it."""

import json
import os
import pty
from typing import Any

import pytest

from stackly.cli import main
from tests.cli.fake_api import AT, FakeApi, Stackly

WHY = "terraform destroy failed (exit 1): Instance cannot be destroyed"
OWED: dict[str, Any] = {
    "id": "o1",
    "run_id": "r1",
    "state_id": "s1",
    "repository": "acme/shop",
    "stack": "orders",
    "stack_id": "c1",
    "test": "tpcb",
    "status": "open",
    "due_at": AT,
    "ladder": 2,
    "reason": WHY,
    "waived_by": None,
    "created_at": AT,
    "closed_at": None,
}
LEFT: dict[str, Any] = {
    **OWED,
    "left": [
        {"class": "overdue", "kind": "container", "id": "pg-0", "target": "docker@g1", "run_id": "r1", "since": AT},
        {"class": "overdue", "kind": "network", "id": "net-0", "target": "docker@g1", "run_id": "r1", "since": AT},
    ],
    "resources": 1,
}

_WHERE = {"repository": "acme/shop", "path": "", "ref": "refs/heads/main"}


@pytest.fixture
def owed(api: FakeApi) -> FakeApi:
    api.get("/obligations/o1", LEFT)
    api.on("POST", "/api/v1/obligations/o1/waive", (200, {"ok": True, "id": "o1"}))
    return api


def test_a_list_says_whose_it_is_and_how_often_it_failed(api: FakeApi, stackly: Stackly) -> None:
    api.get("/obligations", {"items": [OWED], "next": None})
    heads, row = stackly("obligation", "list").out.splitlines()
    assert "FAILED TRIES" in heads
    assert "LADDER" not in heads
    assert {"o1", "acme/shop", "orders", "tpcb", "open", "2", "r1"} <= set(row.split())
    assert stackly("obligation", "list", "--json").json["items"] == [OWED]


def test_one_shows_what_is_left_and_what_ends_it(owed: FakeApi, stackly: Stackly) -> None:
    out = stackly("obligation", "show", "o1").out
    for told in ("acme/shop", "orders", "tpcb", WHY, "pg-0", "net-0", "docker", "1 resource\n"):
        assert told in out
    assert "stackly obligation waive o1" in out
    assert stackly("obligation", "show", "o1", "--json").json == LEFT


def test_one_of_which_nothing_is_left_says_so(owed: FakeApi, stackly: Stackly) -> None:
    owed.get("/obligations/o1", {**LEFT, "left": [], "resources": None, "status": "met"})
    out = stackly("obligation", "show", "o1").out
    assert "nothing that a target shows" in out
    assert "obligation waive" not in out, "there is nothing to answer for"


def test_it_is_waived_with_a_reason(owed: FakeApi, stackly: Stackly) -> None:
    said = stackly("obligation", "waive", "o1", "--reason", "gone by hand", "--yes")
    assert (said.code, said.out.strip()) == (0, "obligation o1 is waived: test tpcb of stack o1 (acme/shop:db@main)")
    assert owed.seen("POST", "/obligations/o1/waive")[0].body == {"reason": "gone by hand"}
    assert stackly("obligation", "waive", "o1", "--yes").code == 2, "a reason is needed"


@pytest.mark.parametrize(("answer", "code"), [(b"n\n", 2), (b"y\n", 0)])
def test_the_question_names_whose_it_is_and_what_is_left(
    owed: FakeApi, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answer: bytes, code: int
) -> None:
    ours, theirs = pty.openpty()
    os.write(ours, answer)
    with os.fdopen(theirs) as terminal:
        monkeypatch.setattr("sys.stdin", terminal)
        assert main.run(["obligation", "waive", "o1", "--reason", "r"]) == code
    os.close(ours)
    asked = capsys.readouterr().err
    for told in ("acme/shop:db@main", "test tpcb", "container pg-0 on docker", "network net-0 on docker", "1 resource"):
        assert told in asked
    assert len(owed.seen("POST", "/obligations/o1/waive")) == (code == 0)


def test_a_question_names_ten_things_and_counts_the_rest(owed: FakeApi, stackly: Stackly) -> None:
    things = [{**LEFT["left"][0], "id": f"pg-{n}"} for n in range(12)]
    owed.get("/obligations/o1", {**LEFT, "left": things, "resources": 0})
    refused = stackly("obligation", "waive", "o1", "--reason", "r", "--json")
    assert refused.code == 2, "nobody can be asked"
    detail = json.loads(refused.err)["detail"]
    assert "pg-9 on docker, 2 more" in detail
    assert "Terraform" not in detail


def test_nothing_is_asked_about_what_is_closed(owed: FakeApi, stackly: Stackly) -> None:
    """The server says what became of it; a question would offer what cannot be had."""
    owed.get("/resolve/obligation", {"id": "o1", "name": "n", "status": "met", "test": "t", **_WHERE})
    stackly("obligation", "waive", "o1", "--reason", "r")
    assert owed.seen("POST", "/obligations/o1/waive")
    assert not owed.seen("GET", "/obligations/o1")
