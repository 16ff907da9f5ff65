"""Files are checked without any server, and as the server checks them."""

import json
from pathlib import Path

import pytest

from stackly.cli import demo
from stackly.cli.suite_file import MAJORS
from stackly.settings import Settings
from stackly.suites import plan, release, schema
from tests.cli.fake_api import Stackly

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
BROKEN = """version: 1
name: broken
tests:
  - name: tpcb
    database: {engine: postgres, version: "15"}
    workload: {driver: pgbench, name: tpcb-like, clients: 0}
    colour: red
"""


@pytest.mark.parametrize("suite", sorted(EXAMPLES.glob("*/suite.yaml")), ids=lambda p: p.parent.name)
def test_the_examples_are_valid_and_their_digest_is_the_servers(stackly: Stackly, suite: Path) -> None:
    assert stackly("suite", "validate", str(suite)).code == 0
    said = stackly("suite", "plan", str(suite), "--json")
    assert (said.code, said.err) == (0, "")
    assert said.json["digest"] == plan.digest(plan.resolve(schema.parse(suite.read_text(), "s"), "c" * 40))
    assert {m["name"] for m in said.json["placements"][0]["machines"]} >= {"db", "load"}
    assert said.json["digest"] in stackly("suite", "plan", str(suite)).out


@pytest.mark.parametrize("verb", ["validate", "plan"])
def test_every_error_stands_at_its_place(stackly: Stackly, tmp_path: Path, verb: str) -> None:
    file = tmp_path / "suite.yaml"
    file.write_text(BROKEN)
    said = stackly("suite", verb, str(file))
    assert (said.code, said.out) == (2, "")
    places = [line.split(f"{file}:")[1].split(": ")[0] for line in said.err.splitlines()]
    assert len(places) >= 2
    assert all(len(place.split(":")) == 2 for place in places)
    told = json.loads(stackly("suite", verb, str(file), "--json").err)
    assert [f"{e['line']}:{e['column']}" for e in told["errors"]] == places


def test_what_this_release_cannot_do_is_an_error(stackly: Stackly, tmp_path: Path) -> None:
    file = tmp_path / "suite.yaml"
    file.write_text((EXAMPLES / "pg-standalone/suite.yaml").read_text().replace('"16"', '"17"'))
    said = stackly("suite", "validate", str(file))
    assert said.code == 2
    assert "offers" in said.err


def test_a_missing_file_is_a_usage_error(stackly: Stackly) -> None:
    assert stackly("suite", "validate", "nowhere.yaml").code == 2


def test_the_versions_are_those_of_a_platform() -> None:
    assert Settings.model_fields["postgres_majors"].default == MAJORS


def test_schemas(stackly: Stackly) -> None:
    assert stackly("schema", "suite").json["title"] == "Stackly benchmark suite"
    assert "stack" in stackly("schema", "stack").json["properties"]


def test_policies_are_linted(stackly: Stackly, tmp_path: Path) -> None:
    shipped = EXAMPLES.parent / "policies/production_approval.hcl"
    assert stackly("policy", "lint", str(shipped), "--json").json["policies"][0]["name"] == "production_approval"
    broken = tmp_path / "p.hcl"
    broken.write_text('policy "p" {\n  schedule {\n    allowed_hours = ["25-26"]\n  }\n}\n')
    said = stackly("policy", "lint", str(broken))
    assert said.code == 2
    assert f"{broken}:3:" in said.err


def test_policies_of_several_files_and_directories_are_linted(stackly: Stackly, tmp_path: Path) -> None:
    shipped = EXAMPLES.parent / "policies"
    names = {"production_approval", "deployment_window"}
    of_all = stackly("policy", "lint", str(shipped), "--json").json
    assert {p["name"] for p in of_all["policies"]} == names
    assert {Path(p["file"]).parent for p in of_all["policies"]} == {shipped}
    assert of_all["file"] is None
    text = stackly("policy", "lint", *(str(shipped / f"{name}.hcl") for name in sorted(names))).out
    assert [line.rpartition("valid, ")[2] for line in text.splitlines()] == sorted(names)
    one = str(shipped / "production_approval.hcl")
    assert stackly("policy", "lint", one, one, str(shipped), "--json").json["files"].count(one) == 1


def test_every_broken_policy_file_is_listed_and_a_sound_one_hides_none(stackly: Stackly, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.hcl").write_text('policy "p" {\n  schedule {\n    allowed_hours = ["25-26"]\n  }\n}\n')
    sound = EXAMPLES.parent / "policies/production_approval.hcl"
    said = stackly("policy", "lint", str(sound), str(tmp_path))
    assert (said.code, said.out) == (2, "")
    assert f"{tmp_path}/a.hcl:3:" in said.err
    assert f"{tmp_path}/b.hcl:3:" in said.err
    (tmp_path / "empty").mkdir()
    assert stackly("policy", "lint", str(tmp_path / "empty")).code == 2, "nothing was checked"


def test_a_name_that_is_taken_is_warned_of(stackly: Stackly, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.hcl").write_text('policy "p" {\n  approval {}\n}\n')
    said = stackly("policy", "lint", str(tmp_path))
    assert said.code == 0
    assert f"{tmp_path}/b.hcl:1: policy p is defined at {tmp_path}/a.hcl:1 already" in said.err


def test_the_slower_demo_is_a_suite_this_release_runs(tmp_path: Path) -> None:
    text = (EXAMPLES / "pg-standalone/suite.yaml").read_text()
    (tmp_path / "suite.yaml").write_text(text)
    demo.slow_down(tmp_path)
    before = plan.resolve(schema.parse(text, "a"), "")
    suite = schema.parse((tmp_path / "suite.yaml").read_text(), "b")
    after = plan.resolve(suite, "")
    assert release.problems(suite, after, release.Offer("local", MAJORS)) == []
    assert after.tests[0].database.settings["enable_indexscan"] == "off"
    # Only the subject is slower: the ruler is the same.
    assert plan.ruler(after.tests[0]) == plan.ruler(before.tests[0])
