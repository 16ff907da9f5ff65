"""The pure parts: variables, plans, outputs, what Terraform says."""

import base64
import json
from decimal import Decimal
from typing import Any

import pytest
import yaml

from agent.terraform import outputs, plan
from agent.terraform.masking import Masker
from agent.terraform.output import Reader
from agent.terraform.variables import ENROLMENT_PATH, check_declared, cloud_config, render
from stackly.engine.contracts.site import MachineSpec
from stackly.errors import Conflict, Faulty, Invalid, Unavailable
from stackly.log import MASK
from tests.agent.site_parts import MACHINES, key, module_input

Json = dict[str, Any]

BOTH = {"stackly": {}, "stackly_user_data": {"sensitive": True}}


def test_the_contract_variables_have_the_shape_of_the_contract() -> None:
    values = render(module_input(key(), machines=MACHINES, variables={"region": "x"}), {"db": "data"})
    assert values["stackly"]["machines"]["db"] == {
        "cores": 2,
        "memory_gb": 4,
        "disk_gb": 20,
        "internal_ip": "127.64.0.2",
    }
    assert set(values["stackly"]) == {"run_id", "network_cidr", "machines", "labels"}
    assert values["stackly_user_data"] == {"db": "data", "load": ""}
    assert values["region"] == "x"


def test_a_plain_stack_gets_its_own_variables_only() -> None:
    assert render(module_input(key(), variables={"a": 1}), {}) == {"a": 1}


def test_the_stacks_own_environment_wins_over_the_states() -> None:
    assert render(module_input(key(), variables={"environment": "a"}, environment="b"), {}) == {"environment": "a"}
    assert render(module_input(key(), environment="b"), {}) == {"environment": "b"}


def test_a_stack_may_not_set_the_contracts_names() -> None:
    with pytest.raises(Invalid, match="set by Stackly"):
        render(module_input(key(), machines=MACHINES, variables={"stackly": 1}), {})


def test_cloud_config_is_yaml_with_one_private_file() -> None:
    read = yaml.safe_load(cloud_config({"token": "a\"b\n'c"}))
    (file,) = read["write_files"]
    assert (file["path"], file["permissions"]) == (ENROLMENT_PATH, "0600")
    assert json.loads(base64.b64decode(file["content"])) == {"token": "a\"b\n'c"}


@pytest.mark.parametrize(
    ("declared", "says"),
    [
        ({}, '"stackly" and "stackly_user_data"'),
        ({"stackly": {}}, 'declare "stackly_user_data"'),
        ({"stackly": {}, "stackly_user_data": {}}, "sensitive = true"),
    ],
)
def test_a_module_with_a_suite_declares_both_variables(declared: Json, says: str) -> None:
    with pytest.raises(Invalid, match=says):
        check_declared(module_input(key(), machines=MACHINES), declared)


def test_undeclared_variables_are_an_error_and_environment_is_not() -> None:
    check_declared(module_input(key(), machines=MACHINES, environment="x"), BOTH)
    check_declared(module_input(key(), variables={"environment": "prod"}), {})
    with pytest.raises(Invalid, match='"regoin"'):
        check_declared(module_input(key(), variables={"regoin": 1}), {"region": {}})


def change(*actions: str, address: str = "a.b", **more: Any) -> Json:
    return {"address": address, "change": {"actions": list(actions)}, **more}


def moved(source: str, to: str, *actions: str) -> Json:
    return change(*(actions or ("no-op",)), address=to) | {"previous_address": source}


def imported(address: str, identity: str, *actions: str) -> Json:
    found = change(*(actions or ("no-op",)), address=address)
    found["change"]["importing"] = {"id": identity}
    return found


@pytest.mark.parametrize(
    "left",
    [
        change("create"),
        change("no-op", address="x.y"),
        change("delete", "create", action_reason="replace_because_tainted"),
    ],
)
def test_after_an_interruption_what_was_approved_goes_on(left: Json) -> None:
    plan.check_approved({"resource_changes": [left]}, ["create a.b", "update c.d"])


@pytest.mark.parametrize(
    "left",
    [
        change("create", address="a.new"),
        moved("a.b", "a.c"),
        imported("a.b", "i-2"),
        change("forget"),
        change("delete"),
        change("delete", "create"),
        change("update"),
        change("delete", "create", address="c.d", action_reason="replace_because_tainted"),
    ],
)
def test_after_an_interruption_nothing_else_is_applied(left: Json) -> None:
    with pytest.raises(Invalid, match="not in the approved plan"):
        plan.check_approved(
            {"resource_changes": [change("create"), left]}, ["create a.b", "update c.d", "import a.b from i-1"]
        )


def test_counts_and_whether_anything_changes() -> None:
    raw = {
        "resource_changes": [change("create"), change("delete", "create"), change("no-op"), change("read")],
        "configuration": {"root_module": {"variables": {"pw": {"sensitive": True}, "x": {}}}},
        "variables": {"pw": {"value": "hidden"}, "x": {"value": "shown"}},
        "applyable": True,
    }
    found = plan.read(raw)
    assert (found.create, found.update, found.delete, found.changed) == (2, 0, 1, True)
    assert plan.summary(found.lines) == ["create a.b", "delete/create a.b"]
    assert found.sensitive == ["hidden"]


def test_a_summary_is_bounded_in_lines_and_bytes_and_shows_no_secret() -> None:
    many = plan.read({"resource_changes": [change("create")] * 2000, "applyable": True}).lines
    assert (len(many), len(plan.summary(many))) == (2000, 1000)
    long = plan.summary(["create " + "ü" * 2000] * 900)
    assert 0 < len(json.dumps(long)) < 100_000
    masker = Masker()
    masker.learn("tok-canary-4711")
    assert plan.summary(['create a.b["tok-canary-4711"]'], masker) == ['create a.b["[redacted]"]']
    with pytest.raises(Invalid) as told:
        plan.check_creates_only({"resource_changes": [moved("a.b", 'a.c["tok-canary-4711"]')]}, masker, recovering=True)
    assert "tok-canary" not in f"{told.value.detail} {told.value.fields}"


@pytest.mark.parametrize(
    ("raw", "summary", "counts"),
    [
        ({"resource_changes": [moved("a.old", "a.new")]}, ["move a.old to a.new"], (1, 0, 0)),
        (
            {"resource_changes": [moved("a.old", "a.new", "update")]},
            ["move a.old to a.new", "update a.new"],
            (1, 0, 0),
        ),
        ({"resource_changes": [imported("a.b", "i-1")]}, ["import a.b from i-1"], (0, 1, 0)),
        ({"resource_changes": [imported("a.b", "i-1", "update")]}, ["import a.b from i-1", "update a.b"], (0, 1, 0)),
        ({"resource_changes": [change("forget")]}, ["forget a.b"], (0, 0, 1)),
        ({"output_changes": {"o": change("update")["change"]}}, ["update output o"], (0, 0, 0)),
    ],
)
def test_moves_imports_forgets_and_outputs_are_named(
    raw: Json, summary: list[str], counts: tuple[int, int, int]
) -> None:
    found = plan.read({**raw, "applyable": True})
    assert found.lines == summary
    assert (found.move, found.adopt, found.forget) == counts


@pytest.mark.parametrize("verdict", [True, False])
def test_terraforms_own_verdict_decides(verdict: bool) -> None:
    for changes in ([], [change("no-op")], [change("read")], [change("update")]):
        assert plan.read({"resource_changes": changes, "applyable": verdict}).changed is verdict


def test_a_terraform_that_gives_no_verdict_is_refused() -> None:
    with pytest.raises(Unavailable, match=r"1\.5\.7 .*stackly doctor"):
        plan.read({"terraform_version": "1.5.7", "resource_changes": [change("update")]})


def test_values_that_are_marked_anywhere_are_sensitive() -> None:
    inside = change("update")
    inside["change"] |= {
        "before": {"a": "old-secret", "b": ["x", {"c": 71}]},
        "after": {"a": "new-secret", "b": ["x", {"c": 72}]},
        "before_sensitive": {"a": True, "b": [False, {"c": True}]},
        "after_sensitive": {"a": True, "b": [False, {"c": True}]},
    }
    out = {"before": None, "after": [1, 2], "before_sensitive": False, "after_sensitive": True}
    raw = {"resource_changes": [inside], "output_changes": {"o": {"actions": ["create"]} | out}, "applyable": True}
    assert plan.read(raw).sensitive == ["old-secret", 71, "new-secret", 72, [1, 2]]


@pytest.mark.parametrize("other", [moved("a.b", "a.c"), imported("a.b", "i-1"), imported("a.b", "i-1", "update")])
def test_a_tests_plan_may_not_take_over_what_exists(other: Json) -> None:
    with pytest.raises(Invalid, match=r"may only create; this one would (move|import)"):
        plan.check_creates_only({"resource_changes": [other]}, recovering=True)


@pytest.mark.parametrize("actions", [["update"], ["delete"], ["delete", "create"], ["create", "delete"], ["forget"]])
def test_a_tests_plan_may_only_create(actions: list[str]) -> None:
    plan.check_creates_only({"resource_changes": [change("create"), change("read")]}, recovering=False)
    with pytest.raises(Invalid, match="only create"):
        plan.check_creates_only({"resource_changes": [change(*actions)]}, recovering=True)


def test_while_recovering_what_is_half_made_may_be_made_anew() -> None:
    raw = {"resource_changes": [change("delete", "create", action_reason="replace_because_tainted")]}
    plan.check_creates_only(raw, recovering=True)
    with pytest.raises(Invalid):
        plan.check_creates_only(raw, recovering=False)


def given_machines(**changes: Any) -> Json:
    value = {
        "db": {"id": "1", "internal_ip": "127.64.0.2", "public_ip": ""},
        "load": {"id": "2", "internal_ip": "127.64.0.3"},
    }
    value["db"].update(changes)
    return {"machines": {"value": value}}


def test_machines_are_read() -> None:
    found = outputs.machines(given_machines(public_ip="203.0.113.4"), MACHINES, fixed_addresses=True)
    assert found["db"].public_ip == "203.0.113.4"
    assert found["load"].public_ip == ""


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, 'no output "machines"'),
        ({"machines": {"value": []}}, "must be a map"),
        ({"machines": {"value": {}}}, "lacks db, load"),
        ({"machines": {"value": {"db": 1, "load": 1}}}, "must be an object"),
        (given_machines(id=""), "db.id must be a text"),
        (given_machines(id=7), "db.id must be a text"),
        (given_machines(internal_ip="nowhere"), "is no IP address"),
        (given_machines(public_ip=["x"]), "is no IP address"),
        (given_machines(internal_ip="127.64.0.9"), "127.64.0.2 was given"),
    ],
)
def test_each_way_to_miss_the_contract_has_its_sentence(given: Json, says: str) -> None:
    with pytest.raises(Invalid, match=says):
        outputs.machines(given, MACHINES, fixed_addresses=True)


def test_a_machine_nobody_asked_for_is_refused_and_a_cloud_may_choose_addresses() -> None:
    with pytest.raises(Invalid, match="nobody asked"):
        outputs.machines(given_machines(), MACHINES[:1], fixed_addresses=True)
    outputs.machines(given_machines(internal_ip="10.0.0.1"), MACHINES, fixed_addresses=False)
    assert outputs.machines({}, [], fixed_addresses=True) == {}


def test_secret_outputs_and_huge_ones_are_left_out() -> None:
    given = {"a": {"value": 1}, "pw": {"value": "x", "sensitive": True}, "big": {"value": "y" * 200_000}}
    assert outputs.public(given) == outputs.Public({"a": 1}, ["big"], {})


def said(*events: Json) -> tuple[Reader, list[tuple[str, str]]]:
    lines = []
    reader = Reader(lambda text, level: lines.append((level, text)), Masker({"hunter2-secret"}))
    for event in events:
        reader.line(json.dumps(event))
    return reader, lines


def diagnostic(severity: str, summary: str, detail: str = "", **where: Any) -> Json:
    found = {"severity": severity, "summary": summary, "detail": detail}
    return {"type": "diagnostic", "diagnostic": found | ({"range": where} if where else {})}


def test_a_failure_names_file_and_line_and_no_secret() -> None:
    reader, lines = said(
        diagnostic("error", "Bad", "value hunter2-secret\nis bad", filename="main.tf", start={"line": 3, "column": 5}),
    )
    error = reader.failure("plan", 1, "")
    assert isinstance(error, Faulty)
    assert "main.tf:3: Bad: value [redacted] is bad" in error.detail
    assert error.fields["errors"][0]["line"] == 3
    assert "hunter2" not in str(error.fields)
    assert lines == [("error", "main.tf:3: Bad: value [redacted] is bad")]


def test_a_stale_plan_is_a_conflict_and_a_crash_shows_its_last_words() -> None:
    assert isinstance(said(diagnostic("error", "Saved plan is stale"))[0].failure("apply", 1, ""), Conflict)
    assert "panic" in said()[0].failure("apply", 2, "panic: x").detail


def test_the_warning_about_environment_is_not_told_and_torn_lines_are_nothing() -> None:
    reader, lines = said(diagnostic("warning", "Value for undeclared variable"), diagnostic("warning", "Old"))
    reader.line('{"type": "diagn')
    reader.line("[]")
    assert lines == [("warning", "Old")]


def test_the_masker_learns_inside_values_and_leaves_short_texts() -> None:
    mask = Masker()
    mask.learn({"a": ["longsecret", 1], "b": "line-one\nline-two", "c": "no"})
    assert mask("x longsecret line-two no") == "x [redacted] [redacted] no"
    assert MachineSpec("a", "", 1, 1, 1).roles == []


@pytest.mark.parametrize(
    ("secret", "printed"),
    [
        (987654321012, "pin=987654321012;"),
        (987654321012, '{"pin":987654321012}'),
        (4711, "pin 4711!"),
        (Decimal("0.000012345"), "rate 0.000012345"),
        (Decimal("0.000012345"), '{"rate": 1.2345e-05}'),
        (Decimal("1.2e30"), "n=1200000000000000000000000000000"),
        (-123456, "n=-123456"),
        ("tok-canary-4711", "upper TOK-CANARY-4711"),
        ("pw12", "password pw12."),
        ('say "hi" \\ <b>', '{"a":"say \\"hi\\" \\\\ \\u003cb\\u003e"}'),
        ("line one\n  second-line\n", "    second-line"),
        ("line one\nsecond-line\n", '"line one\\nsecond-line\\n"'),
        ("größe-geheim", '{"x":"gr\\u00f6\\u00dfe-geheim"}'),
        ("a-secret-text", "header YS1zZWNyZXQtdGV4dA=="),
        ("cost ${5} secret", 'x = "cost $${5} secret"'),
        ({"a": {"b": ["inner-secret", 424242]}}, "inner-secret"),
        ({"a": {"b": ["inner-secret", 424242]}}, "number 424242"),
        ([True, False], "flags [true,false]"),
        ([True, False], "flags [true, false]"),
    ],
)
def test_secrets_of_every_type_are_masked_in_every_form(secret: object, printed: str) -> None:
    mask = Masker()
    mask.learn(secret)
    shown = mask(printed)
    assert MASK in shown
    assert shown != printed
    leaves = [str(secret)] if not isinstance(secret, dict | list) else ["inner-secret", "424242", "true"]
    assert not any(leaf.lower() in shown.lower() for leaf in leaves)


@pytest.mark.parametrize(
    "text", ["Plan: 1 to add, 0 to change", "it is true", "10.4711.3", "abc4711", "version 1.4711", "47110"]
)
def test_what_only_looks_like_a_short_secret_stays(text: str) -> None:
    mask = Masker()
    mask.learn(1, True, 0, 4711, None, "on")
    assert mask(text) == text
