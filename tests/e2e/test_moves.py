"""`git mv` of a deployed stack destroys nothing: its state follows, or waits with the evidence. All parts are real."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.house import PLAIN_TF, House, Refused, Repository, plain

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]


def _deployed(platform: House, clones: Path, name: str) -> tuple[Repository, dict[str, Any]]:
    """Returns the repository and the stack as it stands."""
    repo = platform.repository(name, clones)
    repo.push({"old/stackly.hcl": plain(name), "old/main.tf": PLAIN_TF}, "make it")
    run = platform.ended(platform.until(lambda: platform.runs(stack=name), bool)[0]["id"])
    assert (run["status"], run["changed"]) == ("succeeded", True), run
    return repo, platform.stack(name)


def _move(platform: House, repo: Repository, files: dict[str, str | None]) -> dict[str, Any]:
    """`git mv old new`, with further changes; returns the plan's run when it has ended."""
    repo.git("mv", "old", "new")
    commit = repo.push(files, "move it")
    found = platform.until(lambda: [r for r in platform.runs(kind="preview") if r["commit"] == commit], bool)
    return platform.ended(found[0]["id"])


def _kinds(platform: House, *stacks: str) -> list[str]:
    return sorted(r["kind"] for stack in stacks for r in platform.runs(stack=stack))


def test_a_moved_stack_keeps_what_it_made(platform: House, clones: Path) -> None:
    repo, old = _deployed(platform, clones, "mv-same")
    run = _move(platform, repo, {})
    assert (run["status"], run["changed"], run["trigger"]["kind"]) == ("succeeded", False, "move"), run
    new = platform.stack("mv-same")
    assert (new["path"], new["moved_from"], new["status"]) == ("new", old["id"], "active")
    (before,), (after,) = old["states"], new["states"]
    assert (after["id"], after["serial"], after["status"]) == (before["id"], before["serial"], "active")
    assert after["commit"] == run["commit"]
    assert platform.stack(old["id"])["status"] == "deregistered"
    assert _kinds(platform, old["id"], new["id"]) == ["deploy", "preview"], "nothing was destroyed, nothing made twice"

    changed = repo.push({"new/main.tf": PLAIN_TF.replace("first", "second")}, "change it there")
    run = platform.ended(platform.until(lambda: [r for r in platform.runs() if r["commit"] == changed], bool)[0]["id"])
    assert (run["kind"], run["status"], run["changed"]) == ("deploy", "succeeded", True), run["reason"]
    (grown,) = platform.stack("mv-same")["states"]
    assert grown["id"] == before["id"]
    assert grown["serial"] > after["serial"]
    told = platform.get(f"stacks/{new['id']}/history")["items"]
    assert [(h["kind"], h["why"]) for h in told] == [
        ("deploy", "change it there"),
        ("preview", "move it"),
        ("deploy", "make it"),
    ]
    assert platform.ended(platform.post(f"stacks/{new['id']}/destroy")["id"])["status"] == "succeeded"


def test_moved_and_changed_it_waits_and_one_command_ends_that(platform: House, clones: Path) -> None:
    repo, old = _deployed(platform, clones, "mv-changed")
    run = _move(platform, repo, {"new/main.tf": PLAIN_TF.replace("first", "second")})
    assert (run["status"], run["changed"]) == ("succeeded", True), run
    waiting = platform.stack(old["id"])
    with pytest.raises(Refused):
        platform.stack("mv-changed")
    (new,) = [s for s in platform.get("stacks", repo=repo.id)["items"] if s["path"] == "new"]
    assert (waiting["status"], new["status"], new["states"]) == ("loose", "active", [])
    command = f"`stackly stack associate {old['id']} {new['id']}` to do it anyway"
    assert waiting["reason"] == f"the plan against new would add 0, change 1, destroy 0; {command}"

    with pytest.raises(Refused) as refused:
        platform.post(f"stacks/{old['id']}/associate", {"target": new["id"], "state": "default", "name": "nobody"})
    assert refused.value.problem["problems"] == [
        'new/stackly.hcl has no state "nobody": add it, or give the state another name'
    ]
    assert platform.stack(old["id"]) == waiting

    asked = platform.post(f"stacks/{old['id']}/associate", {"target": new["id"], "reason": "the same thing"})
    ended = platform.ended(asked["id"])
    assert (ended["kind"], ended["status"], ended["changed"]) == ("deploy", "succeeded", True), ended["reason"]
    (state,) = platform.stack(new["id"])["states"]
    assert (state["id"], state["status"]) == (old["states"][0]["id"], "active")
    assert platform.stack(old["id"])["status"] == "deregistered"
    assert _kinds(platform, old["id"], new["id"]) == ["deploy", "deploy", "preview"]
