"""What Terraform says of a plan, and what a repository brings that is no code, through the whole platform."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.house import House, Repository, plain

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]

OLD = 'resource "terraform_data" "before" {\n  input = "kept"\n}\n'
NEW = OLD.replace("before", "after")
MOVED = NEW + "moved {\n  from = terraform_data.before\n  to   = terraform_data.after\n}\n"
IDENTITY = "5a3c9f10-7c1e-4a55-8d0e-0f1f2f3f4f50"
TAKEN = f'import {{\n  to = terraform_data.taken\n  id = "{IDENTITY}"\n}}\nresource "terraform_data" "taken" {{}}\n'


def _pushed(platform: House, repo: Repository, stack: str, files: Mapping[str, str | None], why: str) -> dict[str, Any]:
    commit = repo.push(files, why)
    found = platform.until(lambda: [r for r in platform.runs(stack=stack, all=True) if r["commit"] == commit], bool)
    return platform.ended(found[0]["id"])


def test_moves_imports_and_outputs_are_applied_once_and_named(platform: House, clones: Path) -> None:
    repo = platform.repository("verdicts", clones)

    def push(main: str, why: str) -> dict[str, Any]:
        return _pushed(platform, repo, "verdicts", {"a/stackly.hcl": plain("verdicts"), "a/main.tf": main}, why)

    assert push(OLD, "make it")["changed"] is True
    moved = push(MOVED, "move it")
    assert (moved["status"], moved["changed"]) == ("succeeded", True)
    assert moved["plan"]["summary"] == ["move terraform_data.before to terraform_data.after"]
    assert "terraform_data.after" in platform.get(f"explain/run/{moved['id']}")["summary"]
    again = push(NEW, "drop the block")
    assert (again["changed"], again["plan"]) == (False, None), "the next push destroys nothing"
    taken = push(NEW + TAKEN, "take it over")
    assert (taken["changed"], taken["plan"]["import"]) == (True, 1)
    assert push(NEW + TAKEN + "# once\n", "once")["changed"] is False
    assert push(NEW + TAKEN + 'output "n" {\n  value = 1\n}\n', "say it")["changed"] is True


def test_an_output_that_cannot_be_stored_ends_its_run_with_that_sentence(platform: House, clones: Path) -> None:
    repo = platform.repository("unstored", clones)
    odd = OLD + 'output "odd" {\n  value = "a\\u0000b"\n}\noutput "good" {\n  value = 1\n}\n'
    files = {"a/stackly.hcl": plain("unstored"), "a/main.tf": odd}
    run = _pushed(platform, repo, "unstored", files, "odd")
    assert run["status"] == "failed"
    assert "output 'odd' holds the character U+0000" in run["reason"]
    (state,) = platform.stack("unstored")["states"]
    assert state["status"] == "active"
    again = _pushed(platform, repo, "unstored", {"a/main.tf": OLD}, "mended")
    assert again["status"] == "succeeded"


def test_states_in_a_repository_are_nobodys_state(platform: House, clones: Path) -> None:
    repo = platform.repository("committed", clones)
    laptop = {
        "version": 4,
        "terraform_version": "1.11.4",
        "serial": 41,
        "lineage": "laptop",
        "outputs": {},
        "resources": [],
        "check_results": None,
    }
    brought = {f"a/{name}": json.dumps(laptop) for name in ("errored.tfstate", "terraform.tfstate", ".terraform/x")}
    files = {"a/stackly.hcl": plain("committed"), "a/main.tf": OLD, **brought}
    run = _pushed(platform, repo, "committed", files, "with states")
    assert (run["status"], run["changed"]) == ("succeeded", True), run["reason"]
    stack = platform.stack("committed")
    assert stack["states"][0]["serial"] < 41
    told = platform.get("events", subject=f"stack/{stack['id']}", name="file_left_out", limit=50)["items"]
    assert sorted(e["payload"]["file"] for e in told) == ["a/.terraform/", "a/errored.tfstate", "a/terraform.tfstate"]
    assert _pushed(platform, repo, "committed", {"a/main.tf": OLD + "# more\n"}, "again")["changed"] is False
