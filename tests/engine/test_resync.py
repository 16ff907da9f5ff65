"""Lost webhooks: each repository has its turn, and exactly one, in every round."""

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from stackly.accounts import service as accounts
from stackly.db import Transactions
from stackly.engine.dispatcher import resync
from stackly.stacks import store as stacks


@given(st.sets(st.text(min_size=1, max_size=20), max_size=50), st.integers(0, 10_000))
def test_every_repository_has_one_turn_a_round(repos: set[str], start: int) -> None:
    turns = [repo for slot in range(start, start + resync.SLOTS) for repo in resync.due(repos, slot)]
    assert sorted(turns) == sorted(repos)


async def test_only_active_repositories_are_rung(transactions: Transactions) -> None:
    async with transactions() as session:
        account = await accounts.ensure_account(session)
        for n, status in enumerate(("active", "archived")):
            repo = await stacks.insert_repo(
                session,
                account.id,
                github_id=n,
                full_name=f"octo/{n}",
                clone_url=f"http://127.0.0.1:1/octo/{n}.git",
                default_branch="main",
                hook="",
            )
            await session.execute(
                text("UPDATE repos SET status = :status WHERE id = :id"), {"status": status, "id": repo.id}
            )
        active = [r.id for r in await stacks.list_active_repos(session)]
    assert len(active) == 1
    rung = [await resync.resync(transactions)]
    async with transactions() as session:
        keys = (await session.execute(text("SELECT key FROM outbox"))).scalars().all()
    assert set(keys) <= set(active)
    assert len(keys) == rung[0]
