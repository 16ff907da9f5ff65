"""What a person may start: what a branch of this repository is at, and never a commit that they bring along (G11)."""

import pytest
from sqlalchemy import text

from stackly.accounts import service as accounts
from stackly.accounts.model import Actor
from stackly.api import commands
from stackly.db import Session
from stackly.runs import store as runs
from stackly.runs.model import Run
from stackly.spec.runs import RunKind, RunStatus
from stackly.stacks import reads
from stackly.stacks.store import StackNotFound
from tests.engine.syncing import Syncing, measured, plain


async def _actor(syncing: Syncing, session: Session) -> Actor:
    person = await accounts.ensure_identity(session, syncing.repo.account, "ada", [], [])
    return Actor(syncing.repo.account, person.id, "ada", frozenset(), ())


async def _start(syncing: Syncing, stack: str, *, ref: str | None = None, state: str = "default") -> Run:
    async with syncing.transactions() as session:
        actor = await _actor(syncing, session)
        found = await reads.get_stack(session, actor.account, stack, ref=ref)
        base = await commands.resolved(session, actor, found, None, state=state)
        return await runs.get_run(session, await commands.start(session, actor, base, state=state))


async def _rerun(syncing: Syncing, run: str) -> Run:
    async with syncing.transactions() as session:
        actor = await _actor(syncing, session)
        return await runs.get_run(session, await commands.rerun(session, actor, run))


async def _all_ended(syncing: Syncing) -> None:
    await syncing.execute(
        "UPDATE operations SET status = 'succeeded', deadline = NULL WHERE status = 'queued' AND slot IS NOT NULL"
    )


async def test_what_a_branch_is_at_can_be_started(syncing: Syncing) -> None:
    commit = await syncing.pushed(measured("m", "m"))
    run = await _start(syncing, "m", ref="main")
    assert (run.commit, run.kind, run.trigger["actor"]) == (commit, RunKind.BENCHMARK, "ada")


async def test_a_commit_of_a_fork_is_not_even_here(syncing: Syncing) -> None:
    """GitHub serves a fork's commits under the parent's name, and its pull requests as refs."""
    await syncing.pushed(measured("m", "m"))
    syncing.upstream.checkout("fork", new=True)
    impostor = syncing.upstream.commit({"m/main.tf": "# theirs\n"})
    syncing.upstream.checkout("main")
    syncing.upstream.git("update-ref", "refs/pull/1/head", impostor)
    syncing.upstream.drop_branch("fork")
    assert await syncing.sync() == []
    assert not await syncing.mirror.has(impostor)
    for ref in (
        impostor,
        impostor[:7],
        "refs/pull/1/head",
        "pull/1/head",
        "HEAD",
        f"main~0^{{}}{impostor}",
        "main@{1}",
    ):
        with pytest.raises(StackNotFound, match="A branch is named here, never a commit"):
            await _start(syncing, "m", ref=ref)
    assert impostor not in {r.commit for r in await syncing.runs()}


async def test_a_run_on_a_commit_that_left_history_is_not_run_again(syncing: Syncing) -> None:
    base = await syncing.pushed(measured("m", "m"))
    lost = await syncing.pushed({"m/x.tf": "# one\n"})
    (_, run) = await syncing.runs()
    await _all_ended(syncing)
    assert (await _rerun(syncing, run.id)).commit == lost
    syncing.upstream.force(base)
    await syncing.sync()
    with pytest.raises(commands.CommitLost, match=f"{lost[:7]} is in the history of main no more"):
        await _rerun(syncing, run.id)
    first = min(await syncing.runs(), key=lambda r: r.seq)
    assert (await _rerun(syncing, first.id)).commit == base, "what is older and still there can be"
    syncing.upstream.force(lost)
    await syncing.sync()
    assert (await _rerun(syncing, run.id)).commit == lost, "it is in the history again"


async def test_a_state_with_a_commit_of_its_own_is_started_there(syncing: Syncing) -> None:
    first = await syncing.pushed(plain("a", "a"))
    old = f'  state "old" {{\n    commit = "{first}"\n    variables {{\n      x = 1\n    }}\n  }}'
    second = await syncing.pushed(plain("a", "a", old, module="# newer\n"))
    pinned = next(r for r in await syncing.runs() if r.commit == first and r.status is RunStatus.QUEUED)
    await _all_ended(syncing)
    by_hand = await _start(syncing, "a", state="old")
    assert (by_hand.commit, by_hand.state) == (first, pinned.state)
    assert by_hand.spec["bundle"] == pinned.spec["bundle"]
    assert by_hand.spec["variables"] == {"x": 1}
    default = await _start(syncing, "a")
    assert (default.commit, default.spec["variables"]) == (second, {})


async def test_no_run_was_ever_made_of_a_commit_that_no_branch_had(syncing: Syncing) -> None:
    await syncing.pushed(plain("a", "a"))
    async with syncing.transactions() as session:
        made = set((await session.execute(text("SELECT commit FROM operations"))).scalars())
    assert made == {syncing.upstream.head}
