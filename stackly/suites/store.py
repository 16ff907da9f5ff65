"""SQL of network leases and of results."""

import ipaddress
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import RowMapping, func, insert, select, text, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import IntegrityError

from stackly import ids, log
from stackly.db import Session, violates
from stackly.errors import Conflict, Exhausted, NotFound
from stackly.ids import LeaseId, ObligationId, RepoId, RunId, StateId
from stackly.runs.tables import RunRow, TestRow
from stackly.stacks.tables import StackCodeRow
from stackly.suites.model import Sample, Side
from stackly.suites.tables import LeaseRow, ResultRow

_LOG = log.get("suites")
_LEASES = 0x6C656173  # class of our advisory locks; the pool is the key within it
FOREIGN_FOR = text("interval '1 hour'")


@dataclass(frozen=True, slots=True)
class Lease:
    id: LeaseId
    cidr: str


async def lease_network(
    session: Session,
    *,
    pool: int,
    supernet: str,
    prefix: int,
    state: StateId,
    obligation: ObligationId,
    foreign: Iterable[str] = (),
    near: str = "",
) -> Lease:
    """A free block of the pool: the lowest, or with `near` the next one from a place of its own.

    Others wait for this transaction's end. Two platforms on one machine know nothing of each other's leases, and a
    probe sees only who listens already: drawing from different places keeps them apart (`near` is the account).
    Shape: `foreign` are blocks to pass over, besides those marked so.
    Raises: Exhausted when none is free; Conflict when somebody took it without the lock.
    """
    await _lock(session, pool)
    # Statements after the lock see what the holder before committed; the same statement would not.
    await session.execute(
        update(LeaseRow)
        .where(
            LeaseRow.pool == pool,
            LeaseRow.released_at.is_(None),
            LeaseRow.foreign_until <= func.clock_timestamp(),
        )
        .values(released_at=func.clock_timestamp())
    )
    open_ = select(LeaseRow.cidr).where(LeaseRow.pool == pool, LeaseRow.released_at.is_(None))
    taken = [str(c) for c in (await session.execute(open_)).scalars()]
    taken += foreign
    before = blocks_before(supernet, prefix, near) if near else []
    cidr = first_free(supernet, prefix, [*taken, *before]) or first_free(supernet, prefix, taken)
    if cidr is None:
        raise Exhausted(
            f"All /{prefix} networks of {supernet} are leased; wait for a run to end, or see `stackly inventory`.",
            pool=pool,
        )
    lease = Lease(LeaseId(ids.new_id()), cidr)
    await _insert(session, lease, pool=pool, state=state, obligation=obligation)
    return lease


async def _lock(session: Session, pool: int) -> None:
    await session.execute(select(func.pg_advisory_xact_lock(_LEASES, pool)))


async def _insert(session: Session, lease: Lease, *, pool: int, state: StateId, obligation: ObligationId) -> None:
    row = {"id": lease.id, "pool": pool, "cidr": lease.cidr, "state": state, "obligation": obligation}
    try:
        await session.execute(insert(LeaseRow).values(row))
    except IntegrityError as e:
        if violates(e, "ex_leases_no_overlap"):
            raise Conflict(f"The network {lease.cidr} was taken at this moment; try again.") from e
        raise


def first_free(supernet: str, prefix: int, taken: Iterable[str]) -> str | None:
    """The lowest block of that size which overlaps no taken one; None when there is none."""
    whole = ipaddress.ip_network(supernet)
    size = 2 ** (whole.max_prefixlen - prefix)
    at, end = int(whole.network_address), int(whole.broadcast_address)
    for first, last in sorted(_span(t) for t in taken):
        if first > at + size - 1:
            break
        if last >= at:
            at += -(-(last + 1 - at) // size) * size  # past it, at the next boundary
    return f"{ipaddress.ip_address(at)}/{prefix}" if at + size - 1 <= end else None


def blocks_before(supernet: str, prefix: int, near: str) -> list[str]:
    """What lies between the start of the pool and the place where `near` begins to draw."""
    whole = ipaddress.IPv4Network(supernet)
    place = zlib.crc32(near.encode()) % 2 ** (prefix - whole.prefixlen)
    if place == 0:
        return []
    first = int(whole.network_address)
    last = first + place * 2 ** (whole.max_prefixlen - prefix) - 1
    blocks = ipaddress.summarize_address_range(ipaddress.IPv4Address(first), ipaddress.IPv4Address(last))
    return [str(block) for block in blocks]


def _span(cidr: str) -> tuple[int, int]:
    block = ipaddress.ip_network(cidr)
    return int(block.network_address), int(block.broadcast_address)


async def mark_foreign(session: Session, lease: LeaseId) -> None:
    """A probe found the block in use by somebody else: it is nobody's, and not drawn again for an hour.

    Raises: NotFound when the lease is not held.
    """
    done = await session.execute(
        update(LeaseRow)
        .where(LeaseRow.id == lease, LeaseRow.released_at.is_(None))
        .values(state=None, obligation=None, foreign_until=func.clock_timestamp() + FOREIGN_FOR)
        .returning(LeaseRow.cidr)
    )
    cidr = done.scalar_one_or_none()
    if cidr is None:
        raise NotFound("This network lease is not held any more.")
    _LOG.info("lease.marked_foreign", lease=lease, cidr=str(cidr))


async def release_for_state(session: Session, state: StateId) -> list[str]:
    """Free every block of the state; repeating it is harmless. Shape: the blocks freed now."""
    done = await session.execute(
        update(LeaseRow)
        .where(LeaseRow.state == state, LeaseRow.released_at.is_(None))
        .values(released_at=func.clock_timestamp())
        .returning(LeaseRow.cidr)
    )
    return sorted(str(c) for c in done.scalars())


async def put_result(session: Session, run: RunId, sample: Sample) -> bool:
    """Store a sample once. Shape: False when it was there already; the first one stays."""
    row = {
        "id": ids.new_id(),
        "operation": run,
        "test": sample.test,
        "side": sample.side,
        "n": sample.n,
        "order": sample.order,
        "valid": sample.valid,
        "reason": sample.reason or None,
        "result": dict(sample.result),
        "artifacts": dict(sample.artifacts),
    }
    made = (
        postgresql.insert(ResultRow)
        .values(row)
        .on_conflict_do_nothing(index_elements=["operation", "test", "side", "n"])
        .returning(ResultRow.id)
    )
    return (await session.execute(made)).scalar_one_or_none() is not None


async def results_of(session: Session, run: RunId) -> list[Sample]:
    """Every sample of the run, by test, then in the order they were measured."""
    rows = await session.execute(
        select(ResultRow.__table__)
        .where(ResultRow.operation == run)
        .order_by(ResultRow.test, ResultRow.order, ResultRow.side, ResultRow.n)
    )
    return [_sample(r) for r in rows.mappings()]


def _sample(row: RowMapping) -> Sample:
    side: Side = "baseline" if row["side"] == "baseline" else "candidate"
    return Sample(
        test=row["test"],
        side=side,
        n=row["n"],
        order=row["order"],
        valid=row["valid"],
        reason=row["reason"] or "",
        result=row["result"],
        artifacts=row["artifacts"],
    )


@dataclass(frozen=True, slots=True)
class Baseline:
    """Shape: `samples` are valid, at least one."""

    run: RunId
    commit: str
    samples: tuple[Sample, ...]


async def last_valid_result(
    session: Session,
    *,
    repo: RepoId,
    path: str,
    branch: str,
    test: str,
    cell: Mapping[str, Any],
    ruler: Mapping[str, Any],
    but: RunId,
) -> Baseline | None:
    """The newest accepted result of this test on a branch of the stack at `path`.

    Shape: accepted is valid, and not worse than its own baseline. `test` is the name without cell; `ruler` is
    `plan.ruler`, contained in the test's stored spec, which is `jsonform.to_json` of its ResolvedTest; `but` is the
    run that asks.
    """
    bad = select(ResultRow.id).where(
        ResultRow.operation == TestRow.operation, ResultRow.test == TestRow.test, ResultRow.valid.is_(False)
    )
    good = select(ResultRow.id).where(
        ResultRow.operation == TestRow.operation, ResultRow.test == TestRow.test, ResultRow.valid.is_(True)
    )
    found = await session.execute(
        select(RunRow.id, RunRow.commit, TestRow.test)
        .join(TestRow, TestRow.operation == RunRow.id)
        .join(StackCodeRow, StackCodeRow.id == RunRow.code)
        .where(
            StackCodeRow.repo == repo,
            StackCodeRow.path == path,
            RunRow.branch == branch,
            RunRow.kind == "benchmark",
            RunRow.status == "succeeded",
            RunRow.id != but,
            TestRow.name == test,
            TestRow.cell == dict(cell),
            TestRow.spec.contains(dict(ruler)),
            func.coalesce(TestRow.verdict, "pass").not_in(["invalid", "fail", "worse"]),
            good.exists(),
            ~bad.exists(),
        )
        .order_by(RunRow.created_at.desc(), RunRow.id.desc())
        .limit(1)
    )
    row = found.one_or_none()
    if row is None:
        return None
    samples = [s for s in await results_of(session, RunId(row.id)) if s.test == row.test and s.side == "candidate"]
    return Baseline(RunId(row.id), row.commit, tuple(samples)) if samples else None
