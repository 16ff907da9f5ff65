"""`stackly stack`: what is shown of loose stacks, and the commands that end them."""

import json
from typing import Any

from tests.cli.fake_api import AT, FakeApi, Stackly, problem

STATE: dict[str, Any] = {
    "id": "s1",
    "name": "default",
    "status": "loose",
    "commit": "c" * 40,
    "environment": "prod",
    "last_run": "r1",
    "since": AT,
    "reason": "the plan against new would add 1, change 2, destroy 0; `stackly stack associate c1 c2` to do it anyway",
    "successor": "c2",
    "destroy_at": None,
    "waived_by": None,
    "history_altered": None,
}
STACK: dict[str, Any] = {
    "id": "c1",
    "name": "db",
    "repo": "acme/shop",
    "path": "old",
    "ref": "refs/heads/main",
    "status": "loose",
    "reason": STATE["reason"],
    "commit": "c" * 40,
    "registered_at": AT,
    "moved_from": None,
    "errors": [],
    "states": [STATE],
    "kind": "plain",
}


def test_a_list_shows_what_is_loose_and_why(api: FakeApi, stackly: Stackly) -> None:
    api.get("/stacks", {"items": [STACK], "next": None})
    said = stackly("stack", "list", "--status", "loose")
    assert said.code == 0
    assert "loose" in said.out
    assert "stackly stack associate c1 c2" in said.out
    assert api.seen("GET", "/stacks")[0].query["status"] == "loose"


def test_a_stack_shows_its_states_with_their_reasons(api: FakeApi, stackly: Stackly) -> None:
    later = {**STATE, "destroy_at": AT, "history_altered": {"commit": "c" * 40}, "waived_by": "ann"}
    api.get("/stacks/db", {**STACK, "states": [later]})
    out = stackly("stack", "show", "db").out
    for told in (
        "default: the plan against new would add 1, change 2, destroy 0",
        "default: waits to follow c2",
        f"default: its destroy is asked for at {AT}",
        "default: waived by ann",
        "default: the history of its commit ccccccc was rewritten",
    ):
        assert told in out


def test_associate_asks_for_what_was_said(api: FakeApi, stackly: Stackly) -> None:
    refused = problem("association-refused", 409) | {"detail": "new is rejected", "problems": ["new is rejected"]}
    api.on("POST", "/api/v1/stacks/c1/associate", (409, refused))
    said = stackly("stack", "associate", "c1", "c2", "--state", "eu", "--reason", "same", "--json")
    assert said.code == 12
    assert json.loads(said.err)["problems"] == ["new is rejected"]
    (asked,) = api.seen("POST", "/stacks/c1/associate")
    assert asked.body == {"target": "c2", "state": "eu", "name": None, "reason": "same"}
    assert asked.headers["idempotency-key"]


def test_a_destroy_is_called_off_without_a_question(api: FakeApi, stackly: Stackly) -> None:
    api.on("POST", "/api/v1/stacks/c1/keep", (200, STACK))
    said = stackly("stack", "destroy", "c1", "--cancel")
    assert said.code == 0, said.err
    assert api.seen("POST", "/stacks/c1/keep")[0].body == {"state": "default"}


def test_what_cannot_be_undone_needs_a_yes(api: FakeApi, stackly: Stackly) -> None:
    for command in (
        ["stack", "destroy", "c1"],
        ["stack", "waive", "c1", "--reason", "r"],
    ):
        assert stackly(*command).code == 2
    assert not [a for a in api.asked if a.method == "POST"]
