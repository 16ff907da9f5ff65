"""Branches come, go, and come back; what is wrong with one ref, or one stack, is its own."""

import functools
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from stackly.db import Transactions
from stackly.engine import gathering
from stackly.engine.activities.sync import Sync
from stackly.errors import Faulty
from stackly.git import packs
from stackly.spec.runs import RunKind, RunStatus
from stackly.stacks import reads
from tests.engine.syncing import MAIN, Syncing, build, measured, plain

DEV = "refs/heads/dev"


@pytest.fixture
async def patient(transactions: Transactions, tmp_path: Path) -> Syncing:
    """Branches that go away are waited for."""
    return await build(transactions, tmp_path, grace=timedelta(minutes=15))


async def _age(syncing: Syncing, minutes: int) -> None:
    await syncing.execute(
        "UPDATE repo_refs SET gone_since = gone_since - make_interval(mins => :m) WHERE gone_since IS NOT NULL",
        m=minutes,
    )


async def _branch_with_resources(syncing: Syncing) -> str:
    await syncing.pushed(plain("a", "a"))
    syncing.upstream.branch("dev")
    await syncing.sync()
    await syncing.holds("a", ref=DEV)
    return (await syncing.code("a", DEV)).id


async def test_a_new_branch_at_an_old_commit_is_registered_whole(syncing: Syncing) -> None:
    first = await syncing.pushed(plain("a", "a") | measured("m", "m"))
    await syncing.pushed(plain("b", "b"))
    syncing.upstream.branch("dev", first)
    await syncing.sync()
    assert {p: c.commit for p, c in (await syncing.codes(DEV)).items()} == {"a": first, "m": first}
    assert await syncing.runs((await syncing.code("m", DEV)).id) == [], "it was started where it came from"


async def test_a_branch_that_went_away_keeps_its_stacks_for_a_while(patient: Syncing) -> None:
    code = await _branch_with_resources(patient)
    patient.upstream.drop_branch("dev")
    await patient.sync()
    await _age(patient, 14)
    assert await patient.sync() == []
    assert (await patient.code_by_id(code)).status == "active"
    await _age(patient, 2)
    await patient.sync()
    assert (await patient.code_by_id(code)).status == "loose"
    assert (await patient.states(code))["default"].status == "loose"
    assert RunKind.DESTROY not in {r.kind for r in await patient.runs()}
    assert await patient.sync() == []


async def test_a_branch_that_is_back_in_time_was_never_gone(patient: Syncing) -> None:
    code = await _branch_with_resources(patient)
    patient.upstream.drop_branch("dev")
    await patient.sync()
    await _age(patient, 14)
    patient.upstream.branch("dev", "main")
    assert await patient.sync() == []
    patient.upstream.drop_branch("dev")
    await patient.sync()
    await _age(patient, 14)
    await patient.sync()
    assert (await patient.code_by_id(code)).status == "active", "its time began anew"


async def test_a_branch_that_is_back_too_late_finds_its_stack_again(patient: Syncing) -> None:
    code = await _branch_with_resources(patient)
    patient.upstream.drop_branch("dev")
    await patient.sync()
    await _age(patient, 16)
    await patient.sync()
    patient.upstream.branch("dev", "main")
    await patient.sync()
    assert (await patient.code("a", DEV)).id == code
    assert (await patient.states(code))["default"].status == "active"


async def test_a_repository_without_any_branch_deletes_nothing(syncing: Syncing) -> None:
    await syncing.pushed(plain("a", "a"))
    head = syncing.upstream.head
    syncing.upstream.git("update-ref", "-d", MAIN)
    assert await syncing.sync() == []
    assert list(await syncing.codes()) == ["a"]
    (told,) = await syncing.rows("SELECT reason FROM repos")
    assert "no branch at all" in told["reason"]
    syncing.upstream.git("update-ref", MAIN, head)
    await syncing.sync()
    assert (await syncing.rows("SELECT reason FROM repos")) == [{"reason": None}]


@pytest.mark.parametrize("status", ["suspended", "archived", "deleted", "uninstalled"])
async def test_a_repository_out_of_reach_is_left_as_it_is(syncing: Syncing, status: str) -> None:
    await syncing.pushed(plain("a", "a"))
    await syncing.execute("UPDATE repos SET status = :s", s=status)
    syncing.upstream.remove("a")
    assert await syncing.sync() == []
    assert list(await syncing.codes()) == ["a"]


async def test_one_ref_that_fails_stops_no_other(syncing: Syncing, monkeypatch: pytest.MonkeyPatch) -> None:
    await syncing.pushed(plain("a", "a"))
    syncing.upstream.checkout("bad", new=True)
    poison = syncing.upstream.commit(plain("p", "p"))
    syncing.upstream.checkout("main")
    syncing.upstream.branch("zzz")
    real = gathering.gather

    async def poisoned(commit: gathering.Commit, *rest: Any) -> Any:
        if commit.oid == poison:
            raise ValueError("nobody thought of this")
        return await real(commit, *rest)

    monkeypatch.setattr("stackly.engine.activities.sync.gather", poisoned)
    outcomes = await syncing.sync()
    assert [bool(o.failed) for o in outcomes] == [True, False]
    assert list(await syncing.codes("refs/heads/zzz")) == ["a"]
    (told,) = await syncing.events("sync_failed")
    assert (told["ref"], told["commit"]) == ("refs/heads/bad", poison)
    async with syncing.transactions() as session:
        shown = await reads.get_repo(session, syncing.repo.account, "octo/stacks")
    assert shown["reason"] == "bad: It failed unforeseen (ValueError); the log has its trace."
    await syncing.sync()
    assert len(await syncing.events("sync_failed")) == 1, "the same failure is told once"
    monkeypatch.undo()
    await syncing.sync()
    assert sorted(await syncing.codes("refs/heads/bad")) == ["a", "p"]
    async with syncing.transactions() as session:
        assert (await reads.get_repo(session, syncing.repo.account, "octo/stacks"))["reason"] is None


async def test_hostile_stacks_are_rejected_one_by_one(syncing: Syncing) -> None:
    files: dict[str, str | None] = {
        "big/main.tf": "# x\n",
        "big/stackly.hcl": 'stack "big" {}\n',
        "big/suite.yaml": "#" * 300_000,
        "out/stackly.hcl": 'stack "out" {}\n',
        "out/main.tf": 'module "x" {\n  source = "../../elsewhere"\n}\n',
        "link/stackly.hcl": 'stack "link" {}\n',
        "link/main.tf": "# x\n",
        "linked/stackly.hcl": 'stack "linked" {}\n',
    }
    for name in ("link/secret", "linked/main.tf"):
        (syncing.upstream.path / name).parent.mkdir(exist_ok=True)
        (syncing.upstream.path / name).symlink_to("/etc/passwd")
    await syncing.pushed(files | plain("good", "good"))
    codes = await syncing.codes()
    assert {p: c.status for p, c in codes.items()} == {
        "big": "rejected",
        "out": "rejected",
        "link": "active",
        "linked": "rejected",
        "good": "active",
    }
    files_named = {p: c.errors[0]["file"] for p, c in codes.items() if c.errors}
    assert files_named == {
        "big": "big/suite.yaml",
        "out": "out/main.tf",
        "linked": "linked/stackly.hcl",
    }


async def test_a_second_attempt_of_a_sync_that_succeeded_changes_nothing(syncing: Syncing) -> None:
    syncing.upstream.commit(plain("a", "a"))
    (change,) = (await syncing.activities.fetch(syncing.repo.id)).changes
    await syncing.activities.process(change)
    again = await syncing.activities.process(change)
    assert (again.registered, again.runs, again.failed) == (0, [], "")
    assert len(await syncing.runs()) == 1


async def test_two_workers_that_take_turns_see_what_the_other_did(syncing: Syncing) -> None:
    """Each keeps what a ref held when it registered last; that counts for that generation only."""
    source = syncing.activities._source
    other = replace(syncing, activities=Sync(syncing.transactions, syncing.storage, source))
    await syncing.pushed(plain("a", "a"))
    await other.pushed(plain("b", "b"))
    syncing.upstream.remove("b")
    await syncing.sync()
    assert list(await syncing.codes()) == ["a"]
    await other.pushed(plain("b", "b"))
    assert sorted(await syncing.codes()) == ["a", "b"]


async def test_the_newest_push_supersedes_what_waits(syncing: Syncing) -> None:
    await syncing.pushed(plain("a", "a"))
    last = await syncing.pushed({"a/main.tf": "# newer\n"})
    first, second = await syncing.runs()
    assert (first.status, second.status, second.commit) == (RunStatus.SUPERSEDED, RunStatus.QUEUED, last)


async def test_a_mirror_is_tidied_after_its_pushes(syncing: Syncing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packs, "combine", functools.partial(packs.combine, most=3))
    for n in range(6):
        await syncing.pushed(plain("a", "a", module=f"# {n}\n"))
        assert len(list((syncing.mirror.path / "objects" / "pack").glob("*.pack"))) <= 3
    assert len(await syncing.runs()) == 6


async def test_a_mirror_that_cannot_be_tidied_stops_no_push(syncing: Syncing, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: Any, **__: Any) -> int:
        raise Faulty("The disk is full.")

    monkeypatch.setattr(packs, "combine", refuse)
    commit = await syncing.pushed(plain("a", "a"))
    assert (await syncing.code("a")).commit == commit
