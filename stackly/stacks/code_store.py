"""Code of stacks, by content: a blob once however many commits have it, and which files make a stack at a commit.

The seed's `git_cache` (repo_url, commit_hash, path, content, cached_at) is a view over it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import text

from stackly.db import Session
from stackly.git.trees import Entry
from stackly.spec.runs import ENDED_SQL


@dataclass(frozen=True, slots=True)
class CodePlace:
    """A stack's directory at a commit."""

    repo: str
    commit: str
    path: str


async def fill(session: Session, place: CodePlace, entries: Sequence[Entry], blobs: Mapping[str, bytes]) -> None:
    """Remember a stack's files. What is known stays: an id never means anything else."""
    oids = sorted({e.oid for e in entries})  # in one order: two who fill at once wait for each other in turn
    await session.execute(
        text(
            "INSERT INTO git_blobs (oid, size, content)"
            " SELECT * FROM unnest(CAST(:oids AS text[]), CAST(:sizes AS bigint[]), CAST(:contents AS bytea[]))"
            " ON CONFLICT DO NOTHING"
        ),
        {"oids": oids, "sizes": [len(blobs[oid]) for oid in oids], "contents": [blobs[oid] for oid in oids]},
    )
    files = sorted(entries, key=lambda e: e.path)
    await session.execute(
        text(
            "INSERT INTO git_entries (repo, commit, path, mode, oid) SELECT :repo, :commit, path, mode, oid"
            " FROM unnest(CAST(:paths AS text[]), CAST(:modes AS text[]), CAST(:oids AS text[])) AS f (path, mode, oid)"
            " ON CONFLICT DO NOTHING"
        ),
        {
            "repo": place.repo,
            "commit": place.commit,
            "paths": [e.path for e in files],
            "modes": [e.mode for e in files],
            "oids": [e.oid for e in files],
        },
    )
    await session.execute(
        text(
            "INSERT INTO git_trees (repo, commit, path, files) VALUES (:repo, :commit, :path, CAST(:files AS text[]))"
            " ON CONFLICT DO NOTHING"
        ),
        {"repo": place.repo, "commit": place.commit, "path": place.path, "files": [e.path for e in files]},
    )


async def read(session: Session, place: CodePlace) -> tuple[list[Entry], dict[str, bytes]] | None:
    """A stack's files, by path, and their contents by id; None unless it is here whole."""
    known = await session.execute(
        text("SELECT files FROM git_trees WHERE repo = :repo AND commit = :commit AND path = :path"),
        {"repo": place.repo, "commit": place.commit, "path": place.path},
    )
    files = known.scalar_one_or_none()
    if files is None:
        return None
    rows = await session.execute(
        text(
            "SELECT e.path, e.mode, e.oid, b.content FROM git_entries e JOIN git_blobs b ON b.oid = e.oid"
            " WHERE e.repo = :repo AND e.commit = :commit AND e.path = ANY(CAST(:files AS text[]))"
        ),
        {"repo": place.repo, "commit": place.commit, "files": files},
    )
    found = [(Entry(r.path, r.mode, r.oid), bytes(r.content)) for r in rows]
    if len(found) < len(files):
        return None
    entries = sorted((entry for entry, _ in found), key=lambda e: e.path)
    return entries, {entry.oid: content for entry, content in found}


async def expire(session: Session, *, days: int, limit: int = 1000) -> int:
    """Forget trees kept for so long, of commits that no stack, no state with resources and no open run refers to.

    Storage has them still: who asks for one nevertheless fills the cache again. Returns how many trees went.
    """
    # A fill that found a file's content here must not lose it before it refers to it; readers are not held up.
    await session.execute(text("LOCK TABLE git_blobs IN SHARE ROW EXCLUSIVE MODE"))
    trees = await session.execute(text(_OLD_TREES), {"days": days, "limit": limit})
    commits = [(r.repo, r.commit) for r in trees]
    entries = await session.execute(
        text(
            "DELETE FROM git_entries e USING (SELECT DISTINCT repo, commit"
            " FROM unnest(CAST(:repos AS text[]), CAST(:commits AS text[])) AS u (repo, commit)) AS gone"
            " WHERE (e.repo, e.commit) = (gone.repo, gone.commit) AND NOT EXISTS"
            "   (SELECT 1 FROM git_trees t WHERE (t.repo, t.commit) = (e.repo, e.commit)) RETURNING e.oid"
        ),
        {"repos": [repo for repo, _ in commits], "commits": [commit for _, commit in commits]},
    )
    await session.execute(
        text(
            "DELETE FROM git_blobs b WHERE oid = ANY(:oids)"
            " AND NOT EXISTS (SELECT 1 FROM git_entries e WHERE e.oid = b.oid)"
        ),
        {"oids": sorted(set(entries.scalars()))},
    )
    return len(commits)


# A commit that a run needs is in use by that run. The oldest first: what is left is for the next time.
_OLD_TREES = f"""
WITH old AS (
  SELECT t.repo, t.commit, t.path FROM git_trees t
  WHERE t.cached_at < clock_timestamp() - make_interval(days => :days)
    AND NOT EXISTS (SELECT 1 FROM stack_codes c
                    WHERE c.repo = t.repo AND c.commit = t.commit AND c.status <> 'deregistered')
    AND NOT EXISTS (SELECT 1 FROM stack_states s JOIN stack_codes c ON c.id = s.code
                    WHERE c.repo = t.repo AND s.commit = t.commit AND s.status IN ('active','loose','destroying'))
    AND NOT EXISTS (SELECT 1 FROM operations o JOIN stack_codes c ON c.id = o.code
                    WHERE c.repo = t.repo AND o.commit = t.commit
                      AND o.status NOT IN {ENDED_SQL})
  ORDER BY t.cached_at LIMIT :limit
)
DELETE FROM git_trees t USING old WHERE (t.repo, t.commit, t.path) = (old.repo, old.commit, old.path)
RETURNING t.repo, t.commit
"""
