"""What the hub remembers of OAuth: the application, its codes and tokens. Secrets stand there as SHA-256 only."""

import hashlib
import hmac
import json
import secrets
import sqlite3
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from stackly import clock
from stackly.local.hub import oauth_rules as rules
from stackly.local.hub.oauth_rules import Refusal

_SCHEMA = """
CREATE TABLE IF NOT EXISTS oauth_apps (
  client_id TEXT PRIMARY KEY, name TEXT NOT NULL, callback TEXT NOT NULL, secret_hash TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS oauth_codes (
  code_hash TEXT PRIMARY KEY, client_id TEXT NOT NULL, login TEXT NOT NULL, scopes TEXT NOT NULL,
  redirect_uri TEXT NOT NULL, challenge TEXT, expires_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS oauth_tokens (
  id INTEGER PRIMARY KEY AUTOINCREMENT, token_hash TEXT NOT NULL UNIQUE, client_id TEXT NOT NULL,
  login TEXT NOT NULL, scopes TEXT NOT NULL, created_at TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS oauth_tokens_of_login ON oauth_tokens (client_id, login, scopes, id);
"""
CODE_LASTS = timedelta(minutes=10)
MAX_TOKENS = 10  # of one person, application and scopes; older ones end, as on GitHub
PREFIX = "gho_"
PLATFORM = "stackly"  # under this login the platform's own key acts
_LETTERS = string.ascii_letters + string.digits

Now = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class OAuthApp:
    """Shape: `callback` is the registered address, below which answers may go."""

    client_id: str
    name: str
    callback: str
    secret_hash: str

    def has_secret(self, secret: str) -> bool:
        return hmac.compare_digest(self.secret_hash, hashed(secret))


@dataclass(frozen=True, slots=True)
class Asked:
    """What an application asks a person for, once it was found to be in order."""

    app: OAuthApp
    redirect_uri: str
    scopes: tuple[str, ...]
    state: str | None = None
    challenge: str | None = None


@dataclass(frozen=True, slots=True)
class Person:
    """Whose token this is, and what it may do. Shape: `client_id` is '' for a key of the hub itself."""

    login: str
    client_id: str
    scopes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Granted:
    token: str
    scopes: tuple[str, ...]

    def told(self) -> dict[str, str]:
        return {"access_token": self.token, "scope": ",".join(self.scopes), "token_type": "bearer"}


class OAuth:
    def __init__(self, db: sqlite3.Connection, now: Now = clock.now) -> None:
        self._db = db
        self._now = now
        db.executescript(_SCHEMA)

    # the application

    def register(self, app: OAuthApp) -> None:
        """Known from now on, or changed: its tokens stay."""
        self._db.execute(
            "INSERT OR REPLACE INTO oauth_apps (client_id, name, callback, secret_hash) VALUES (?, ?, ?, ?)",
            (app.client_id, app.name, app.callback, app.secret_hash),
        )

    def app(self, client_id: str | None) -> OAuthApp | None:
        row = self._db.execute("SELECT * FROM oauth_apps WHERE client_id = ?", (client_id,)).fetchone()
        return OAuthApp(**dict(row)) if row else None

    def app_with(self, client_id: str | None, secret: str | None) -> OAuthApp | None:
        app = self.app(client_id)
        return app if app is not None and app.has_secret(secret or "") else None

    # codes

    def give_code(self, asked: Asked, login: str) -> str:
        self._db.execute("DELETE FROM oauth_codes WHERE expires_at <= ?", (clock.iso(self._now()),))
        code = secrets.token_hex(10)
        self._db.execute(
            "INSERT INTO oauth_codes (code_hash, client_id, login, scopes, redirect_uri, challenge, expires_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                *(hashed(code), asked.app.client_id, login, " ".join(asked.scopes), asked.redirect_uri),
                *(asked.challenge, clock.iso(self._now() + CODE_LASTS)),
            ),
        )
        return code

    def redeem(self, told: Mapping[str, str]) -> Granted | Refusal:
        """A token for a code. Whoever knows the client's secret has one try: the code is spent whatever comes of it."""
        app = self.app_with(told.get("client_id"), told.get("client_secret"))
        if app is None:
            return rules.BAD_CLIENT
        row = self._spend(app, told.get("code", ""))
        if row is None or clock.parse(row["expires_at"]) <= self._now():
            return rules.BAD_CODE
        if told.get("redirect_uri", row["redirect_uri"]) != row["redirect_uri"]:
            return rules.EXCHANGE_MISMATCH
        if not rules.proves(row["challenge"], told.get("code_verifier")):
            return rules.BAD_CODE
        return self.give_token(app.client_id, row["login"], tuple(row["scopes"].split()))

    def _spend(self, app: OAuthApp, code: str) -> sqlite3.Row | None:
        """In one statement, so that of several at once exactly one has it."""
        rows = self._db.execute(
            "DELETE FROM oauth_codes WHERE code_hash = ? AND client_id = ? RETURNING *", (hashed(code), app.client_id)
        ).fetchall()
        return rows[0] if rows else None

    # tokens

    def give_token(self, client_id: str, login: str, scopes: tuple[str, ...]) -> Granted:
        token = PREFIX + "".join(secrets.choice(_LETTERS) for _ in range(36))
        whose = (client_id, login, " ".join(scopes))
        self._db.execute(
            "INSERT INTO oauth_tokens (client_id, login, scopes, token_hash, created_at) VALUES (?, ?, ?, ?, ?)",
            (*whose, hashed(token), clock.iso(self._now())),
        )
        self._db.execute(
            "DELETE FROM oauth_tokens WHERE client_id = ? AND login = ? AND scopes = ? AND id NOT IN (SELECT id FROM"
            " oauth_tokens WHERE client_id = ? AND login = ? AND scopes = ? ORDER BY id DESC LIMIT ?)",
            (*whose, *whose, MAX_TOKENS),
        )
        return Granted(token, scopes)

    def person(self, token: str) -> Person | None:
        row = self._db.execute("SELECT * FROM oauth_tokens WHERE token_hash = ?", (hashed(token),)).fetchone()
        return Person(row["login"], row["client_id"], tuple(row["scopes"].split())) if row else None

    def revoke(self, client_id: str, token: str) -> bool:
        """False when the application has no such token."""
        done = self._db.execute(
            "DELETE FROM oauth_tokens WHERE token_hash = ? AND client_id = ?", (hashed(token), client_id)
        )
        return done.rowcount == 1


def hashed(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()


def registered(config: Path) -> OAuthApp | None:
    """The application that a home's settings tell of, if they do. Its answers go to the API, at any path."""
    settings = json.loads(config.read_text())["settings"]
    client, secret, api = (settings.get(n) for n in ("github_client_id", "github_client_secret", "api_url"))
    if not (client and secret and api):
        return None
    return OAuthApp(client, "Stackly", f"{api.rstrip('/')}/", hashed(secret))


def keys_of(config: Path) -> dict[str, str]:
    """The keys that a home's settings tell of: the person's, and the platform's own. Shape: key -> login."""
    settings = json.loads(config.read_text())["settings"]
    return {settings["hub_person_token"]: settings["hub_person"], settings["github_token"]: PLATFORM}
