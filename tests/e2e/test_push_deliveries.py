"""However deliveries arrive, many at once, again, in any order, the registry and the runs end up the same."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.deliveries import Captured, captured
from tests.e2e.house import EXAMPLES, GENTLY, TERMINAL, House, Repository, plain

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]

_ASKS = 'policy "one_look" {\n  approval {\n    required      = true\n    min_approvers = 1\n  }\n}\n'
_NEVER = {"status": 503}  # GitHub tries once, fails, and keeps the delivery in its log


def _all_at_once(deliveries: list[Captured]) -> list[int]:
    with ThreadPoolExecutor(20) as senders:
        return list(senders.map(Captured.send, deliveries))


def _events(house: House, stack: str, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = house.get("events", subject=f"stack/{stack}", name=name, limit=100)["items"]
    return found


def test_one_delivery_sent_twenty_times_at_once(platform: House, clones: Path) -> None:
    repo = platform.repository("twenty", clones)
    platform.faults(**_NEVER)
    repo.example("pg-standalone", "bench", stack="twenty", changed=GENTLY | {"duration: 10s": "duration: 5s"})
    commit = repo.push({}, "first")
    (delivery,) = platform.until(lambda: captured(platform, repo), bool)
    platform.faults()
    assert _all_at_once([delivery] * 20) == [202] * 20
    platform.processed(repo, main=commit)

    stack = platform.stack("twenty")
    assert len(_events(platform, stack["id"], "module_registered")) == 1
    (run,) = platform.until(lambda: platform.runs(stack=stack["id"]), bool)
    kept = [d for d in platform.get(f"repos/{repo.id}/deliveries")["items"] if d["event"] == "push"]
    assert [(d["attempts"], d["guid"]) for d in kept] == [(20, delivery.headers["X-GitHub-Delivery"])]

    ended = platform.ended(run["id"])
    assert (ended["status"], ended["verdict"]) == ("succeeded", "pass")
    _all_at_once([delivery] * 5)
    assert [r["id"] for r in platform.runs(stack=stack["id"], all=True) if r["parent"] is None] == [run["id"]]


def _story(repo: Repository, house: House, clones: Path) -> list[tuple[str, str]]:
    """Ten pushes on four branches, three stacks and a policy. Shape: what each pushed, (commit, branch).

    Branches leave main for good: what a new one changed is the same, whenever it is seen first.
    """
    suite = (EXAMPLES / "pg-standalone" / "suite.yaml").read_text()
    module = (EXAMPLES / "pg-standalone" / "main.tf").read_text()
    asking = '  policies = ["one_look"]\n'
    pushes: list[tuple[str, str]] = []

    def push(files: dict[str, str | None], subject: str, branch: str) -> None:
        is_new = branch != "main" and branch not in {known for _, known in pushes}
        repo.git("checkout", "-q", *(("-b", branch, "main") if is_new else (branch,)))
        repo.write(files)
        pushes.append((repo.commit(subject), branch))

    begin: dict[str, str | None] = {"policies/one_look.hcl": _ASKS}
    for name in ("one", "two"):
        begin |= {f"{name}/stackly.hcl": plain(name, asking), f"{name}/main.tf": module, f"{name}/suite.yaml": suite}
    repo.commit("nothing yet")
    push(begin, "begin", "main")
    push({"one/suite.yaml": suite.replace("clients: 4", "clients: 3")}, "one: three clients", "main")
    push({"two/suite.yaml": suite.replace("clients: 4", "clients: 5")}, "two: five clients", "feature/a")
    push({"three/stackly.hcl": plain("three", asking), "three/main.tf": module, "three/suite.yaml": suite}, "3", "main")
    push({"one/suite.yaml": suite.replace("clients: 4", "clients: 2")}, "one: two clients", "feature/a")
    push({"README.md": "words"}, "words only", "feature/b")
    push(
        {"two": None, "one/suite.yaml": suite.replace("clients: 4", "clients: 7")},
        "two goes, seven clients",
        "feature/b",
    )
    push({"one/suite.yaml": suite}, "one: as it was", "main")
    push({"one/suite.yaml": "tests: 3\n"}, "one breaks", "broken")
    push({"one/suite.yaml": suite.replace("clients: 4", "clients: 6")}, "one is mended", "broken")
    return pushes


def _sent(repo: Repository, commit: str, branch: str) -> None:
    repo.git("push", "-q", "--force", "origin", f"{commit}:refs/heads/{branch}")


def _end_state(house: House, repo: Repository) -> dict[str, Any]:
    """What must not depend on how deliveries arrived; asserts one registration and one open run per stack and ref.

    Code is told by its tree: a sync that saw fewer commits of a branch met an unchanged directory in a later one.
    """

    def tree(commit: str, path: str) -> str:
        return repo.git("rev-parse", f"{commit}:{path}")

    stacks = house.get("stacks", repo=repo.id, limit=100)["items"]
    registered = sorted((s["ref"], s["path"], s["status"], tree(s["commit"], s["path"])) for s in stacks)
    assert len({(ref, path) for ref, path, *_ in registered}) == len(registered)
    waiting = []
    for stack in stacks:
        runs = house.runs(stack=stack["id"])
        kept = [r for r in runs if r["status"] != "superseded"]
        assert len(kept) <= 1, [(r["status"], r["commit"]) for r in runs]
        waiting += [(stack["ref"], stack["path"], tree(r["commit"], stack["path"]), r["kind"]) for r in kept]
    return {"registered": registered, "runs": sorted(waiting)}


def _settled(house: House, repo: Repository) -> dict[str, Any]:
    """The state once admission has looked at every run."""

    def look() -> list[str]:
        stacks = house.get("stacks", repo=repo.id, limit=100)["items"]
        return [r["status"] for s in stacks for r in house.runs(stack=s["id"])]

    house.until(look, lambda all_of: set(all_of) <= {*TERMINAL, "awaiting_approval"})
    return _end_state(house, repo)


def test_fifty_deliveries_permuted_and_doubled_end_as_those_in_order(platform: House, clones: Path) -> None:
    ordered, mixed = (platform.repository(name, clones) for name in ("in-order", "permuted"))
    pushes = _story(ordered, platform, clones)
    heads = {branch.replace("/", "__"): commit for commit, branch in pushes}
    for commit, branch in pushes:
        _sent(ordered, commit, branch)
        platform.processed(ordered, **{branch.replace("/", "__"): commit})

    mixed.git("fetch", "-q", str(ordered.clone), "+refs/heads/*:refs/remotes/story/*")
    platform.faults(**_NEVER)
    half = len(pushes) // 2
    for commit, branch in pushes[:half]:
        _sent(mixed, commit, branch)
    early = platform.until(lambda: captured(platform, mixed), lambda c: len(c) == half)
    chance = random.Random(50)
    with ThreadPoolExecutor(10) as senders:  # the second half is pushed while deliveries of the first still arrive
        some = [senders.submit(d.send) for d in chance.sample(early * 4, 4 * half)]
        for commit, branch in pushes[half:]:
            _sent(mixed, commit, branch)
        assert {one.result() for one in some} == {202}
    everything = platform.until(lambda: captured(platform, mixed), lambda c: len(c) == len(pushes))
    platform.faults()
    rest = everything * 3
    chance.shuffle(rest)
    assert set(_all_at_once(rest)) == {202}, "50 in all"
    assert len(some) + len(rest) == 50

    platform.processed(mixed, **heads)
    wanted = _settled(platform, ordered)
    assert {ref for ref, *_ in wanted["runs"]} == {
        f"refs/heads/{b}" for b in ("main", "feature/a", "feature/b", "broken")
    }
    assert _settled(platform, mixed) == wanted


def test_a_lost_delivery_is_made_good_by_the_next_one_of_any_branch(platform: House, clones: Path) -> None:
    repo = platform.repository("lossy", clones)
    platform.faults(drop=1.0)
    lost = repo.push({"a/stackly.hcl": plain("lossy"), "a/main.tf": ""}, "never told")
    platform.faults(duplicate=1.0, reorder=10, seed=7)
    other = repo.push({"words.md": "x"}, "told twice", branch="other")
    seen = platform.processed(repo, main=lost, other=other)
    platform.faults()
    assert seen["status"] == "active"
    assert len(_events(platform, platform.stack("lossy", ref="refs/heads/main")["id"], "module_registered")) == 1
