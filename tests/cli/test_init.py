"""A first stack from nothing: what is written is valid as it is, and nothing is overwritten."""

from pathlib import Path
from typing import Any

import pytest

from stackly.cli.init import FILES, stack_name
from stackly.hcl import parse as parse_hcl
from stackly.stacks import config
from tests.cli.fake_api import AT, Asked, FakeApi, Stackly

REPO = {
    "id": "p1",
    "full_name": "stackly/work",
    "default_branch": "main",
    "clone_url": "http://developer:secret@hub.test/stackly/work.git",
    "hook_id": "1",
    "status": "active",
    "last_processed": {},
    "created_at": AT,
}


@pytest.mark.parametrize("target", ["local", "docker"])
def test_what_is_written_is_valid_as_it_is(stackly: Stackly, tmp_path: Path, target: str) -> None:
    made = tmp_path / "My Bench_2"
    said = stackly("init", "--target", target, str(made))
    assert said.code == 0, said.err
    assert sorted(p.name for p in made.iterdir()) == sorted(FILES)
    found = config.parse((made / "stackly.hcl").read_text(), "stackly.hcl")
    assert (found.name, found.target) == ("my-bench-2", target)
    checked = stackly("suite", "validate", str(made / "suite.yaml"), "--json").json
    assert (checked["name"], checked["tests"]) == ("my-bench-2", 1)
    body = parse_hcl((made / "main.tf").read_text(), "main.tf")
    assert {b.labels for b in body.of_type("variable")} == {("stackly",), ("stackly_user_data",)}
    assert [b.labels for b in body.of_type("output")] == [("machines",)]


@pytest.mark.parametrize("there", FILES)
def test_nothing_is_overwritten(stackly: Stackly, tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("mine")
    said = stackly("init", str(tmp_path))
    assert said.code == 2
    assert there in said.err
    assert [(p.name, p.read_text()) for p in tmp_path.glob("*.*")] == [(there, "mine")]


@pytest.mark.parametrize(
    ("directory", "name"),
    [("orders", "orders"), ("9 lives", "stack-9-lives"), ("Ünï", "n"), ("-", "stack"), ("x" * 90, "x" * 63)],
)
def test_a_directory_gives_a_name_that_both_files_take(directory: str, name: str) -> None:
    assert stack_name(Path("/") / directory) == name


def test_a_repository_is_made_and_the_text_says_how_to_push_without_the_key(api: FakeApi, stackly: Stackly) -> None:
    made: list[str] = []

    def make(asked: Asked) -> tuple[int, dict[str, Any]]:
        made.append(asked.body.get("name") or asked.body["url"])
        return 201, REPO

    api.on("GET", "/repos/stackly/work", lambda _: (200, REPO) if made else (404, {}))
    api.on("POST", "/orgs/stackly/repos", make)
    api.on(
        "GET", "/api/v1/repos/stackly/work", lambda _: (200, REPO) if len(made) > 1 else (404, {"kind": "not-found"})
    )
    api.on("POST", "/api/v1/repos", make)
    said = stackly("repo", "create", "work")
    assert said.code == 0, said.err
    assert made == ["work", REPO["clone_url"]]
    assert "secret" not in said.out + said.err
    assert "git push" in said.out
    assert "stackly repo show stackly/work --json" in said.out
    assert stackly("repo", "create", "work", "--json").json == REPO, "again it is harmless"
    assert stackly("repo", "create", "a/b/c").code == 2
