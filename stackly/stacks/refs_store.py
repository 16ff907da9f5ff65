"""SQL of refs: what was processed last, what is gone since when, what failed, which commits are still needed."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import text

from stackly.db import Session
from stackly.spec.runs import ENDED_SQL

_HOLDING = "status IN ('active','loose','destroying')"
_OPEN = f"status NOT IN {ENDED_SQL}"


@dataclass(frozen=True, slots=True)
class SeenRef:
    """Shape: `last` is the commit processed last, None before the first; `gone_for` None: it is there."""

    last: str | None
    generation: int
    gone_for: timedelta | None


async def look(session: Session, repo: str, heads: Iterable[str]) -> dict[str, SeenRef]:
    """What is known of each ref, now that these are there: one that went away is noted, one that is back as well."""
    given = {"repo": repo, "heads": sorted(heads)}
    await session.execute(
        text(
            "UPDATE repo_refs SET gone_since = clock_timestamp() WHERE repo = :repo AND last_processed IS NOT NULL"
            " AND gone_since IS NULL AND ref <> ALL(:heads)"
        ),
        given,
    )
    await session.execute(
        text(
            "UPDATE repo_refs SET gone_since = NULL WHERE repo = :repo AND gone_since IS NOT NULL AND ref = ANY(:heads)"
        ),
        given,
    )
    await session.execute(
        text(
            "UPDATE repo_refs SET reason = NULL WHERE repo = :repo AND reason IS NOT NULL AND last_processed IS NULL"
            " AND ref <> ALL(:heads)"
        ),
        given,
    )
    rows = await session.execute(
        text(
            "SELECT ref, last_processed, generation, clock_timestamp() - gone_since AS gone_for FROM repo_refs"
            " WHERE repo = :repo"
        ),
        given,
    )
    return {r.ref: SeenRef(r.last_processed, r.generation, r.gone_for) for r in rows}


async def set_ref_reason(session: Session, repo: str, ref: str, reason: str | None) -> None:
    """Why the last sync of a ref failed; the ref may be one that was never processed."""
    await session.execute(
        text(
            "INSERT INTO repo_refs (repo, ref, reason) VALUES (:repo, :ref, :reason)"
            " ON CONFLICT (repo, ref) DO UPDATE SET reason = excluded.reason"
        ),
        {"repo": repo, "ref": ref, "reason": reason},
    )


async def commits_of_ref(session: Session, repo: str, ref: str) -> set[str]:
    """The commits that a ref's stacks, their states and their runs stand on; of ended runs the newest thousand."""
    rows = await session.execute(
        text(
            "WITH codes AS (SELECT id, commit, status FROM stack_codes WHERE repo = :repo AND ref = :ref)"
            " SELECT commit FROM codes WHERE status IN ('active','rejected')"
            " UNION SELECT s.commit FROM stack_states s JOIN codes ON codes.id = s.code"
            f" WHERE s.commit IS NOT NULL AND s.test IS NULL AND s.{_HOLDING}"
            f" UNION SELECT o.commit FROM operations o JOIN codes ON codes.id = o.code WHERE o.{_OPEN}"
            " UNION SELECT * FROM (SELECT o.commit FROM operations o JOIN codes ON codes.id = o.code"
            "   GROUP BY o.commit ORDER BY max(o.created_at) DESC LIMIT 1000) ended"
        ),
        {"repo": repo, "ref": ref},
    )
    return set(rows.scalars())


async def commits_in_use(session: Session, repo: str) -> set[str]:
    """The commits of a repository that a stack, a state with resources or an open run refers to."""
    rows = await session.execute(
        text(
            "WITH codes AS (SELECT id, commit, status FROM stack_codes WHERE repo = :repo)"
            " SELECT commit FROM codes WHERE status <> 'deregistered'"
            f" UNION SELECT s.commit FROM stack_states s JOIN codes ON codes.id = s.code WHERE s.{_HOLDING}"
            "   AND s.commit IS NOT NULL"
            f" UNION SELECT o.commit FROM operations o JOIN codes ON codes.id = o.code WHERE o.{_OPEN}"
        ),
        {"repo": repo},
    )
    return set(rows.scalars())


async def has_marks(session: Session, repo: str, ref: str) -> bool:
    """Whether a commit or a state of this ref is marked as lost: history may have come back to it."""
    found: bool = (
        await session.execute(
            text(
                "SELECT EXISTS (SELECT 1 FROM repo_refs WHERE repo = :repo AND ref = :ref AND lost <> '{}')"
                # From the few that are marked to their stacks, never the other way: OFFSET 0 holds the planner to it.
                " OR EXISTS (SELECT 1 FROM stack_states s CROSS JOIN LATERAL (SELECT c.repo, c.ref FROM stack_codes c"
                "   WHERE c.id = s.code OFFSET 0) c"
                "   WHERE s.history_altered IS NOT NULL AND c.repo = :repo AND c.ref = :ref)"
            ),
            {"repo": repo, "ref": ref},
        )
    ).scalar_one()
    return found


async def default_followed(session: Session, repo: str, former: str) -> None:
    """The states have followed the default branch; who knew the former branch as it was has to look again."""
    await session.execute(text("UPDATE repos SET former_default = NULL WHERE id = :repo"), {"repo": repo})
    await session.execute(
        text("UPDATE repo_refs SET generation = generation + 1 WHERE repo = :repo AND ref = :ref"),
        {"repo": repo, "ref": former},
    )


async def set_lost(session: Session, repo: str, ref: str, lost: Iterable[str]) -> None:
    """The commits that runs of this ref stand on and that are in its history no more: nobody starts them again."""
    await session.execute(
        text("UPDATE repo_refs SET lost = :lost WHERE repo = :repo AND ref = :ref"),
        {"repo": repo, "ref": ref, "lost": sorted(lost)},
    )


async def is_lost(session: Session, repo: str, ref: str, commit: str) -> bool:
    """Whether a commit that a run of this ref once stood on has left its history."""
    found: bool = (
        await session.execute(
            text("SELECT EXISTS (SELECT 1 FROM repo_refs WHERE repo = :repo AND ref = :ref AND :commit = ANY(lost))"),
            {"repo": repo, "ref": ref, "commit": commit},
        )
    ).scalar_one()
    return found


@dataclass(frozen=True, slots=True)
class MarkedState:
    """A state whose commit is not in its ref's history any more."""

    stack: str
    name: str
    path: str
    state: str
    commit: str


async def mark_states(
    session: Session, repo: str, ref: str, *, lost: Iterable[str], head: str | None
) -> list[MarkedState]:
    """Mark the states with resources that stand on a lost commit, and no others. A mark keeps its first `since`."""
    rows = await session.execute(
        text(
            "UPDATE stack_states s SET history_altered = CASE"
            " WHEN NOT s.commit = ANY(:lost) THEN NULL"
            " WHEN s.history_altered ->> 'commit' = s.commit THEN s.history_altered"
            " ELSE jsonb_build_object('commit', s.commit, 'since', to_char(clock_timestamp() AT TIME ZONE 'UTC',"
            "   'YYYY-MM-DD\"T\"HH24\\:MI\\:SS.US\"Z\"'), 'ref', CAST(:ref AS text), 'head', CAST(:head AS text)) END"
            " FROM stack_codes c WHERE c.id = s.code AND c.repo = :repo AND c.ref = :ref AND s.test IS NULL"
            f" AND s.{_HOLDING} AND s.commit IS NOT NULL AND (s.history_altered IS NOT NULL OR s.commit = ANY(:lost))"
            " RETURNING c.id AS stack, c.name, c.path, s.name AS state, s.commit,"
            " s.history_altered IS NOT NULL AS is_marked"
        ),
        {"repo": repo, "ref": ref, "lost": sorted(lost), "head": head},
    )
    return [MarkedState(r.stack, r.name, r.path, r.state, r.commit) for r in rows if r.is_marked]
