"""What the hub remembers of its one GitHub App: its public key, where it is installed, which tokens it gave."""

import secrets
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from stackly import clock
from stackly.local.hub.store import Repo, stamp

_SCHEMA = """
CREATE TABLE IF NOT EXISTS apps (
  id INTEGER PRIMARY KEY AUTOINCREMENT, slug TEXT NOT NULL, client_id TEXT NOT NULL, public_key TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS installations (
  id INTEGER PRIMARY KEY AUTOINCREMENT, owner TEXT NOT NULL UNIQUE COLLATE NOCASE, everything INTEGER NOT NULL,
  suspended_at TEXT, created_at TEXT NOT NULL, updated_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS installed (
  installation INTEGER NOT NULL REFERENCES installations ON DELETE CASCADE, repo INTEGER NOT NULL,
  PRIMARY KEY (installation, repo));
CREATE TABLE IF NOT EXISTS installation_tokens (
  token TEXT PRIMARY KEY, installation INTEGER NOT NULL REFERENCES installations ON DELETE CASCADE,
  expires_at TEXT NOT NULL);
"""
TOKEN_LASTS = timedelta(hours=1)
_JWT_LONGEST_S = 600
_CLOCKS_DIFFER_S = 60


@dataclass(frozen=True, slots=True)
class App:
    id: int
    slug: str
    client_id: str
    public_key: str


@dataclass(frozen=True, slots=True)
class Installation:
    """Shape: `everything` reaches all repositories of the owner, else the chosen ones."""

    id: int
    owner: str
    everything: bool
    suspended_at: str | None
    created_at: str
    updated_at: str


class Apps:
    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        db.executescript(_SCHEMA)

    # the App

    def register(self, slug: str) -> tuple[App, str]:
        """A new App instead of the former one. Returns it with its private key, which is told once."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
        self._db.executescript("DELETE FROM installations; DELETE FROM apps;")
        client = f"Iv23hub{secrets.token_hex(6)}"
        self._db.execute(
            "INSERT INTO apps (slug, client_id, public_key) VALUES (?, ?, ?)", (slug, client, public.decode())
        )
        app = self.app()
        assert app is not None
        return app, pem.decode()

    def app(self) -> App | None:
        row = self._db.execute("SELECT * FROM apps ORDER BY id DESC LIMIT 1").fetchone()
        return App(**dict(row)) if row else None

    def signed_by_app(self, token: str) -> bool:
        """Whether this is a JWT of the App as GitHub takes it: RS256, begun, not over, at most ten minutes long."""
        app = self.app()
        if app is None:
            return False
        try:
            claims = jwt.decode(
                token,
                app.public_key,
                algorithms=["RS256"],
                leeway=_CLOCKS_DIFFER_S,
                options={"require": ["iat", "exp", "iss"]},
            )
        except jwt.PyJWTError:
            return False
        lasts = claims["exp"] - clock.now().timestamp()
        return str(claims["iss"]) in {str(app.id), app.client_id} and lasts <= _JWT_LONGEST_S + _CLOCKS_DIFFER_S

    # installations

    def install(self, owner: str, *, everything: bool, repos: Sequence[int]) -> Installation:
        at = stamp()
        self._db.execute(
            "INSERT INTO installations (owner, everything, created_at, updated_at) VALUES (?, ?, ?, ?)",
            (owner, everything, at, at),
        )
        made = self.of_owner(owner)
        assert made is not None
        self.choose(made, everything=everything, repos=repos)
        return made

    def choose(self, installation: Installation, *, everything: bool, repos: Sequence[int]) -> None:
        self._db.execute(
            "UPDATE installations SET everything = ?, updated_at = ? WHERE id = ?",
            (everything, stamp(), installation.id),
        )
        self._db.execute("DELETE FROM installed WHERE installation = ?", (installation.id,))
        self._db.executemany("INSERT INTO installed VALUES (?, ?)", [(installation.id, repo) for repo in repos])

    def suspend(self, installation: Installation, *, suspended: bool) -> None:
        at = stamp() if suspended else None
        self._db.execute("UPDATE installations SET suspended_at = ? WHERE id = ?", (at, installation.id))

    def uninstall(self, installation: Installation) -> None:
        self._db.execute("DELETE FROM installations WHERE id = ?", (installation.id,))

    def installation(self, number: int) -> Installation | None:
        return _installation(self._db.execute("SELECT * FROM installations WHERE id = ?", (number,)).fetchone())

    def of_owner(self, owner: str) -> Installation | None:
        return _installation(self._db.execute("SELECT * FROM installations WHERE owner = ?", (owner,)).fetchone())

    def installations(self) -> list[Installation]:
        found = self._db.execute("SELECT * FROM installations ORDER BY id").fetchall()
        return [i for i in map(_installation, found) if i is not None]

    def reaches(self, installation: Installation, repo: Repo) -> bool:
        """A transferred repository is no longer its former owner's, whatever was chosen."""
        if repo.owner.lower() != installation.owner.lower():
            return False
        if installation.everything:
            return True
        row = self._db.execute(
            "SELECT 1 FROM installed WHERE installation = ? AND repo = ?", (installation.id, repo.id)
        ).fetchone()
        return row is not None

    def of_repo(self, repo: Repo) -> Installation | None:
        found = self.of_owner(repo.owner)
        return found if found is not None and self.reaches(found, repo) else None

    # tokens

    def give_token(self, installation: Installation) -> tuple[str, str]:
        """Shape: (token, when it ends). Longer than the forty characters that tokens once had."""
        token = f"ghs_{installation.id}_{secrets.token_urlsafe(96)}"
        expires = clock.iso(clock.now() + TOKEN_LASTS)
        self._db.execute("INSERT INTO installation_tokens VALUES (?, ?, ?)", (token, installation.id, expires))
        return token, expires

    def of_token(self, token: str) -> Installation | None:
        """Whose token this is; None for one that ended, or of an installation that is suspended or gone."""
        row = self._db.execute("SELECT * FROM installation_tokens WHERE token = ?", (token,)).fetchone()
        if row is None or clock.parse(row["expires_at"]) < clock.now():
            return None
        found = self.installation(row["installation"])
        return found if found is not None and found.suspended_at is None else None


def _installation(row: sqlite3.Row | None) -> Installation | None:
    return Installation(**{**dict(row), "everything": bool(row["everything"])}) if row else None
