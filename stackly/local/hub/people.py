"""People as GitHub shows them to an application that they let in: profile and e-mail addresses."""

import sqlite3
from dataclasses import dataclass
from typing import Any

from stackly.local.hub.shapes import Shapes
from stackly.local.hub.store import Store, stamp

_SCHEMA = """
CREATE TABLE IF NOT EXISTS profiles (
  login TEXT PRIMARY KEY COLLATE NOCASE, name TEXT, email TEXT, verified INTEGER NOT NULL DEFAULT 1,
  public INTEGER NOT NULL DEFAULT 1, created_at TEXT NOT NULL, updated_at TEXT NOT NULL);
"""
_UNKNOWN = ("company", "blog", "location", "hireable", "bio", "twitter_username")
_NONE = ("public_gists", "followers", "following")
_PRIVATE = ("private_gists", "disk_usage", "collaborators")


@dataclass(frozen=True, slots=True)
class Profile:
    """Shape: a person has one address or none; `public` shows it in the profile."""

    login: str
    name: str | None
    email: str | None
    verified: bool
    public: bool
    created_at: str
    updated_at: str


class People:
    def __init__(self, store: Store, shapes: Shapes) -> None:
        self._store = store
        self._db: sqlite3.Connection = store.db
        self._shapes = shapes
        self._db.executescript(_SCHEMA)

    def logins(self) -> list[str]:
        return [login for (login,) in self._db.execute("SELECT login FROM users ORDER BY login")]

    def known_as(self, login: str) -> str:
        """The login as it was first written; who is not known yet is from now on."""
        number = self._store.user_id(login)
        [(known,)] = self._db.execute("SELECT login FROM users WHERE id = ?", (number,)).fetchall()
        return str(known)

    def profile(self, login: str) -> Profile:
        at = stamp()
        self._db.execute(
            "INSERT INTO profiles (login, created_at, updated_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            (login, at, at),
        )
        row = dict(self._db.execute("SELECT * FROM profiles WHERE login = ?", (login,)).fetchone())
        return Profile(**{**row, "verified": bool(row["verified"]), "public": bool(row["public"])})

    def describe(self, login: str, *, name: str | None, email: str | None, verified: bool, public: bool) -> None:
        self.profile(login)
        self._db.execute(
            "UPDATE profiles SET name = ?, email = ?, verified = ?, public = ?, updated_at = ? WHERE login = ?",
            (name, email, verified, public, stamp(), login),
        )

    # shapes

    def account(self, login: str, *, private: bool) -> dict[str, Any]:
        """Shape: GitHub's `private-user`, or `public-user` for others than the person."""
        profile = self.profile(login)
        owned = [repo for repo in self._store.repos() if repo.owner.lower() == login.lower()]
        hidden = sum(repo.private for repo in owned)
        public = {
            **self._shapes.user(login),
            "name": profile.name,
            "email": profile.email if profile.public else None,
            **dict.fromkeys(_UNKNOWN),
            **dict.fromkeys(_NONE, 0),
            "public_repos": len(owned) - hidden,
            "created_at": profile.created_at,
            "updated_at": profile.updated_at,
            "user_view_type": "public",
        }
        if not private:
            return public
        counts = {"total_private_repos": hidden, "owned_private_repos": hidden, **dict.fromkeys(_PRIVATE, 0)}
        return {**public, **counts, "two_factor_authentication": False, "user_view_type": "private"}

    def emails(self, login: str) -> list[dict[str, Any]]:
        profile = self.profile(login)
        if profile.email is None:
            return []
        visibility = "public" if profile.public else "private"
        return [{"email": profile.email, "primary": True, "verified": profile.verified, "visibility": visibility}]
