"""Code of stacks, by content: a blob once however many commits have it, and which files make a stack at a commit.

The seed's `git_cache` (repo_url, commit_hash, path, content, cached_at) is a view over it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import text

from stackly.db import Session
from stackly.git.trees import Entry


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
