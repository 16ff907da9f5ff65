"""What is wrong in a pushed file is told by file, line and column, and stops nobody else."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.house import EXAMPLES, PLAIN_TF, House, Repository, plain

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]

_MODULE = (EXAMPLES / "pg-standalone" / "main.tf").read_text()
_SUITE = (EXAMPLES / "pg-standalone" / "suite.yaml").read_text()

# directory -> (files, the file that is wrong, its line, a word of the message)
_BROKEN: dict[str, tuple[dict[str, str], str, int, str]] = {
    "hcl": ({"stackly.hcl": 'stack "hcl" {\n  version = \n}\n', "main.tf": PLAIN_TF}, "stackly.hcl", 2, ""),
    "yaml": (
        {
            "stackly.hcl": plain("yaml"),
            "main.tf": _MODULE,
            "suite.yaml": _SUITE.replace("clients: 4", "clients: many, wheels: 3"),
        },
        "suite.yaml",
        7,
        "wheels",
    ),
    "yaml-syntax": (
        {"stackly.hcl": plain("yaml-syntax"), "main.tf": _MODULE, "suite.yaml": "version: 1\nname: [\n"},
        "suite.yaml",
        3,
        "",
    ),
    "policy": (
        {"stackly.hcl": plain("policy", '  policies = ["no_such_policy"]\n'), "main.tf": PLAIN_TF},
        "stackly.hcl",
        3,
        "no_such_policy",
    ),
    "contract": (
        {"stackly.hcl": plain("contract"), "main.tf": PLAIN_TF, "suite.yaml": _SUITE},
        "stackly.hcl",
        1,
        "stackly_user_data",
    ),
}


def _files() -> dict[str, str]:
    return {f"{where}/{name}": text for where, (files, *_) in _BROKEN.items() for name, text in files.items()}


def _by_path(platform: House, repo: Repository) -> dict[str, dict[str, Any]]:
    found = platform.get("stacks", limit=100, repo=repo.id)["items"]
    return {s["path"]: platform.stack(s["id"]) for s in found}


def test_every_broken_stack_is_rejected_with_its_place_and_its_neighbour_runs(platform: House, clones: Path) -> None:
    repo = platform.repository("broken", clones)
    commit = repo.push(
        {**_files(), "good/stackly.hcl": plain("good"), "good/main.tf": PLAIN_TF}, "five broken, one good"
    )
    platform.processed(repo, main=commit)
    stacks = _by_path(platform, repo)
    assert {p: s["status"] for p, s in stacks.items()} == {**dict.fromkeys(_BROKEN, "rejected"), "good": "active"}

    for where, (_, file, line, word) in _BROKEN.items():
        errors = stacks[where]["errors"]
        assert errors, where
        first = errors[0]
        assert (first["file"], first["line"]) == (f"{where}/{file}", line), first
        assert first["column"] >= 1
        assert word in " ".join(e["message"] for e in errors)
        events = platform.get("events", subject=f"stack/{stacks[where]['id']}")["items"]
        assert "module_rejected" in {e["name"] for e in events}
        told = next(e for e in events if e["name"] == "module_rejected")["payload"]["errors"]
        assert told == errors, "the event says what the stack says"

    (run,) = [r for r in platform.runs() if r["stack"] == "good"]
    assert platform.ended(run["id"])["status"] == "succeeded"
    assert not [r for r in platform.runs() if r["stack"] in _BROKEN], "a rejected stack has no run"


def test_a_corrected_push_registers(platform: House, clones: Path) -> None:
    repo = platform.repository("mended", clones)
    wrong = repo.push({"a/stackly.hcl": 'stack "mended" {\n  wheels = 4\n}\n', "a/main.tf": PLAIN_TF}, "wrong")
    platform.processed(repo, main=wrong)
    (rejected,) = _by_path(platform, repo).values()
    assert (rejected["status"], rejected["errors"][0]["line"]) == ("rejected", 2)

    mended = repo.push({"a/stackly.hcl": plain("mended")}, "mended")
    platform.processed(repo, main=mended)
    (stack,) = _by_path(platform, repo).values()
    assert (stack["id"], stack["status"], stack["errors"]) == (rejected["id"], "active", [])
    (run,) = platform.runs(stack=stack["id"])
    assert platform.ended(run["id"])["status"] == "succeeded"


def test_a_stack_that_breaks_later_keeps_what_it_deployed(platform: House, clones: Path) -> None:
    repo = platform.repository("breaks", clones)
    repo.push({"a/stackly.hcl": plain("breaks"), "a/main.tf": PLAIN_TF}, "good")
    platform.until(lambda: platform.runs(stack="breaks"), bool)
    platform.ended(platform.runs(stack="breaks")[0]["id"])
    was = platform.stack("breaks")["id"]
    broken = repo.push({"a/stackly.hcl": plain("breaks", "  bogus = 1\n")}, "broken")
    platform.processed(repo, main=broken)
    stack = platform.stack(was)
    assert stack["status"] == "rejected"
    assert [s["status"] for s in stack["states"]] == ["active"], "what was deployed is still there"
    assert len(platform.runs(stack=was)) == 1


def test_terraform_judges_what_cannot_be_read(platform: House, clones: Path) -> None:
    """A file of Terraform's that Stackly cannot read costs a warning; a broken one fails its run, at its place."""
    repo = platform.repository("judged", clones)
    legal = 'variable /* knob */ "größe" {\n  default = 3\n}\n'
    repo.push(
        {
            "ok/stackly.hcl": plain("legal"),
            "ok/main.tf": PLAIN_TF + legal,
            "bad/stackly.hcl": plain("illegal"),
            "bad/main.tf": PLAIN_TF + 'resource "x" {{\n',
        },
        "one legal, one not",
    )
    for name, status in (("legal", "succeeded"), ("illegal", "failed")):
        asked = partial(platform.runs, stack=name)
        ended = platform.ended(platform.until(asked, bool)[0]["id"])
        stack = platform.stack(name)
        assert (ended["status"], stack["status"]) == (status, "active")
        assert "Terraform judges it" in stack["warnings"][0]
    assert "main.tf:" in ended["reason"]
