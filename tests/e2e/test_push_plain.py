"""A module without suite and contract is a plain stack: deployed, unchanged, destroyed, loose, approved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.house import PLAIN_TF, House, Refused, Repository, plain

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]

_POLICY = """policy "one_look" {
  approval {
    required       = true
    min_approvers  = 1
    allowed_groups = ["platform-admins"]
  }
}
"""


def _newest(platform: House, stack: str, commit: str) -> dict[str, Any]:
    found = platform.until(lambda: [r for r in platform.runs(stack=stack) if r["commit"] == commit], bool)
    return found[0]


def _deployed(platform: House, clones: Path, name: str, more: str = "") -> tuple[Repository, dict[str, Any]]:
    repo = platform.repository(name, clones)
    commit = repo.push({"a/stackly.hcl": plain(name, more), "a/main.tf": PLAIN_TF}, "first")
    run = platform.ended(_newest(platform, name, commit)["id"])
    assert (run["status"], run["kind"], run["changed"]) == ("succeeded", "deploy", True), run
    return repo, run


def _state(platform: House, stack: str) -> str:
    (state,) = platform.stack(stack)["states"]
    return str(state["status"])


def test_deploy_no_change_destroy_and_deploy_again(platform: House, clones: Path) -> None:
    repo, first = _deployed(platform, clones, "plain-life")
    assert [p["name"] for p in first["phases"]] == ["plan", "apply", "outputs"]
    assert first["verdict"] is None
    assert _state(platform, "plain-life") == "active"

    same = repo.push({"a/README.md": "nothing of Terraform's"}, "no change")
    second = platform.ended(_newest(platform, "plain-life", same)["id"])
    assert (second["status"], second["changed"]) == ("succeeded", False)
    assert [p["name"] for p in second["phases"]] == ["plan"]

    asked = platform.post("stacks/plain-life/destroy")
    assert asked["kind"] == "destroy"
    ended = platform.ended(asked["id"])
    assert ended["status"] == "succeeded", ended["reason"]
    assert _state(platform, "plain-life") == "destroyed"

    with pytest.raises(Refused) as nothing:
        platform.post("stacks/plain-life/destroy")
    assert nothing.value.status == 409

    again = repo.push({"a/README.md": "and back"}, "deploy again")
    third = platform.ended(_newest(platform, "plain-life", again)["id"])
    assert (third["status"], third["changed"]) == ("succeeded", True), "a destroyed state is deployed anew"
    assert _state(platform, "plain-life") == "active"


def test_code_that_goes_away_leaves_the_state_loose_and_destroys_nothing(platform: House, clones: Path) -> None:
    repo, _ = _deployed(platform, clones, "plain-loose")
    gone = repo.push({"a": None}, "the code goes")
    platform.processed(repo, main=gone)
    stack = platform.stack("plain-loose")
    assert (stack["status"], [s["status"] for s in stack["states"]]) == ("loose", ["loose"])
    assert [r["kind"] for r in platform.runs(stack=stack["id"])] == ["deploy"], "nothing was destroyed"
    assert "stack_loosened" in {e["name"] for e in platform.get("events", subject=f"stack/{stack['id']}")["items"]}

    ended = platform.ended(platform.post(f"stacks/{stack['id']}/destroy")["id"])
    assert ended["status"] == "succeeded", "a person may still end it, without the code"
    assert [s["status"] for s in platform.stack(stack["id"])["states"]] == ["destroyed"]


def test_a_failed_apply_can_be_destroyed(platform: House, clones: Path) -> None:
    """What was created before the failure is not forgotten."""
    repo = platform.repository("plain-half", clones)
    half = PLAIN_TF + (
        'resource "terraform_data" "late" {\n  input = terraform_data.thing.id\n'
        '  lifecycle {\n    postcondition {\n      condition     = self.output == ""\n'
        '      error_message = "always too late"\n    }\n  }\n}\n'
    )
    commit = repo.push({"a/stackly.hcl": plain("plain-half"), "a/main.tf": half}, "half")
    run = platform.ended(_newest(platform, "plain-half", commit)["id"])
    assert run["status"] == "failed"
    assert _state(platform, "plain-half") == "active", "something is there"
    ended = platform.ended(platform.post("stacks/plain-half/destroy")["id"])
    assert ended["status"] == "succeeded"
    assert _state(platform, "plain-half") == "destroyed"


def _asking(platform: House, clones: Path, name: str) -> tuple[Repository, dict[str, Any]]:
    repo = platform.repository(name, clones)
    files = {"a/stackly.hcl": plain(name, '  policies = ["one_look"]\n'), "a/main.tf": PLAIN_TF}
    commit = repo.push({**files, "policies/one_look.hcl": _POLICY}, "asks")
    run = _newest(platform, name, commit)
    return repo, _waiting(platform, run["id"])


def _waiting(platform: House, run: str) -> dict[str, Any]:
    found: dict[str, Any] = platform.until(
        lambda: platform.get(f"runs/{run}"), lambda r: r["status"] == "awaiting_approval"
    )
    return found


def test_a_repository_policy_asks_for_one_approval_bound_to_the_digest(platform: House, clones: Path) -> None:
    _, run = _asking(platform, clones, "plain-asks")
    assert run["digest"]
    assert run["waiting"]["blocker"] == "approval"
    assert _state(platform, "plain-asks") == "empty", "nothing is applied before the approval"

    with pytest.raises(Refused) as moved:
        platform.post(f"approvals/{run['id']}/approve", {"digest": "0" * 64})
    assert (moved.value.status, moved.value.problem["title"]) == (
        409,
        "What you looked at is not what would be applied now.",
    )
    platform.post(f"approvals/{run['id']}/approve", {"digest": run["digest"], "reason": "looked"})
    ended = platform.ended(run["id"])
    assert (ended["status"], ended["changed"]) == ("succeeded", True)
    assert [p["name"] for p in ended["phases"]] == ["plan", "approve", "apply", "outputs"]


def test_a_denial_rejects_and_applies_nothing(platform: House, clones: Path) -> None:
    _, run = _asking(platform, clones, "plain-denied")
    platform.post(f"approvals/{run['id']}/deny", {"reason": "not today"})
    assert platform.ended(run["id"])["status"] == "rejected"
    assert _state(platform, "plain-denied") == "empty"


def test_a_newer_push_takes_the_place_of_the_one_that_waits(platform: House, clones: Path) -> None:
    repo, old = _asking(platform, clones, "plain-newer")
    commit = repo.push({"a/main.tf": PLAIN_TF.replace("first", "second")}, "newer")
    new = _waiting(platform, _newest(platform, "plain-newer", commit)["id"])
    assert platform.get(f"runs/{old['id']}")["status"] == "superseded"
    with pytest.raises(Refused) as late:
        platform.post(f"approvals/{old['id']}/approve", {"digest": old["digest"]})
    assert late.value.status == 409
    open_ones = platform.get("approvals", status="open")["items"]
    assert [a["run_id"] for a in open_ones if a["run_id"] in {old["id"], new["id"]}] == [new["id"]]
    platform.post(f"approvals/{new['id']}/approve", {"digest": new["digest"]})
    assert platform.ended(new["id"])["status"] == "succeeded"


def test_a_policy_that_changes_voids_what_was_approved(platform: House, clones: Path) -> None:
    """The vote was for another judge: planned anew, asked anew, and only the new digest is applied."""
    rule = platform.home / "policies" / "house_rule.hcl"
    rule.parent.mkdir(exist_ok=True)
    rule.write_text(_POLICY.replace("one_look", "house_rule"))
    repo = platform.repository("plain-moved", clones)
    more = plain("plain-moved", '  policies = ["house_rule"]\n')
    commit = repo.push({"a/stackly.hcl": more, "a/main.tf": PLAIN_TF}, "asks")
    old = _waiting(platform, _newest(platform, "plain-moved", commit)["id"])

    rule.write_text(rule.read_text().replace('["platform-admins"]', '["platform-admins", "owners"]'))
    platform.post(f"approvals/{old['id']}/approve", {"digest": old["digest"]})
    new = platform.until(
        lambda: platform.get(f"runs/{old['id']}"),
        lambda r: r["status"] == "awaiting_approval" and r["digest"] != old["digest"],
    )
    assert _state(platform, "plain-moved") == "empty"
    with pytest.raises(Refused) as moved:
        platform.post(f"approvals/{old['id']}/approve", {"digest": old["digest"]})
    assert moved.value.status == 409
    platform.post(f"approvals/{old['id']}/approve", {"digest": new["digest"]})
    ended = platform.ended(old["id"])
    assert (ended["status"], ended["changed"], ended["digest"]) == ("succeeded", True, new["digest"])
