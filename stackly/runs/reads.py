"""Read-only queries on runs: lists, one run with its parts, its log and its live points."""

from collections.abc import Sequence

from sqlalchemy import text

from stackly import references
from stackly.db import Json, Session
from stackly.events.reads import rows
from stackly.runs.store import RunNotFound
from stackly.spec.runs import ENDED_SQL

_RUN = """
SELECT o.*, c.name AS stack_name, c.repo AS repo_id, s.name AS state_name, r.full_name AS repo_name
FROM operations o JOIN stack_codes c ON c.id = o.code JOIN repos r ON r.id = c.repo
JOIN stack_states s ON s.id = o.state
"""


async def list_runs(
    session: Session,
    account: str,
    *,
    limit: int,
    after: list[str] | None,
    stack: str | None = None,
    status: str | None = None,
    kind: str | None = None,
    include_children: bool = False,
) -> list[Json]:
    """Shape: newest first; `stack` is an id."""
    return await rows(
        session,
        f"""{_RUN}
        WHERE o.account = :account AND (:children OR o.parent IS NULL)
          AND (CAST(:stack AS text) IS NULL OR o.code = :stack)
          AND (CAST(:status AS text) IS NULL OR o.status = :status)
          AND (CAST(:kind AS text) IS NULL OR o.kind = :kind)
          AND (CAST(:at AS text) IS NULL OR (o.created_at, o.id) < (CAST(CAST(:at AS text) AS timestamptz), :id))
        ORDER BY o.created_at DESC, o.id DESC LIMIT :limit
        """,
        account=account,
        children=include_children,
        stack=stack,
        status=status,
        kind=kind,
        at=after[0] if after else None,
        id=after[1] if after else "",
        limit=limit + 1,
    )


async def get_run(session: Session, account: str, run: str) -> Json:
    """By its id. Raises: RunNotFound, also for another account's."""
    found = await rows(session, f"{_RUN} WHERE o.account = :account AND o.id = :run", account=account, run=run)
    if not found:
        raise _not_found(run)
    return found[0]


def _not_found(run: str) -> RunNotFound:
    return RunNotFound(f"There is no run {run}; `stackly run list` shows what there is.", run=run)


LATEST = "latest"


async def find_run(session: Session, account: str, reference: str, *, stack: str | None = None) -> Json:
    """By id, a unique beginning of it, or `latest`, which is the first of the list of runs.

    Shape: id repository path ref status; with `stack`, an id, the runs of that stack are meant.
    Raises: RunNotFound, ReferenceAmbiguous.
    """
    found = await rows(
        session,
        """SELECT o.id, c.name, r.full_name AS repository, c.path, c.ref, o.status
        FROM operations o JOIN stack_codes c ON c.id = o.code JOIN repos r ON r.id = c.repo
        WHERE o.account = :account AND :reference <> '' AND CASE
          WHEN CAST(:stack AS text) IS NOT NULL THEN o.parent IS NULL AND o.code = :stack
          WHEN :reference = :latest THEN o.parent IS NULL
          ELSE starts_with(o.id, :reference) END
        ORDER BY (o.id = :reference) DESC, o.created_at DESC, o.id DESC LIMIT :limit
        """,
        account=account,
        reference=reference,
        stack=stack,
        latest=LATEST,
        limit=1 if reference == LATEST else references.SHOWN + 1,
    )
    meant = references.one("run", reference, found)
    if meant is None:
        raise _not_found(reference)
    return dict(meant)


async def decisions_of_stack(session: Session, account: str, stack: str) -> list[Json]:
    """Decisions on a stack and on its runs, of no other stack. Shape: the newest 200, oldest first."""
    return await rows(
        session,
        """
        SELECT d.* FROM (
          SELECT d.id, d.subject, d.generation, d.question, d.digest, d.operation, d.inputs, d.tzdata, d.at, d.decision,
                 d.tree, d.next_check
          FROM decisions d LEFT JOIN operations o ON o.id = d.operation
          WHERE d.account = :account AND (d.subject = :subject OR o.code = :stack)
          ORDER BY d.at DESC, d.id DESC LIMIT 200) d
        ORDER BY d.at, d.id
        """,
        account=account,
        subject=f"stack/{stack}",
        stack=stack,
    )


async def tests_of(session: Session, runs: list[str]) -> list[Json]:
    """Shape: by run, then name."""
    return await rows(
        session,
        """
        SELECT operation, test, name, cell, spec, status, verdict, reasons, warnings, thresholds, comparisons
        FROM tests WHERE operation = ANY(CAST(:runs AS text[])) ORDER BY operation, test
        """,
        runs=runs,
    )


async def phases_of(session: Session, runs: list[str]) -> list[Json]:
    """Shape: in the order they started."""
    return await rows(
        session,
        """
        SELECT operation, test, name, status, started_at, ended_at, iterations, detail
        FROM phases WHERE operation = ANY(CAST(:runs AS text[])) ORDER BY operation, started_at, name
        """,
        runs=runs,
    )


# Ids are given before commits: a row is shown once no older transaction can still add one before it. The last read of a
# run that ended takes everything.
_SETTLED = "(:all OR age({0}.xmin) > age(pg_snapshot_xmin(pg_current_snapshot())::xid))"


async def logs_after(
    session: Session, run: str, *, after: int, limit: int, test: str | None = None, everything: bool = False
) -> list[Json]:
    """Lines in the order they arrived, of the run and of the destroys it asked for. Shape: `id` > `after`."""
    return await rows(
        session,
        f"""
        SELECT l.id, l.run, l.test, l.source, l.n, l.at, l.level, l.text FROM log_chunks l
        WHERE (l.run = :run OR l.run IN (SELECT id FROM operations WHERE parent = :run))
          AND l.id > :after AND (CAST(:test AS text) IS NULL OR l.test = :test) AND {_SETTLED.format("l")}
        ORDER BY l.id LIMIT :limit
        """,
        all=everything,
        run=run,
        after=after,
        limit=limit,
        test=test,
    )


async def points_after(session: Session, run: str, *, after: int, limit: int, everything: bool = False) -> list[Json]:
    return await rows(
        session,
        f"""
        SELECT p.id, p.test, p.sample, p.second, p.at, p.tps, p.latency_ms, p.p95_ms, p.errors FROM series_points p
        WHERE p.run = :run AND p.id > :after AND {_SETTLED.format("p")} ORDER BY p.id LIMIT :limit
        """,
        all=everything,
        run=run,
        after=after,
        limit=limit,
    )


async def series_of(session: Session, run: str, test: str, sample: int | None) -> list[Json]:
    """The per-second points of a test. Shape: by sample, then second."""
    return await rows(
        session,
        """
        SELECT sample, second, tps, latency_ms, p95_ms, errors FROM series_points
        WHERE run = :run AND test = :test AND (CAST(:sample AS int) IS NULL OR sample = :sample)
        ORDER BY sample, second LIMIT 200000
        """,
        run=run,
        test=test,
        sample=sample,
    )


async def counts_by_status(session: Session) -> dict[str, int]:
    """Open runs of all accounts, for metrics."""
    statement = text(f"SELECT status, count(*) AS n FROM operations WHERE status NOT IN {ENDED_SQL} GROUP BY status")
    return {row.status: int(row.n) for row in await session.execute(statement)}


async def find_resolved(
    session: Session, account: str, code: str, commit: str, kinds: Sequence[str] = ("deploy", "preview")
) -> Json | None:
    """The newest run of a stack at this commit, of the first kind that has one: its spec is what a sync resolved."""
    found = await rows(
        session,
        f"{_RUN} WHERE o.account = :account AND o.code = :code AND o.commit = :commit"
        " AND o.kind = ANY(CAST(:kinds AS text[]))"
        " ORDER BY array_position(CAST(:kinds AS text[]), o.kind), o.created_at DESC, o.id DESC LIMIT 1",
        account=account,
        code=code,
        commit=commit,
        kinds=list(kinds),
    )
    return found[0] if found else None


async def find_deployed(session: Session, account: str, state: str) -> Json | None:
    """The newest deploy that may have created something in this state."""
    found = await rows(
        session,
        f"{_RUN} WHERE o.account = :account AND o.state = :state AND o.kind = 'deploy' AND o.epoch IS NOT NULL"
        " ORDER BY o.created_at DESC, o.id DESC LIMIT 1",
        account=account,
        state=state,
    )
    return found[0] if found else None
