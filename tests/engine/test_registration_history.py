"""History that is rewritten, or set back: what stood on it is marked, what waits is void, what was applied can go."""

import io
import subprocess
import tarfile

import pytest

from stackly import db
from stackly.api.views import StateView
from stackly.approvals import store as approvals
from stackly.engine import loose
from stackly.git.mirrors import Mirror
from stackly.runs import store as runs
from stackly.runs.model import Run, RunEvent
from stackly.spec.runs import RunKind, RunStatus
from stackly.stacks import reads
from stackly.stacks import store as stacks
from tests.engine.syncing import MAIN, Syncing, measured, plain

OTHER = '# another\nresource "terraform_data" "other" {}\n'


async def _mark(syncing: Syncing, state: str) -> dict[str, str] | None:
    (row,) = await syncing.rows("SELECT history_altered FROM stack_states WHERE id = :s", s=state)
    found: dict[str, str] | None = row["history_altered"]
    return found


async def _moved(syncing: Syncing, run: Run, *events: RunEvent) -> Run:
    async with syncing.transactions() as session:
        moved = await runs.get_run(session, run.id, lock=True)
        for event in events:
            moved = await runs.transition(session, moved, event, at=await db.now(session))
        return moved


async def _rewritten(syncing: Syncing) -> tuple[str, str]:
    """Two commits; the second is replaced by another one. Shape: (the lost commit, the new one)."""
    base = await syncing.pushed({"README.md": "one\n"})
    lost = await syncing.pushed(plain("a", "a") | plain("b", "b"))
    await syncing.holds("a")
    syncing.upstream.force(base)
    return lost, syncing.upstream.commit(plain("a", "a", module=OTHER) | plain("b", "b"))


async def test_states_on_a_lost_commit_are_marked_and_administrators_are_told(syncing: Syncing) -> None:
    lost, new = await _rewritten(syncing)
    state = (await syncing.states((await syncing.code("a")).id))["default"]
    await syncing.sync()
    mark = await _mark(syncing, state.id)
    assert mark is not None
    assert (mark["commit"], mark["ref"], mark["head"]) == (lost, MAIN, new)
    (told,) = await syncing.events("history_rewritten")
    assert (told["kind"], told["before"], told["commit"], told["audience"]) == (
        "rewritten",
        lost,
        new,
        "administrators",
    )
    assert told["lost_commits"] == [lost]
    assert [(s["path"], s["state"], s["commit"]) for s in told["states"]] == [("a", "default", lost)]


async def test_a_push_that_only_adds_to_history_marks_nothing(syncing: Syncing) -> None:
    await syncing.pushed(plain("a", "a"))
    state = await syncing.holds("a")
    await syncing.pushed({"a/main.tf": OTHER})
    assert await _mark(syncing, state.id) is None
    assert await syncing.events("history_rewritten") == []


async def test_what_waits_on_a_lost_commit_is_void_with_the_reason(syncing: Syncing) -> None:
    lost, _ = await _rewritten(syncing)
    (pushed, other) = sorted(await syncing.runs(), key=lambda r: r.spec["path"])
    async with syncing.transactions() as session:
        at = await db.now(session)
        planned = await runs.transition(session, pushed, RunEvent.ADMIT, at=at, epoch=1)
        planned = await runs.transition(session, planned, RunEvent.PLAN, at=at)
        await runs.transition(session, planned, RunEvent.ASK_APPROVAL, at=at)
        request = await approvals.insert_request(
            session,
            account=pushed.account,
            run=pushed.id,
            digest="d",
            needed=1,
            groups=["dba"],
            policy="p",
            expires=at,
        )
    await syncing.sync()
    ended = {r.id: r for r in await syncing.runs()}
    why = f"the history of main was rewritten: {lost[:7]} is no part of it any more"
    assert [(ended[r].status, ended[r].reason) for r in (pushed.id, other.id)] == [(RunStatus.SUPERSEDED, why)] * 2
    (told,) = await syncing.rows("SELECT status, reason FROM approvals WHERE id = :i", i=request.id)
    assert told == {"status": "void", "reason": why}
    (event,) = await syncing.events("history_rewritten")
    assert sorted(event["runs_ended"]) == sorted([pushed.id, other.id])


async def test_a_run_that_applies_is_carried_to_its_end(syncing: Syncing) -> None:
    await _rewritten(syncing)
    pushed = min(await syncing.runs(), key=lambda r: r.spec["path"])
    async with syncing.transactions() as session:
        at = await db.now(session)
        await runs.transition(session, pushed, RunEvent.ADMIT, at=at, epoch=1)
    await _moved(syncing, pushed, RunEvent.PLAN, RunEvent.APPLY)
    await syncing.sync()
    assert {r.id: r.status for r in await syncing.runs()}[pushed.id] is RunStatus.APPLYING


async def test_a_persons_run_on_a_lost_commit_is_rejected(syncing: Syncing) -> None:
    await _rewritten(syncing)
    await syncing.execute("UPDATE operations SET slot = NULL, cause = 'person:ada'")
    before = [r.id for r in await syncing.runs()]
    await syncing.sync()
    assert {r.status for r in await syncing.runs() if r.id in before} == {RunStatus.REJECTED}


async def test_a_stack_that_did_not_change_stands_on_a_commit_that_exists_again(syncing: Syncing) -> None:
    lost, new = await _rewritten(syncing)
    await syncing.sync()
    b = await syncing.code("b")
    assert b.commit == new
    assert [(r.commit, r.status) for r in await syncing.runs(b.id)] == [
        (lost, RunStatus.SUPERSEDED),
        (new, RunStatus.QUEUED),
    ]


async def test_set_back_to_an_older_commit_is_seen_and_forward_again_too(syncing: Syncing) -> None:
    """Deduplicated by transition: the older commit was processed before, and counts again."""
    older = await syncing.pushed(plain("a", "a"))
    newer = await syncing.pushed({"a/main.tf": OTHER})
    state = await syncing.holds("a")
    syncing.upstream.force(older)
    await syncing.sync()
    (told,) = await syncing.events("history_rewritten")
    assert (told["kind"], told["merge_base"]) == ("reset", older)
    assert await _mark(syncing, state.id) is not None
    open_ = [r for r in await syncing.runs() if not r.is_terminal]
    assert [(r.commit, r.kind) for r in open_] == [(older, RunKind.DEPLOY)]
    syncing.upstream.force(newer)
    await syncing.sync()
    assert await _mark(syncing, state.id) is None, "its commit is in the history again"
    assert len(await syncing.events("history_rewritten")) == 1
    open_ = [r for r in await syncing.runs() if not r.is_terminal]
    assert [r.commit for r in open_] == [newer]


@pytest.mark.parametrize("forced", [True, False])
async def test_destroy_works_after_force_push_and_gc(syncing: Syncing, forced: bool) -> None:
    """The commit is held in the mirror; the destroy uses the bundle of the deploy, which is in storage."""
    lost, _ = await _rewritten(syncing)
    code = await syncing.code("a")
    bundle = (await syncing.runs(code.id))[0].spec["bundle"]
    (deployed,) = await syncing.runs(code.id)
    async with syncing.transactions() as session:
        at = await db.now(session)
        await runs.transition(session, deployed, RunEvent.ADMIT, at=at, epoch=1, agent="one")
    await _moved(syncing, deployed, RunEvent.PLAN, RunEvent.APPLY, RunEvent.SUCCEED)
    await syncing.sync()
    if forced:
        syncing.upstream.remove("a")
        await syncing.sync()
    _gc(syncing.mirror)
    assert lost in await syncing.mirror.kept()
    assert await syncing.mirror.has(lost)
    assert b"another" not in await syncing.mirror.bundle(lost, "a")
    async with syncing.transactions() as session:
        state = await stacks.get_state(session, (await stacks.states_of(session, code.id))[0].id, lock=True)
        destroy = await loose.request_destroy(session, state, cause="test", trigger={"kind": "person"}, reason="over")
    assert (destroy.kind, destroy.commit, destroy.spec["bundle"]) == (RunKind.DESTROY, lost, bundle)
    with tarfile.open(fileobj=io.BytesIO(await syncing.storage.get(bundle))) as packed:
        assert "a/main.tf" in packed.getnames()


async def test_a_commit_that_nothing_needs_is_let_go(syncing: Syncing) -> None:
    base = await syncing.pushed({"README.md": "one\n"})
    lost = await syncing.pushed(measured("m", "m"))
    syncing.upstream.force(base)
    new = syncing.upstream.commit(measured("m", "m", '  version = "2"'))
    await syncing.sync()
    assert await syncing.mirror.kept() == {lost, new}
    await syncing.sync()
    assert await syncing.mirror.kept() == {new}


def _gc(mirror: Mirror) -> None:
    for args in (["reflog", "expire", "--expire=now", "--all"], ["gc", "-q", "--prune=now"]):
        subprocess.run(["git", "-C", str(mirror.path), *args], check=True)


async def test_a_stack_shows_what_became_of_its_history(syncing: Syncing) -> None:
    lost, new = await _rewritten(syncing)
    code = await syncing.code("a")
    await syncing.sync()
    async with syncing.transactions() as session:
        (shown,) = (await reads.states_of(session, [code.id]))[code.id]
        view = StateView(environment=None, **shown)
        assert view.history_altered is not None
        assert (view.history_altered.commit, view.history_altered.head) == (lost, new)
        await stacks.update_state(session, shown["id"], commit=new)
        (deployed,) = (await reads.states_of(session, [code.id]))[code.id]
        assert deployed["history_altered"] is None, "deployed anew: it stands on what is there"
