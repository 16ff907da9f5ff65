"""What the hub remembers: one SQLite file in its home. Git keeps the rest."""

import json
import sqlite3
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from stackly import clock

_SCHEMA = """
CREATE TABLE IF NOT EXISTS users (id INTEGER PRIMARY KEY AUTOINCREMENT, login TEXT NOT NULL UNIQUE COLLATE NOCASE);
CREATE TABLE IF NOT EXISTS repos (
  id INTEGER PRIMARY KEY AUTOINCREMENT, owner TEXT NOT NULL COLLATE NOCASE, name TEXT NOT NULL COLLATE NOCASE,
  description TEXT, private INTEGER NOT NULL, default_branch TEXT NOT NULL,
  created_at TEXT NOT NULL, updated_at TEXT NOT NULL, pushed_at TEXT, archived INTEGER NOT NULL DEFAULT 0,
  gone INTEGER NOT NULL DEFAULT 0, UNIQUE (owner, name));
CREATE TABLE IF NOT EXISTS former_names (
  full_name TEXT PRIMARY KEY COLLATE NOCASE, repo INTEGER NOT NULL REFERENCES repos ON DELETE CASCADE);
CREATE TABLE IF NOT EXISTS hooks (
  id INTEGER PRIMARY KEY AUTOINCREMENT, repo INTEGER REFERENCES repos ON DELETE CASCADE,
  active INTEGER NOT NULL, events TEXT NOT NULL, config TEXT NOT NULL, created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL, last_code INTEGER, last_status TEXT, owner TEXT COLLATE NOCASE);
CREATE TABLE IF NOT EXISTS deliveries (
  id INTEGER PRIMARY KEY AUTOINCREMENT, hook INTEGER NOT NULL REFERENCES hooks ON DELETE CASCADE,
  repo INTEGER NOT NULL, guid TEXT NOT NULL, event TEXT NOT NULL, action TEXT, redelivery INTEGER NOT NULL,
  body BLOB NOT NULL, queued_at TEXT NOT NULL, delivered_at TEXT, duration REAL, status TEXT, status_code INTEGER,
  url TEXT, request_headers TEXT, response_headers TEXT, response_body TEXT);
CREATE INDEX IF NOT EXISTS deliveries_of_hook ON deliveries (hook, id);
CREATE TABLE IF NOT EXISTS statuses (
  id INTEGER PRIMARY KEY AUTOINCREMENT, repo INTEGER NOT NULL REFERENCES repos ON DELETE CASCADE, sha TEXT NOT NULL,
  context TEXT NOT NULL COLLATE NOCASE, state TEXT NOT NULL, description TEXT, target_url TEXT, creator TEXT NOT NULL,
  created_at TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS statuses_of_commit ON statuses (repo, sha, id);
"""
RETENTION = timedelta(days=3)  # GitHub forgets deliveries after that
LOST = "the hub stopped before an answer came"


@dataclass(frozen=True, slots=True)
class Repo:
    id: int
    owner: str
    name: str
    description: str | None
    private: bool
    default_branch: str
    created_at: str
    updated_at: str
    pushed_at: str | None
    archived: bool = False

    @property
    def full_name(self) -> str:
        return f"{self.owner}/{self.name}"


@dataclass(frozen=True, slots=True)
class Hook:
    """Shape: `repo` is 0 for an organisation's hook, which names its `owner`, and for the App's, which names none."""

    id: int
    repo: int
    active: bool
    events: tuple[str, ...]
    config: dict[str, str]
    created_at: str
    updated_at: str
    last_code: int | None
    last_status: str | None
    owner: str | None = None

    @property
    def kind(self) -> str:
        return "Repository" if self.repo else "Organization" if self.owner else "App"

    def wants(self, event: str) -> bool:
        return self.active and (event in self.events or "*" in self.events)


@dataclass(frozen=True, slots=True)
class Delivery:
    """`status` is None while the delivery waits or is on its way."""

    id: int
    hook: int
    repo: int
    guid: str
    event: str
    action: str | None
    redelivery: bool
    body: bytes
    delivered_at: str | None
    duration: float | None
    status: str | None
    status_code: int | None
    url: str | None
    request_headers: dict[str, str]
    response_headers: dict[str, str]
    response_body: str | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one attempt went. Units: `duration` in seconds."""

    status: str
    status_code: int
    duration: float
    url: str
    request_headers: dict[str, str]
    response_headers: dict[str, str]
    response_body: str


class Store:
    """Every call is one short transaction, on the caller's thread."""

    def __init__(self, home: Path) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(home / "hub.sqlite", isolation_level=None, check_same_thread=False)
        self._db.row_factory = sqlite3.Row
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "busy_timeout=5000"):
            self._db.execute(f"PRAGMA {pragma}")
        _upgrade(self._db)
        self._db.executescript(_SCHEMA)

    @property
    def db(self) -> sqlite3.Connection:
        return self._db

    def close(self) -> None:
        self._db.close()

    # users

    def user_id(self, login: str) -> int:
        """The user's stable number; who is not known yet is from now on."""
        self._db.execute("INSERT INTO users (login) VALUES (?) ON CONFLICT DO NOTHING", (login,))
        return int(self._one("SELECT id FROM users WHERE login = ?", login)["id"])

    # repositories

    def add_repo(self, owner: str, name: str, description: str | None, private: bool, branch: str) -> Repo | None:
        """None when the name is taken."""
        at = stamp()
        try:
            done = self._db.execute(
                "INSERT INTO repos (owner, name, description, private, default_branch, created_at, updated_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (owner, name, description, private, branch, at, at),
            )
        except sqlite3.IntegrityError:
            return None
        self._db.execute("DELETE FROM former_names WHERE full_name = ?", (f"{owner}/{name}",))
        return self.repo_by_id(int(done.lastrowid or 0))

    def repo(self, owner: str, name: str) -> Repo | None:
        """By its name, or by one it had before."""
        row = self._maybe("SELECT * FROM repos WHERE owner = ? AND name = ?", owner, name)
        if row is None:
            former = self._maybe("SELECT repo FROM former_names WHERE full_name = ?", f"{owner}/{name}")
            return self.repo_by_id(former["repo"]) if former else None
        return _repo(row)

    def repo_by_id(self, number: int) -> Repo | None:
        row = self._maybe("SELECT * FROM repos WHERE id = ? AND NOT gone", number)
        return _repo(row) if row else None

    def repos(self) -> list[Repo]:
        return [_repo(row) for row in self._db.execute("SELECT * FROM repos WHERE NOT gone ORDER BY owner, name")]

    def rename_repo(self, repo: Repo, name: str, *, owner: str | None = None) -> bool:
        """False when the name is taken. The former name goes on leading here, also after a transfer to an owner."""
        owner = owner or repo.owner
        try:
            self._db.execute(
                "UPDATE repos SET owner = ?, name = ?, updated_at = ? WHERE id = ?", (owner, name, stamp(), repo.id)
            )
        except sqlite3.IntegrityError:
            return False
        self._db.execute("DELETE FROM former_names WHERE full_name = ?", (f"{owner}/{name}",))
        self._db.execute("INSERT OR REPLACE INTO former_names VALUES (?, ?)", (repo.full_name, repo.id))
        return True

    def change_repo(self, number: int, *, default_branch: str, description: str | None) -> None:
        self._db.execute(
            "UPDATE repos SET default_branch = ?, description = ?, updated_at = ? WHERE id = ?",
            (default_branch, description, stamp(), number),
        )

    def mark_repo(self, number: int, *, archived: bool, private: bool) -> None:
        self._db.execute(
            "UPDATE repos SET archived = ?, private = ?, updated_at = ? WHERE id = ?",
            (archived, private, stamp(), number),
        )

    def pushed(self, number: int) -> None:
        self._db.execute("UPDATE repos SET pushed_at = ?, updated_at = ? WHERE id = ?", (stamp(), stamp(), number))

    def remove_repo(self, number: int) -> None:
        """Its name is free again, its number never; its hooks still carry the news of it."""
        self._db.execute("DELETE FROM former_names WHERE repo = ?", (number,))
        self._db.execute("UPDATE repos SET gone = 1, name = name || '#' || id WHERE id = ?", (number,))

    # hooks

    def add_hook(
        self, repo: int, active: bool, events: list[str], config: dict[str, str], *, owner: str | None = None
    ) -> Hook:
        at = stamp()
        done = self._db.execute(
            "INSERT INTO hooks (repo, active, events, config, created_at, updated_at, owner)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (repo or None, active, json.dumps(events), json.dumps(config), at, at, owner),
        )
        return _hook(self._one("SELECT * FROM hooks WHERE id = ?", done.lastrowid))

    def hooks(self, repo: int) -> list[Hook]:
        return [_hook(r) for r in self._db.execute("SELECT * FROM hooks WHERE repo = ? ORDER BY id", (repo,))]

    def hooks_of_owner(self, owner: str) -> list[Hook]:
        rows = self._db.execute("SELECT * FROM hooks WHERE repo IS NULL AND owner = ? ORDER BY id", (owner,))
        return [_hook(r) for r in rows]

    def app_hook(self) -> Hook | None:
        row = self._maybe("SELECT * FROM hooks WHERE repo IS NULL AND owner IS NULL ORDER BY id LIMIT 1")
        return _hook(row) if row else None

    def hook(self, repo: int, number: int) -> Hook | None:
        row = self._maybe("SELECT * FROM hooks WHERE id = ? AND coalesce(repo, 0) = ?", number, repo)
        return _hook(row) if row else None

    def change_hook(self, number: int, active: bool, events: list[str], config: dict[str, str]) -> None:
        self._db.execute(
            "UPDATE hooks SET active = ?, events = ?, config = ?, updated_at = ? WHERE id = ?",
            (active, json.dumps(events), json.dumps(config), stamp(), number),
        )

    def remove_hook(self, number: int) -> None:
        self._db.execute("DELETE FROM hooks WHERE id = ?", (number,))

    # deliveries

    def queue_delivery(
        self,
        hook: Hook,
        guid: str,
        event: str,
        action: str | None,
        body: bytes,
        *,
        redelivery: bool,
        repo: int | None = None,
    ) -> int:
        """Shape: `repo` is what the event is about, the hook's own where it has one; 0 for none."""
        done = self._db.execute(
            "INSERT INTO deliveries (hook, repo, guid, event, action, redelivery, body, queued_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (hook.id, hook.repo or repo or 0, guid, event, action, redelivery, body, stamp()),
        )
        return int(done.lastrowid or 0)

    def end_delivery(self, number: int, out: Outcome) -> None:
        self._db.execute(
            "UPDATE deliveries SET delivered_at = ?, duration = ?, status = ?, status_code = ?, url = ?,"
            " request_headers = ?, response_headers = ?, response_body = ? WHERE id = ?",
            (
                *(stamp(), out.duration, out.status, out.status_code, out.url),
                *(json.dumps(out.request_headers), json.dumps(out.response_headers), out.response_body, number),
            ),
        )
        self._db.execute(
            "UPDATE hooks SET last_code = ?, last_status = ? WHERE id = (SELECT hook FROM deliveries WHERE id = ?)",
            (out.status_code, out.status, number),
        )

    def fail_lost_deliveries(self) -> int:
        """At start: what was waiting or on its way when the hub died has failed. It is not sent by itself."""
        done = self._db.execute(
            "UPDATE deliveries SET delivered_at = queued_at, duration = 0, status = ?, status_code = 502"
            " WHERE status IS NULL",
            (LOST,),
        )
        return done.rowcount

    def attempt(self, number: int) -> tuple[Hook | None, Delivery | None]:
        """A delivery with its hook; both None when the hook was removed meanwhile."""
        row = self._maybe("SELECT * FROM deliveries WHERE id = ?", number)
        hook = self._maybe("SELECT * FROM hooks WHERE id = ?", row["hook"]) if row else None
        return (_hook(hook), _delivery(row)) if row and hook else (None, None)

    def delivery(self, hook: int, number: int) -> Delivery | None:
        row = self._maybe("SELECT * FROM deliveries WHERE id = ? AND hook = ?", number, hook)
        return _delivery(row) if row else None

    def deliveries(self, hook: int, *, below: int | None, limit: int) -> list[Delivery]:
        """Ended ones, newest first, of the last three days."""
        oldest = clock.iso(clock.now() - RETENTION)
        self._db.execute("DELETE FROM deliveries WHERE status IS NOT NULL AND queued_at < ?", (oldest,))
        rows = self._db.execute(
            "SELECT * FROM deliveries WHERE hook = ? AND status IS NOT NULL AND id < ? ORDER BY id DESC LIMIT ?",
            (hook, below or 2**62, limit),
        )
        return [_delivery(row) for row in rows]

    # statuses

    def add_status(
        self,
        repo: int,
        sha: str,
        context: str,
        state: str,
        description: str | None,
        target_url: str | None,
        creator: str,
    ) -> dict[str, Any]:
        done = self._db.execute(
            "INSERT INTO statuses (repo, sha, context, state, description, target_url, creator, created_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (repo, sha, context, state, description, target_url, creator, stamp()),
        )
        return dict(self._one("SELECT * FROM statuses WHERE id = ?", done.lastrowid))

    def count_statuses(self, repo: int, sha: str, context: str) -> int:
        row = self._one(
            "SELECT count(*) AS n FROM statuses WHERE repo = ? AND sha = ? AND context = ?", repo, sha, context
        )
        return int(row["n"])

    def statuses(self, repo: int, sha: str, *, offset: int, limit: int) -> list[dict[str, Any]]:
        rows = self._db.execute(
            "SELECT * FROM statuses WHERE repo = ? AND sha = ? ORDER BY id DESC LIMIT ? OFFSET ?",
            (repo, sha, limit, offset),
        )
        return [dict(row) for row in rows]

    def _maybe(self, sql: str, *values: Any) -> sqlite3.Row | None:
        row: sqlite3.Row | None = self._db.execute(sql, values).fetchone()
        return row

    def _one(self, sql: str, *values: Any) -> sqlite3.Row:
        row = self._maybe(sql, *values)
        assert row is not None
        return row


def stamp() -> str:
    """Shape: 2026-11-21T08:47:55.123Z; what GitHub writes, with milliseconds."""
    return clock.iso(clock.now())


def _repo(row: sqlite3.Row) -> Repo:
    fields = {name: row[name] for name in row.keys() if name != "gone"}  # noqa: SIM118 - iterating a Row gives values
    return Repo(**{**fields, "private": bool(row["private"]), "archived": bool(row["archived"])})


def _upgrade(db: sqlite3.Connection) -> None:
    """A hub of an earlier release knew no archived repository, and hooks of repositories only."""
    known = {table: db.execute(f"PRAGMA table_info({table})").fetchall() for table in ("repos", "hooks")}
    if known["repos"] and "gone" not in {c["name"] for c in known["repos"]}:
        for column in ("archived", "gone"):
            db.execute(f"ALTER TABLE repos ADD COLUMN {column} INTEGER NOT NULL DEFAULT 0")
    if known["hooks"] and "owner" not in {c["name"] for c in known["hooks"]}:
        db.executescript(
            "PRAGMA foreign_keys=OFF; PRAGMA legacy_alter_table=ON; BEGIN; ALTER TABLE hooks RENAME TO former_hooks;"
            f"{_SCHEMA}"
            "INSERT INTO hooks SELECT *, NULL FROM former_hooks; DROP TABLE former_hooks; COMMIT;"
            "PRAGMA legacy_alter_table=OFF; PRAGMA foreign_keys=ON;"
        )


def _hook(row: sqlite3.Row) -> Hook:
    events = tuple(json.loads(row["events"]))
    return Hook(
        **{
            **dict(row),
            "repo": row["repo"] or 0,
            "active": bool(row["active"]),
            "events": events,
            "config": json.loads(row["config"]),
        }
    )


def _delivery(row: sqlite3.Row) -> Delivery:
    fields = dict(row)
    del fields["queued_at"]
    for name in ("request_headers", "response_headers"):
        fields[name] = json.loads(fields[name] or "{}")
    return Delivery(**{**fields, "redelivery": bool(row["redelivery"])})
