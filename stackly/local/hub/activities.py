"""Who moved which ref of a repository when, as GitHub's repository activity tells it."""

import sqlite3
from typing import Any

from stackly.local.hub.repositories import RefChange
from stackly.local.hub.store import stamp

_SCHEMA = """
CREATE TABLE IF NOT EXISTS activities (
  id INTEGER PRIMARY KEY AUTOINCREMENT, repo INTEGER NOT NULL REFERENCES repos ON DELETE CASCADE, ref TEXT NOT NULL,
  before TEXT NOT NULL, after TEXT NOT NULL, kind TEXT NOT NULL, actor TEXT NOT NULL, at TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS activities_of_repo ON activities (repo, ref, id);
"""


class Activities:
    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        db.executescript(_SCHEMA)

    def add(self, repo: int, change: RefChange, actor: str, *, is_forced: bool) -> None:
        kind = "force_push" if is_forced else "push"
        kind = "branch_creation" if change.created else "branch_deletion" if change.deleted else kind
        self._db.execute(
            "INSERT INTO activities (repo, ref, before, after, kind, actor, at) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (repo, change.ref, change.before, change.after, kind, actor, stamp()),
        )

    def listed(self, repo: int, *, ref: str | None, below: int | None, limit: int) -> list[dict[str, Any]]:
        """Newest first."""
        rows = self._db.execute(
            "SELECT * FROM activities WHERE repo = ? AND (? IS NULL OR ref = ?) AND id < ? ORDER BY id DESC LIMIT ?",
            (repo, ref, ref, below or 2**62, limit),
        )
        return [dict(row) for row in rows]
