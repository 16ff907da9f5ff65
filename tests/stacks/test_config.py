import json
from dataclasses import replace

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stackly.errors import FileInvalid, FileProblem
from stackly.stacks.config import (
    Budget,
    PolicyName,
    StackConfig,
    State,
    Trigger,
    kind,
    parse,
    unknown_policies,
)
from stackly.stacks.config_schema import json_schema

SMALL = """stack "example" {
  version = "1.0.0"
  
  variables {
    environment = "prod"
    region = "us-west-2"
  }
  
  policies = [
    "deployment_window",
    "production_approval"
  ]
  
  hooks {
    pre_plan = ["validate_quotas"]
    post_apply = ["notify_slack"]
  }
}
"""  # noqa: W293 - as found

EVERYTHING = (
    SMALL[:-2]
    + """  suite     = "suite.yaml"
  target    = "docker"
  execution = "stack"
  infrastructure = "ephemeral"
  trigger {
    branches      = ["main", "release/*"]
    pull_requests = true
    paths         = ["src/**", "contrib/**"]
  }
  budget {
    max_duration = "3h"
  }
  state "staging" {
    variables {
      environment = "staging"
      sizes       = [1, 2.5, { a = null }]
    }
  }
}
"""
)


def refused(text: str) -> list[tuple[int, int, str]]:
    with pytest.raises(FileInvalid) as caught:
        parse(text, "a/stackly.hcl")
    assert all(p.file == "a/stackly.hcl" for p in caught.value.problems)
    return [(p.line, p.column, p.message) for p in caught.value.problems]


def test_the_well_known_example_parses_as_it_is() -> None:
    assert parse(SMALL, "f") == StackConfig(
        name="example",
        version="1.0.0",
        variables={"environment": "prod", "region": "us-west-2"},
        policies=(PolicyName("deployment_window", 10, 5), PolicyName("production_approval", 11, 5)),
        hooks={"pre_plan": ("validate_quotas",), "post_apply": ("notify_slack",)},
    )


def test_every_line_is_optional() -> None:
    assert parse('stack "s" {\n}\n', "f") == StackConfig("s")


def test_every_part_arrives() -> None:
    config = parse(EVERYTHING, "f")
    assert (config.suite, config.target) == ("suite.yaml", "docker")
    assert config.trigger == Trigger(("main", "release/*"), paths=("src/**", "contrib/**"))
    assert config.budget == Budget(3 * 3600)
    assert config.states == (State("staging", {"environment": "staging", "sizes": [1, 2.5, {"a": None}]}),)
    assert (config.environment(), config.environment("staging")) == ("prod", "staging")
    assert config.state_variables("staging")["region"] == "us-west-2"


@pytest.mark.parametrize("text", [SMALL, EVERYTHING, 'stack "s" {\n}\n'])
def test_storage_loses_nothing(text: str) -> None:
    config = parse(text, "f")
    assert StackConfig.from_json(json.loads(json.dumps(config.as_json()))) == config


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ('"1.0.0"', "1.0", 2, "text in quotes"),
        ('"1.0.0"', "var.v", 2, "only literal values here"),
        ('region = "us-west-2"', "region = local.x", 6, "only literal values here"),
        ('region = "us-west-2"', 'environment = "x"', 6, "set twice"),
        ("variables {", "variables = {", 4, "is a block"),
        ('"deployment_window"', '"production_approval"', 11, "listed twice"),
        ("pre_plan", "pre_plam", 15, "unknown attribute `pre_plam`"),
        ('"suite.yaml"', '"../suite.yaml"', 18, "no path inside"),
        ('"docker"', '"dokcer"', 19, "not one of local, docker"),
        ('execution = "stack"', 'execution = "module"', 20, "not one of stack"),
        ('"ephemeral"', "true", 21, "text in quotes"),
        ('"release/*"', '"/release"', 23, "relative to the repository"),
        ('"release/*"', '"re lease"', 23, "fits no branch"),
        ('"src/**"', '"a\\nb"', 25, "is no pattern"),
        ('"src/**"', '"a/../b"', 25, "without .."),
        ('"suite.yaml"', '"a\\tb"', 18, "no path inside"),
        ("= true", '= "no"', 24, "true or false"),
        ('"3h"', '"3"', 28, "no duration"),
        ('"3h"', '"3d"', 28, "outside 1m to 48h"),
        ('state "staging"', 'state "default"', 30, "the stack itself"),
        ('state "staging"', "state", 30, "one name"),
        ("budget {", "budgets {", 27, "unknown block `budgets`"),
        ('stack "example"', 'stack "Example"', 1, "must match"),
    ],
)
def test_each_mistake_is_named_at_its_line(old: str, new: str, line: int, says: str) -> None:
    assert old in EVERYTHING
    ((at, column, message),) = refused(EVERYTHING.replace(old, new, 1))
    assert at == line
    assert column >= 1
    assert says in message


def test_all_mistakes_come_at_once_in_the_order_of_the_file() -> None:
    text = EVERYTHING.replace('"docker"', '"x"').replace('"3h"', '"x"').replace("hooks {", "hook {")
    text = text.replace('"release/*"', '"/x"')
    assert [line for line, _, _ in refused(text)] == [14, 19, 23, 28]


def test_what_is_set_twice_hides_no_other_mistake() -> None:
    text = EVERYTHING.replace('  suite     = "suite.yaml"\n', '  suite = "a.yaml"\n  suite = "b.yaml"\n')
    text = text.replace('"docker"', '"x"').replace("trigger {", "triggers {").replace('"3h"', "var.x")
    found = refused(text)
    assert [line for line, _, _ in found] == [19, 20, 23, 29]
    assert all(column > 1 for _, column, _ in found)
    assert "set twice; first in line 18" in found[0][2]


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("", 1, "there is no `stack` block"),
        ("# nothing\n", 1, "there is no `stack` block"),
        ('stack "a" {\n}\nstack "b" {\n}\n', 3, "a second `stack`"),
        ('terraform {\n}\nstack "a" {\n}\n', 1, "unknown block `terraform`"),
        ('stack "a" {\n  budget {\n  }\n  budget {\n  }\n}\n', 4, "the first is in line 2"),
        ('stack "a" {\n  state "x" {\n  }\n  state "x" {\n  }\n}\n', 4, 'a second `state "x"`'),
    ],
)
def test_blocks_stand_once(text: str, line: int, says: str) -> None:
    ((at, _, message),) = refused(text)
    assert at == line
    assert says in message


def test_unknown_policies_keep_their_place_through_storage() -> None:
    stored = StackConfig.from_json(parse(SMALL, "f").as_json())
    assert unknown_policies(stored, ["deployment_window"], "a/stackly.hcl") == [
        FileProblem("a/stackly.hcl", 11, 5, 'there is no policy "production_approval"; known: deployment_window')
    ]


def test_the_kind_follows_from_suite_and_infrastructure() -> None:
    small, standing = parse(SMALL, "f"), replace(parse(SMALL, "f"), infrastructure="standing")
    assert [kind(small, True), kind(standing, True)] == ["ephemeral", "standing"]
    assert [kind(small, False), kind(standing, False)] == ["plain", "plain"]


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        (
            "  budget {",
            '  schedule {\n    benchmark = "0 3 * * *"\n  }\n  budget {',
            27,
            "`schedule` is not carried out",
        ),
        ('"stack"\n', '"modules"\n', 20, '`execution = "modules"` is not carried out'),
        ('"ephemeral"', '"standing"', 21, '`infrastructure = "standing"` is not carried out'),
        ('"docker"', '"yandex"', 19, '`target = "yandex"` is not carried out'),
        ("= true", "= false", 24, "`pull_requests = false` is not carried out"),
        ('= "3h"', '= "3h"\n    max_machine_hours = 24', 29, "`max_machine_hours` is not carried out"),
        ('"validate_quotas"', '"page_me"', 15, "hooks are not carried out by this release"),
        ('"notify_slack"', '"notify_slack", "x"', 16, "hooks are not carried out by this release"),
    ],
)
def test_what_nothing_carries_out_is_refused_where_it_stands(old: str, new: str, line: int, says: str) -> None:
    assert old in EVERYTHING
    ((at, column, message),) = refused(EVERYTHING.replace(old, new, 1))
    assert (at, column >= 1) == (line, True)
    assert says in message
    assert "; " in message, "what to do is said as well"


def test_hooks_that_are_not_run_are_warned_of() -> None:
    assert parse(SMALL, "f").warnings() == (
        "hook notify_slack at post_apply is not run yet",
        "hook validate_quotas at pre_plan is not run yet",
    )
    assert parse('stack "s" {\n}\n', "f").warnings() == ()


def test_what_an_earlier_release_registered_is_still_read() -> None:
    stored = parse(SMALL, "f").as_json() | {
        "execution": "modules",
        "target": "yandex",
        "schedule": {"benchmark": "0 3 * * *", "drift": None, "timezone": "UTC"},
        "budget": {"max_duration_s": 60, "max_machine_hours": 24.0},
        "trigger": {"branches": [], "pull_requests": False, "paths": []},
        "hooks": {"pre_apply": ["page_me"]},
    }
    config = StackConfig.from_json(json.loads(json.dumps(stored)))
    assert (config.target, config.budget.max_duration_s) == ("yandex", 60)
    assert config.warnings() == ("hook page_me at pre_apply is not run yet",)


CHECK = jsonschema.Draft202012Validator(json_schema())


def test_the_schema_is_one_and_takes_the_example() -> None:
    CHECK.check_schema(json_schema())
    example = {
        "stack": {
            "example": {
                "version": "1.0.0",
                "variables": {"environment": "prod"},
                "policies": ["deployment_window"],
                "hooks": {"pre_plan": ["validate_quotas"]},
                "state": {"staging": {"variables": {"environment": "staging"}}},
            }
        }
    }
    CHECK.validate(example)


_names = st.sampled_from(["version", "target", "execution", "policies", "trigger", "budget", "tarket", "state"])
_values = st.sampled_from(['"local"', '"stack"', '"x y"', '["a"]', '["a", "a"]', "[1]", "3", "true", "{}"])


@given(_names, _values)
@settings(max_examples=60, deadline=None)
def test_the_schema_never_refuses_what_the_reader_takes(name: str, value: str) -> None:
    try:
        parse(f'stack "s" {{\n  {name} = {value}\n}}\n', "f")
    except FileInvalid:
        return
    CHECK.validate({"stack": {"s": {name: json.loads(value)}}})
