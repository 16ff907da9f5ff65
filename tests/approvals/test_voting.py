"""Votes on a benchmark that waits as a row."""

import asyncio
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import text

from stackly.accounts import service as accounts
from stackly.approvals import store
from stackly.approvals.service import AlreadyVoted, DigestMoved, NothingToApprove, SelfApproval
from stackly.ids import AccountId
from stackly.runs.model import Run
from stackly.spec.runs import RunKind, RunStatus
from tests.engine.deploying import NEEDS_ONE, NEEDS_TWO, Policies, under, vote
from tests.engine.rows import NIGHTLY, Rows, side_by_side

pytestmark = pytest.mark.timeout(1800 if NIGHTLY else 300)

ASKED = "SELECT id FROM approvals WHERE operation = :run"
PAIRS = 1000 if NIGHTLY else 20


@pytest.fixture
def policies(tmp_path: Path) -> Policies:
    return Policies(tmp_path).say(NEEDS_ONE)


@pytest.fixture
async def held(rows: Rows, policies: Policies) -> Run:
    run = await under(rows, policies, RunKind.BENCHMARK)
    await rows.drained()
    return await rows.run(run.id)


async def test_it_waits_as_a_row_and_a_vote_admits_it(rows: Rows, held: Run) -> None:
    assert (held.status, held.blocker, held.epoch) == (RunStatus.AWAITING_APPROVAL, "approval", None)
    assert held.deadline is not None
    assert rows.temporal.started.total() == 0
    await vote(rows, held, "ada")
    await rows.drained()
    assert (await rows.run(held.id)).status is RunStatus.STARTING
    assert rows.temporal.started == {f"run/{held.id}": 1}


async def test_who_is_behind_the_run_cannot_approve_it(rows: Rows, held: Run) -> None:
    with pytest.raises(SelfApproval):
        await vote(rows, held, "octo")
    await rows.drained()
    assert (await rows.run(held.id)).status is RunStatus.AWAITING_APPROVAL
    await vote(rows, held, "octo", "deny")
    await rows.drained()
    assert (await rows.run(held.id)).status is RunStatus.REJECTED


async def test_a_denial_rejects(rows: Rows, held: Run) -> None:
    await vote(rows, held, "ada", "deny")
    await rows.drained()
    ended = await rows.run(held.id)
    assert ended.status is RunStatus.REJECTED
    assert "ada" in (ended.reason or "")
    with pytest.raises(NothingToApprove):
        await vote(rows, held, "bob")


async def test_a_digest_that_moved_voids_what_was_asked(rows: Rows, policies: Policies, held: Run) -> None:
    policies.say(NEEDS_ONE.replace('"dba"', '"dba", "sre"'))
    request = await vote(rows, held, "ada", digest=held.digest)
    await rows.drained()
    waiting = await rows.run(held.id)
    assert waiting.status is RunStatus.AWAITING_APPROVAL
    assert waiting.digest != held.digest
    assert await rows.scalar("SELECT status FROM approvals WHERE id = :i", i=request.id) == "void"
    with pytest.raises(DigestMoved):
        await vote(rows, waiting, "ada", digest=held.digest)
    await vote(rows, waiting, "ada", digest=waiting.digest)
    await rows.drained()
    assert (await rows.run(held.id)).status is RunStatus.STARTING


async def test_a_person_votes_once(rows: Rows, held: Run) -> None:
    await vote(rows, held, "ada")
    with pytest.raises(AlreadyVoted):
        await vote(rows, held, "ada")


async def _awaiting(rows: Rows, policies: Policies, count: int) -> list[Run]:
    policies.say(NEEDS_TWO)
    for n in range(count):
        await under(rows, policies, RunKind.BENCHMARK, state=f"s{n}")
    await rows.drained()
    async with rows.transactions() as session:
        for login in ("ada", "bob"):
            await accounts.ensure_identity(session, AccountId(rows.account), login, [], ["dba"])
        found = await session.execute(text("SELECT id FROM operations WHERE status = 'awaiting_approval'"))
        ids = [r.id for r in found]
    assert len(ids) == count
    return [await rows.run(run) for run in ids]


async def test_two_votes_at_once_never_miss_the_quorum(rows: Rows, policies: Policies) -> None:
    async def pair(run: Run) -> None:
        await asyncio.gather(vote(rows, run, "ada"), vote(rows, run, "bob"))
        await rows.drained(rows.replica(run.id))

    runs = await _awaiting(rows, policies, PAIRS)
    await side_by_side([partial(pair, run) for run in runs], at_once=3)
    await rows.drained()
    assert await rows.scalar("SELECT count(*) FROM operations WHERE status = 'starting'") == PAIRS


async def test_tallied_without_the_row_lock_the_quorum_is_missed(rows: Rows, policies: Policies) -> None:
    """Negative control: each voter counts in its own transaction, and takes no turn."""
    missed = 0

    async def pair(run: Run) -> None:
        nonlocal missed
        written = asyncio.Barrier(2)

        async def one(login: str) -> int:
            async with rows.transactions() as session:
                (asked,) = (await session.execute(text(ASKED), {"run": run.id})).scalars()
                person = await accounts.find_person(session, AccountId(rows.account), login)
                await store.insert_vote(session, asked, person.id, "approve", None)
                await written.wait()
                return len(await store.votes(session, asked))

        missed += max(await asyncio.gather(one("ada"), one("bob"))) < 2

    runs = await _awaiting(rows, policies, PAIRS)
    await side_by_side([partial(pair, run) for run in runs], at_once=3)
    assert missed > 0
