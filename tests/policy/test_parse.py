from datetime import date

import jsonschema
import pytest

from stackly.errors import FileInvalid
from stackly.policy.model import ApprovalRule, Deny, Hours, Policy, Window
from stackly.policy.parse import policies, policies_with_lines, schema

# The two examples people start from, indented as they are found.
WINDOW = """
policy "deployment_window" {
    schedule {
      allowed_hours = ["9-17"]
      allowed_days  = ["MON-FRI"]
    }
    
    action {
      on_violation = "queue"
	}
}
"""  # noqa: W293 - as found
APPROVAL = """
policy "production_approval" {
	environment = "prod"
    
    approval {
      required = true
      min_approvers = 2
      allowed_groups = ["platform-admins"]
    }
}
"""  # noqa: W293 - as found

EVERYTHING = """
policy "all" {
  environment = "prod"
  schedule {
    allowed_hours   = ["22-6", "9:30-17:15", "12-24"]
    allowed_days    = ["sat-mon", "WED"]
    timezone        = "Europe/Berlin"
    exception_dates = ["2026-12-25", "2026-01-01"]
    deny "freeze" {
      first_day = "2026-12-20"
      last_day  = "2027-01-04"
    }
    deny "lunch" {
      hours = ["12-13"]
      days  = ["*"]
    }
  }
  approval {
    min_approvers  = 3
    allowed_groups = ["b", "a"]
    expires        = "1d12h"
  }
  action {
    on_violation = "deny"
  }
}
"""


def refused(text: str) -> list[tuple[int, str]]:
    with pytest.raises(FileInvalid) as caught:
        policies(text, "p.hcl")
    assert all(p.file == "p.hcl" and p.column >= 1 for p in caught.value.problems)
    return [(p.line, p.message) for p in caught.value.problems]


def test_the_two_well_known_policies_parse_as_they_are() -> None:
    assert policies(WINDOW, "w") == [Policy("deployment_window", schedule=Window((Hours(540, 1020),), (0, 1, 2, 3, 4)))]
    rule = ApprovalRule(required=True, min_approvers=2, allowed_groups=("platform-admins",))
    assert policies(APPROVAL, "a") == [Policy("production_approval", environment="prod", approval=rule)]
    assert [line for _, line in policies_with_lines(WINDOW + APPROVAL, "both")] == [2, 13]


def test_every_part_arrives() -> None:
    (policy,) = policies(EVERYTHING, "p")
    assert policy.schedule == Window(
        hours=(Hours(570, 1035), Hours(720, 1440), Hours(1320, 360)),
        days=(0, 2, 5, 6),
        timezone="Europe/Berlin",
        deny=(
            Deny("freeze", first=date(2026, 12, 20), last=date(2027, 1, 4)),
            Deny("lunch", hours=(Hours(720, 780),)),
        ),
        except_dates=(date(2026, 1, 1), date(2026, 12, 25)),
    )
    assert policy.approval == ApprovalRule(min_approvers=3, allowed_groups=("a", "b"), expires_s=36 * 3600)
    assert policy.on_violation == "deny"
    assert Policy.from_json(policy.as_json()) == policy


def test_the_digest_is_of_the_meaning_and_of_all_of_it() -> None:
    (policy,) = policies(EVERYTHING, "p")
    reordered = EVERYTHING.replace('["b", "a"]', '["a", "b"]  # sorted').replace('"sat-mon"', '"SUN", "MON", "SAT"')
    assert policies(reordered, "q")[0].digest == policy.digest
    for old, new in (
        ("22-6", "22-5"),
        ("2027-01-04", "2027-01-05"),
        ("= 3", "= 2"),
        ('"deny"', '"queue"'),
    ):
        assert policies(EVERYTHING.replace(old, new, 1), "q")[0].digest != policy.digest


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ('"22-6"', '"9-25"', 5, "outside 0:00 to 24:00"),
        ('"22-6"', '"9-9"', 5, "begins where it ends"),
        ('"22-6"', '"9"', 5, "no range of hours"),
        ('"22-6"', "9", 5, "texts in quotes"),
        ('"22-6"', '"9:61-17"', 5, "outside"),
        ('"WED"', '"WEDNESDAY"', 6, "no day"),
        ('"WED"', '"WED-"', 6, "no day"),
        ('["sat-mon", "WED"]', "[]", 6, "must not be empty"),
        ('["sat-mon", "WED"]', '"MON"', 6, "a list"),
        ('"Europe/Berlin"', '"CET"', 7, "Area/City"),
        ('"Europe/Berlin"', "var.zone", 7, "only literal values here"),
        ('"2026-12-25"', '"2026-02-30"', 8, "not in the calendar"),
        ('"2027-01-04"', '"2026-01-04"', 9, "before first_day"),
        ("= 3", "= 0", 19, "outside 1 to 20"),
        ("= 3", "= 1.5", 19, "not a whole number"),
        ("= 3", '= "3"', 19, "must be a number"),
        ('"1d12h"', '"36"', 21, "no duration"),
        ('"deny"\n  }\n}', '"warn"\n  }\n}', 24, "not one of queue, deny"),
        ("action {", "actions {", 23, "unknown block `actions`"),
        (
            "  action {",
            "  quota {\n    max_runs = 4\n  }\n  action {",
            23,
            "`quota` is not carried out by this release; delete",
        ),
        ('deny "lunch"', 'deny "freeze"', 13, "the first is in line 9"),
        ('deny "lunch"', "deny", 13, "one name"),
        ('policy "all"', 'policy "All"', 2, "must match"),
    ],
)
def test_each_mistake_is_named_at_its_line(old: str, new: str, line: int, says: str) -> None:
    assert old in EVERYTHING
    ((at, message),) = refused(EVERYTHING.replace(old, new, 1))
    assert at == line
    assert says in message


def test_all_mistakes_come_at_once() -> None:
    text = 'x = 1\npolicy "a" {\n}\npolicy "a" {\n  nope = 1\n  schedule {\n    timezone = "EST"\n  }\n}\n'
    assert [line for line, _ in refused(text)] == [1, 2, 4, 5, 7]


def test_a_list_long_enough_to_slow_the_judge_is_refused() -> None:
    many = ", ".join(f'"{n // 60}:{n % 60:02}-24"' for n in range(200))
    assert "at most 12" in refused(WINDOW.replace('"9-17"', many))[0][1]


def test_the_schema_accepts_the_examples_and_refuses_the_unknown() -> None:
    check = jsonschema.Draft202012Validator(schema())
    check.check_schema(schema())
    good = {"policy": {"w": {"schedule": {"allowed_hours": ["9-17"]}, "action": {"on_violation": "queue"}}}}
    assert check.is_valid(good)
    assert not check.is_valid({"policy": {"w": {"schedules": {}}}})
    assert not check.is_valid({"policy": {"w": {"action": {"on_violation": "warn"}}}})
