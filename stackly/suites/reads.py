"""Read-only queries on results."""

from stackly.db import Json, Session
from stackly.events.reads import rows


async def results_of(session: Session, runs: list[str]) -> list[Json]:
    """Every sample of these runs, in the order it was measured."""
    return await rows(
        session,
        """
        SELECT operation, test, side, n, "order", valid, reason, result, artifacts, at
        FROM results WHERE operation = ANY(CAST(:runs AS text[])) ORDER BY operation, test, "order", n
        """,
        runs=runs,
    )


async def artifacts_of(session: Session, run: str) -> list[Json]:
    """Shape: `test`, `side`, `n` and `artifacts`, name -> storage key."""
    return await rows(
        session,
        'SELECT test, side, n, artifacts FROM results WHERE operation = :run ORDER BY test, "order", n',
        run=run,
    )
