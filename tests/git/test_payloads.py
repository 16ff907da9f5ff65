import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackly.errors import Invalid
from stackly.git.payloads import ZERO, read
from tests.git import bodies
from tests.git import github_schema as github_schema_of

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


# Bodies as GitHub sends them

MAIN, TAG = "refs/heads/main", "refs/tags/v1.0"
PUSHES = {
    "push.branch": (MAIN, False, False),
    "push.branch_with_slash": ("refs/heads/feature/wal/compression", False, False),
    "push.forced": (MAIN, False, False),
    "push.new_branch_at_an_existing_commit": ("refs/heads/release/1", True, False),
    "push.branch_deleted": ("refs/heads/release/1", False, True),
    "push.lightweight_tag": (TAG, True, False),
    "push.annotated_tag": ("refs/tags/v1.1", True, False),
    "push.tag_deleted": (TAG, False, True),
    "push.by_a_deploy_key": (MAIN, False, False),
}


@pytest.fixture
def github_schema(require: Callable[[object, str], None]) -> None:
    try:
        github_schema_of.validator("push")
    except github_schema_of.SchemaMissing as e:
        require(None, str(e))


@pytest.mark.parametrize("name", bodies.NAMES)
def test_our_fixtures_are_what_github_publishes(name: str, github_schema: None) -> None:
    assert github_schema_of.problems(bodies.event(name), bodies.body(name)) == []


def test_the_schema_refuses_what_github_would_not_send(github_schema: None) -> None:
    """Negative control of every validation."""
    wrong = bodies.body("push.branch")
    del wrong["repository"]["full_name"]
    wrong["commits"][0]["added"] = "one"
    assert len(github_schema_of.problems("push", wrong)) == 2


@pytest.mark.parametrize("name", [n for n in bodies.NAMES if bodies.event(n) == "push"])
def test_pushes_of_every_kind_are_read(name: str) -> None:
    got = read("push", body(bodies.body(name)))
    assert got.kind == "push"
    assert (got.ref, got.created, got.deleted) == PUSHES[name]
    assert (got.repo_github_id, got.full_name, got.owner) == (880011, "cobalt-works/order-bench", "cobalt-works")
    assert got.default_branch == "main"
    assert got.sender == ("deploy-key" if name == "push.by_a_deploy_key" else "mira-k")


def test_a_push_through_an_app_names_its_installation() -> None:
    assert read("push", body(bodies.body("push.branch"))).installation == 55120
    assert read("push", body(bodies.body("push.lightweight_tag"))).installation is None


@pytest.mark.parametrize(
    ("what", "facts"),
    [
        ("renamed", {"full_name": "cobalt-works/orders", "name_before": "order-bench"}),
        ("transferred", {"owner": "tin-and-co", "owner_before": "cobalt-works"}),
        ("archived", {"archived": True}),
        ("unarchived", {"archived": False}),
        ("deleted", {"archived": False}),
        ("privatized", {}),
        ("publicized", {}),
        ("edited", {"default_branch": "trunk"}),
    ],
)
def test_what_happens_to_a_repository_is_read(what: str, facts: dict[str, Any]) -> None:
    got = read("repository", body(bodies.body(f"repository.{what}")))
    assert (got.kind, got.action, got.repo_github_id) == ("repository", what, 880011)
    assert {name: getattr(got, name) for name in facts} == facts


@pytest.mark.parametrize("name", [n for n in bodies.NAMES if n.startswith("installation")])
def test_installations_and_their_repositories_are_read(name: str) -> None:
    event, what = name.split(".")
    got = read(event, body(bodies.body(name)))
    assert (got.kind, got.action, got.installation) == ("installation", what, 55120)
    assert got.repositories == (880011,)


@pytest.mark.parametrize("name", ["create.branch", "create.tag", "delete.branch"])
def test_refs_that_come_and_go_are_hints(name: str) -> None:
    got = read(bodies.event(name), body(bodies.body(name)))
    assert (got.kind, got.repo_github_id) == ("hint", 880011)


def test_pings_of_a_repository_and_of_an_app_are_read() -> None:
    assert read("ping", body(bodies.body("ping.repository"))).repo_github_id == 880011
    assert read("ping", body(bodies.body("ping.app"))).hook_id == 61002


@pytest.mark.parametrize("name", bodies.NAMES)
@pytest.mark.parametrize("claimed", ["push", "ping", "create", "repository", "installation"])
def test_no_body_passes_for_another_event(name: str, claimed: str) -> None:
    """The header is not signed: a captured body must not become another event (G3)."""
    got = read(claimed, body(bodies.body(name)))
    genuine = claimed == bodies.event(name) or {claimed, bodies.event(name)} == {"create", "delete"}
    assert genuine or got.kind == "ignored", got


def test_the_news_of_an_issue_is_no_news_of_its_repository() -> None:
    said = bodies.body("repository.transferred")
    assert read("repository", body({**said, "issue": {"id": 1}})).kind == "ignored"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(
    st.dictionaries(st.sampled_from([*PUSH, *PING, "action", "changes", "owner"]), _JSON),
    st.sampled_from(["push", "ping"]),
)
def test_a_body_is_read_the_same_however_its_json_is_written(said: dict[str, Any], event: str) -> None:
    """The quick parser takes most bodies, the patient one the rest: nobody can tell by what is read."""
    plain, escaped = (json.dumps({**PUSH, **said}, ensure_ascii=e) for e in (False, True))
    padded = plain.replace("{", '{"pad": "\\\\ud800", ', 1)  # the quick parser refuses it
    read_as = [read(event, text.encode("utf-8", "surrogatepass")) for text in (escaped, padded)]
    assert read_as[0] == read_as[1]


def test_names_of_events_may_hold_digits() -> None:
    assert read("custom_property2", body({"action": "created"})).kind == "other"
    assert read("2fa", body({})).kind == "ignored"


TARGET = {
    "action": "renamed",
    "account": {"login": "new", "id": 5},
    "changes": {"login": {"from": "old"}},
    "installation": {"id": 55, "node_id": "x"},
    "target_type": "Organization",
    "sender": {"login": "a", "id": 1},
}


def test_an_owner_that_is_called_otherwise_now_is_looked_at_by_its_installation() -> None:
    got = read("installation_target", body(TARGET))
    assert (got.kind, got.action, got.installation) == ("installation", "renamed", 55)
    assert read("installation_target", body({**TARGET, "issue": {}})).kind == "ignored"


@pytest.mark.parametrize("event", ["repository", "installation", "installation_repositories"])
def test_a_body_with_more_than_its_event_has_is_another_events(event: str) -> None:
    shape = {
        "action": "created",
        "repository": {"id": 1},
        "installation": {"id": 1, "account": {"login": "x"}},
        "repository_selection": "all",
    }
    given = {k: v for k, v in shape.items() if event == "installation_repositories" or k != "repository_selection"}
    assert read(event, body(given)).kind != "ignored"
    got = read(event, body({**given, "nobody_thought_of_this": 1}))
    assert got.kind == "ignored"
    assert "nobody_thought_of_this" in str(got.reason)
