"""The cache of stacks' code: what nobody needs any more goes after a while, and nothing else does."""

import pytest
from sqlalchemy import text

from stackly.git import bundles
from stackly.git.trees import Entry
from stackly.stacks import code_store
from stackly.stacks.code_store import CodePlace
from tests.engine.rows import Rows

USED, OLD, YOUNG = "c" * 40, "d" * 40, "e" * 40
SAME, OWN = b"# the same\n", b"# only there\n"


async def _filled(rows: Rows, commit: str, path: str, *contents: bytes, days: int = 31) -> None:
    blobs = {bundles.blob_id(c): c for c in contents}
    entries = [Entry(f"{path}/{n}.tf", "100644", oid) for n, oid in enumerate(blobs)]
    async with rows.transactions() as session:
        await code_store.fill(session, CodePlace(rows.repo_id, commit, path), entries, blobs)
        for table in ("git_trees", "git_entries"):
            age = f"UPDATE {table} SET cached_at = cached_at - make_interval(days => :days) WHERE commit = :commit"
            await session.execute(
                text(f"{age} AND path LIKE :path"), {"days": days, "commit": commit, "path": f"{path}%"}
            )


async def _expired(rows: Rows) -> int:
    async with rows.transactions() as session:
        return await code_store.expire(session, days=30)


async def _here(rows: Rows, commit: str, path: str) -> bool:
    async with rows.transactions() as session:
        return await code_store.read(session, CodePlace(rows.repo_id, commit, path)) is not None


async def test_old_trees_of_commits_in_no_use_go_with_what_only_they_had(rows: Rows) -> None:
    """A world's own stack stands on USED."""
    await _filled(rows, USED, "a", SAME)
    await _filled(rows, OLD, "a", SAME, OWN)
    await _filled(rows, YOUNG, "a", SAME, days=29)
    assert await _expired(rows) == 1
    assert [await _here(rows, commit, "a") for commit in (USED, OLD, YOUNG)] == [True, False, True]
    left = await rows.scalar("SELECT array_agg(oid) FROM git_blobs")
    assert left == [bundles.blob_id(SAME)]
    assert await _expired(rows) == 0
    await _filled(rows, OLD, "a", SAME, OWN)
    assert await _here(rows, OLD, "a"), "who asks nevertheless fills it again"


async def test_files_that_another_tree_of_the_commit_has_stay(rows: Rows) -> None:
    await _filled(rows, OLD, "a", SAME)
    await _filled(rows, OLD, "b", SAME, days=1)
    assert await _expired(rows) == 1
    assert await _here(rows, OLD, "b")


LOOSE = "UPDATE stack_codes SET commit = :commit, status = 'loose'"
DESTROYING = (
    "INSERT INTO stack_states (id, account, code, name, key, commit, status)"
    " SELECT 's', account, id, 'default', 'k', :commit, 'destroying' FROM stack_codes"
)


@pytest.mark.parametrize("use", [LOOSE, DESTROYING], ids=["a loose stack", "a state with resources"])
async def test_what_a_destroy_may_need_stays(rows: Rows, use: str) -> None:
    await _filled(rows, OLD, "a", OWN)
    await rows.execute(use, commit=OLD)
    assert await _expired(rows) == 0
    assert await _here(rows, OLD, "a")
