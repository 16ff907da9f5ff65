import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackly.errors import Invalid
from stackly.git.payloads import ZERO, read

SHA = "a" * 40
PUSH: dict[str, Any] = {
    "ref": "refs/heads/main",
    "before": ZERO,
    "after": SHA,
    "repository": {"id": 42, "full_name": "acme/stacks", "default_branch": "main"},
    "sender": {"login": "ada", "id": 7},
}
PING: dict[str, Any] = {"zen": "Keep it simple.", "hook_id": 5, "hook": {}, "repository": {"id": 42}}


def body(data: Any) -> bytes:
    return json.dumps(data).encode()


def test_a_push_is_read() -> None:
    got = read("push", body(PUSH))
    assert (got.kind, got.repo_github_id, got.full_name) == ("push", 42, "acme/stacks")
    assert (got.ref, got.before, got.after) == ("refs/heads/main", ZERO, SHA)
    assert (got.sender, got.sender_id) == ("ada", 7)
    assert got.created
    assert not got.deleted


def test_a_push_without_the_fields_other_forges_lack_is_read() -> None:
    got = read("push", body({**PUSH, "sender": None, "pusher": {"name": "bot"}}))
    assert (got.kind, got.sender) == ("push", "bot")


def test_a_ping_is_read() -> None:
    got = read("ping", body(PING))
    assert (got.kind, got.hook_id) == ("ping", 5)


@pytest.mark.parametrize(
    ("event", "data"),
    [("ping", PUSH), ("push", PING), ("issues", PUSH), ("create", PUSH), ("ping", {**PUSH, **PING})],
)
def test_a_body_of_another_event_is_ignored_with_a_reason(event: str, data: dict[str, Any]) -> None:
    got = read(event, body(data))
    assert got.kind == "ignored"
    assert got.reason
    assert got.ref is None


def test_unknown_events_are_other_and_bad_names_are_ignored() -> None:
    assert read("star", body({"action": "created"})).kind == "other"
    assert read("star", body({"action": "created"})).action == "created"
    assert read("<script>", body(PUSH)).kind == "ignored"


@pytest.mark.parametrize(
    "change",
    [
        {"ref": "main"},
        {"ref": 5},
        {"ref": "refs/heads/a\nb"},
        {"after": "--upload-pack=x"},
        {"before": "HEAD"},
        {"repository": {"id": "42"}},
        {"repository": {"id": True}},
        {"repository": []},
    ],
)
def test_a_push_with_senseless_facts_is_ignored(change: dict[str, Any]) -> None:
    got = read("push", body({**PUSH, **change}))
    assert got.kind == "ignored"
    assert got.reason


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"{",
        b"[]",
        b"1",
        b"null",
        b"payload=%7B%7D",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"a":' + b"9" * 10_000 + b"}",
    ],
)
def test_what_is_no_json_object_is_invalid_and_nothing_worse(bad: bytes) -> None:
    with pytest.raises(Invalid):
        read("push", bad)


def test_form_encoding_is_named_in_the_message() -> None:
    with pytest.raises(Invalid, match="application/json"):
        read("push", b"payload=%7B%7D")


_TEXT = st.text(alphabet="a0/\x00\n\ud800é", max_size=5)
_FLAT = st.none() | st.booleans() | st.integers() | st.floats() | _TEXT | st.sampled_from(["refs/heads/a", SHA])
_JSON = _FLAT | st.lists(_FLAT, max_size=2) | st.dictionaries(st.sampled_from(["id", "login", "name"]), _FLAT)


@given(st.sampled_from(["push", "ping", "star", "\x00"]), st.dictionaries(st.sampled_from([*PUSH, *PING]), _JSON))
def test_no_shape_makes_it_raise_anything_else(event: str, data: dict[str, Any]) -> None:
    got = read(event, json.dumps(data).encode())
    assert (got.kind == "ignored") == (got.reason is not None)
