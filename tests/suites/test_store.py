"""Leases and results on a real Postgres."""

import asyncio
import ipaddress
import itertools
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import insert, text, update

from stackly import db, ids
from stackly.accounts.tables import AccountRow
from stackly.db import Session, Transactions
from stackly.errors import Conflict, Exhausted, NotFound
from stackly.ids import LeaseId, ObligationId, RepoId, RunId, StateId
from stackly.runs.tables import RunRow, TestRow
from stackly.stacks.tables import RepoRow, StackCodeRow, StackStateRow
from stackly.suites import store
from stackly.suites.model import Sample
from stackly.suites.store import Lease, first_free, last_valid_result, lease_network, put_result

AT = datetime(2026, 1, 1, tzinfo=UTC)
OBLIGATION = ObligationId("o")


async def stack(session: Session) -> tuple[RepoId, str]:
    """An account, a repository and a stack code. Shape: the repository and the code."""
    account, repo, code = ids.new_id(), ids.new_id(), ids.new_id()
    await session.execute(insert(AccountRow).values(id=account, name=account))
    await session.execute(
        insert(RepoRow).values(
            id=repo, account=account, github_id=1, full_name="a/b", clone_url="http://h/a/b.git", default_branch="main"
        )
    )
    await session.execute(
        insert(StackCodeRow).values(
            id=code,
            account=account,
            repo=repo,
            ref="refs/heads/main",
            path="pg",
            name="pg",
            tree="t",
            commit="c",
            kind="ephemeral",
            config={},
            status="active",
        )
    )
    return RepoId(repo), code


async def states(session: Session, count: int) -> list[StateId]:
    _, code = await stack(session)
    account = (await session.execute(text("SELECT account FROM stack_codes"))).scalar_one()
    made = [StateId(ids.new_id()) for _ in range(count)]
    rows = [{"id": s, "account": account, "code": code, "name": s, "key": s} for s in made]
    await session.execute(insert(StackStateRow), rows)
    return made


async def take(session: Session, state: StateId, **other: Any) -> Lease:
    asked: dict[str, Any] = {"pool": 1, "supernet": "127.64.0.0/10", "prefix": 28} | other
    return await lease_network(session, state=state, obligation=OBLIGATION, **asked)


@pytest.fixture
async def many(database: str) -> AsyncIterator[Transactions]:
    engine = db.engine(database, size=15)
    yield db.transactions(engine)
    await engine.dispose()


async def reserve_at_once(transactions: Transactions, wanted: list[StateId]) -> list[Lease | BaseException]:
    async def one(state: StateId) -> Lease:
        async with transactions() as session:
            return await take(session, state)

    # Thirty connections at a time are as many as the pool has; each waits for the lock in Postgres.
    gate = asyncio.Semaphore(30)

    async def bounded(state: StateId) -> Lease:
        async with gate:
            return await one(state)

    return await asyncio.gather(*(bounded(s) for s in wanted), return_exceptions=True)


def overlaps(leases: list[Lease]) -> int:
    blocks = [ipaddress.ip_network(lease.cidr) for lease in leases]
    return sum(a.overlaps(b) for a, b in itertools.combinations(blocks, 2))


async def test_200_concurrent_reservations_do_not_overlap_and_are_all_released(many: Transactions) -> None:
    async with many() as session:
        wanted = await states(session, 200)
    leases = await reserve_at_once(many, wanted)
    got = [lease for lease in leases if isinstance(lease, Lease)]
    assert len(got) == 200, [x for x in leases if not isinstance(x, Lease)][:3]
    assert overlaps(got) == 0
    assert {lease.cidr for lease in got} == {f"{ipaddress.ip_address('127.64.0.0') + 16 * i}/28" for i in range(200)}

    async def release(state: StateId) -> list[str]:
        async with many() as session:
            return await store.release_for_state(session, state)

    freed = await asyncio.gather(*(release(s) for s in wanted))
    assert sorted(c for f in freed for c in f) == sorted(lease.cidr for lease in got)
    async with many() as session:
        assert (await session.execute(text("SELECT count(*) FROM leases WHERE released_at IS NULL"))).scalar_one() == 0
        assert await store.release_for_state(session, wanted[0]) == []
        assert (await take(session, wanted[0])).cidr == "127.64.0.0/28"


async def test_negative_control_without_lock_and_constraint_blocks_overlap(
    many: Transactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with many() as session:
        wanted = await states(session, 60)
        await session.execute(text("ALTER TABLE leases DROP CONSTRAINT ex_leases_no_overlap"))
    monkeypatch.setattr(store, "_lock", _no_lock)
    try:
        leases = await reserve_at_once(many, wanted)
        assert overlaps([lease for lease in leases if isinstance(lease, Lease)]) > 0
    finally:
        await _restore(many)


async def test_negative_control_without_lock_the_constraint_refuses(
    many: Transactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with many() as session:
        wanted = await states(session, 60)
    monkeypatch.setattr(store, "_lock", _no_lock)
    leases = await reserve_at_once(many, wanted)
    got = [lease for lease in leases if isinstance(lease, Lease)]
    assert overlaps(got) == 0
    assert len(got) < 60
    assert any(isinstance(x, Conflict) for x in leases)


async def _no_lock(session: Session, pool: int) -> None:
    pass


async def _restore(transactions: Transactions) -> None:
    async with transactions() as session:
        await session.execute(text("DELETE FROM leases"))
        await session.execute(
            text(
                "ALTER TABLE leases ADD CONSTRAINT ex_leases_no_overlap EXCLUDE USING gist "
                "(int4range(pool, pool, '[]') WITH &&, cidr inet_ops WITH &&) WHERE (released_at IS NULL)"
            )
        )


async def test_exhaustion_is_a_clear_error_and_pools_are_apart(session: Session) -> None:
    [state] = await states(session, 1)
    small = {"supernet": "10.0.0.0/30", "prefix": 31}
    assert [(await take(session, state, **small)).cidr for _ in range(2)] == ["10.0.0.0/31", "10.0.0.2/31"]
    with pytest.raises(Exhausted, match=r"All /31 networks of 10.0.0.0/30 are leased"):
        await take(session, state, **small)
    assert (await take(session, state, **small, pool=2)).cidr == "10.0.0.0/31"


async def test_a_foreign_block_is_passed_over_for_an_hour(session: Session) -> None:
    [state] = await states(session, 1)
    taken = await take(session, state)
    await store.mark_foreign(session, taken.id)
    assert (await take(session, state)).cidr == "127.64.0.16/28"
    assert await store.release_for_state(session, state) == ["127.64.0.16/28"]
    assert (await take(session, state, foreign=["127.64.0.0/27"])).cidr == "127.64.0.32/28"
    await session.execute(text("UPDATE leases SET foreign_until = clock_timestamp() WHERE foreign_until IS NOT NULL"))
    assert (await take(session, state)).cidr == "127.64.0.0/28"
    with pytest.raises(NotFound):
        await store.mark_foreign(session, LeaseId("gone"))


async def test_accounts_draw_from_places_of_their_own_and_find_the_last_block(session: Session) -> None:
    [state] = await states(session, 1)
    small = {"supernet": "10.0.0.0/24", "prefix": 28}
    drawn = [(await take(session, state, **small, near="an account")).cidr for _ in range(16)]
    assert len(set(drawn)) == 16
    assert drawn[0] != "10.0.0.0/28"
    other = (await take(session, state, **small, near="b", pool=2)).cidr
    assert other not in {drawn[0], "10.0.0.0/28"}
    with pytest.raises(Exhausted):
        await take(session, state, **small, near="an account")


@given(st.lists(st.tuples(st.integers(0, 63), st.integers(26, 32)), max_size=12), st.integers(27, 32))
def test_first_free_is_the_lowest_that_overlaps_nothing(taken: list[tuple[int, int]], prefix: int) -> None:
    whole = ipaddress.ip_network("10.0.0.0/26")
    blocks = [ipaddress.ip_network((int(whole.network_address) + a, p), strict=False) for a, p in taken]
    free = (b for b in whole.subnets(new_prefix=prefix) if not any(b.overlaps(t) for t in blocks))
    expected = next(free, None)
    assert first_free(str(whole), prefix, [str(b) for b in blocks]) == (None if expected is None else str(expected))


def sample(test: str = "t", n: int = 1, *, valid: bool = True, tps: float = 1.5) -> Sample:
    return Sample(test, "candidate", n, n, valid, "" if valid else "lost", {"tps": tps}, {"raw": "k"})


async def run_of(session: Session, code: str, at: int, **changed: Any) -> RunId:
    """A finished benchmark with one test `t`, cell {} and ruler {"workload": {"clients": 8}}."""
    run, state = RunId(ids.new_id()), ids.new_id()
    account = (await session.execute(text("SELECT account FROM stack_codes WHERE id = :c"), {"c": code})).scalar_one()
    await session.execute(insert(StackStateRow).values(id=state, account=account, code=code, name=state, key=state))
    row = {
        "id": run,
        "account": account,
        "code": code,
        "state": state,
        "kind": "benchmark",
        "cause": str(at),
        "generation": at,
        "seq": at,
        "priority": 1,
        "status": "succeeded",
        "branch": "main",
        "commit": f"c{at}",
        "trigger": {},
        "spec": {},
        "created_at": AT.replace(minute=at),
    }
    await session.execute(insert(RunRow).values(row | changed))
    spec = {"workload": {"clients": 8, "driver": "pgbench"}, "other": 1}
    await session.execute(
        insert(TestRow).values(
            operation=run, test="t", name="t", cell={}, spec=spec, status="succeeded", verdict="pass"
        )
    )
    return run


async def test_a_sample_is_stored_once(session: Session) -> None:
    _, code = await stack(session)
    run = await run_of(session, code, 1)
    assert await put_result(session, run, sample())
    assert not await put_result(session, run, sample(tps=9.0))
    assert await put_result(session, run, sample(n=2, valid=False))
    assert await store.results_of(session, run) == [sample(), sample(n=2, valid=False)]


async def test_the_baseline_is_the_newest_accepted_run_of_the_same_ruler(session: Session) -> None:
    repo, code = await stack(session)
    asked: dict[str, Any] = {"repo": repo, "path": "pg", "branch": "main", "test": "t", "cell": {}}
    asked |= {"ruler": {"workload": {"clients": 8}}, "but": RunId("none")}
    assert await last_valid_result(session, **asked) is None
    old, new = await run_of(session, code, 1), await run_of(session, code, 2)
    for run in (old, new):
        await put_result(session, run, sample())
    found = await last_valid_result(session, **asked)
    assert found is not None
    assert (found.run, found.commit, found.samples) == (new, "c2", (sample(),))

    for at, changed in enumerate(({"status": "failed"}, {"branch": "other"}, {"kind": "deploy"}), start=3):
        other = await run_of(session, code, at, **changed)
        await put_result(session, other, sample())
    again = await last_valid_result(session, **asked)
    assert again == found
    assert await last_valid_result(session, **asked | {"ruler": {"workload": {"clients": 9}}}) is None
    assert await last_valid_result(session, **asked | {"cell": {"a": 1}}) is None
    assert await last_valid_result(session, **asked | {"path": "other"}) is None

    await session.execute(update(TestRow).where(TestRow.operation == new).values(verdict="worse"))
    older = await last_valid_result(session, **asked)
    assert older is not None
    assert older.run == old
    await put_result(session, old, sample(n=2, valid=False))
    assert await last_valid_result(session, **asked) is None


async def test_a_run_is_never_its_own_baseline(session: Session) -> None:
    repo, code = await stack(session)
    run = await run_of(session, code, 1)
    await put_result(session, run, sample())
    found = await last_valid_result(session, repo=repo, path="pg", branch="main", test="t", cell={}, ruler={}, but=run)
    assert found is None
