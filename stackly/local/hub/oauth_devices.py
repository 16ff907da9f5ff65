"""Logins of devices without a browser: the device asks again and again until a person typed its code elsewhere."""

import secrets
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from stackly import clock
from stackly.local.hub import oauth_rules as rules
from stackly.local.hub.oauth import Granted, Now, OAuth, OAuthApp, hashed
from stackly.local.hub.oauth_rules import Refusal

_SCHEMA = """
CREATE TABLE IF NOT EXISTS oauth_devices (
  device_hash TEXT PRIMARY KEY, user_hash TEXT NOT NULL UNIQUE, client_id TEXT NOT NULL, scopes TEXT NOT NULL,
  expires_at TEXT NOT NULL, interval_s INTEGER NOT NULL, polled_at TEXT, login TEXT, denied INTEGER NOT NULL DEFAULT 0);
"""
GRANT = "urn:ietf:params:oauth:grant-type:device_code"
LASTS_S = 900
INTERVAL_S = 5
_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"  # no vowels, so that no words appear
_PLACE = "apps/oauth-apps/building-oauth-apps/authorizing-oauth-apps#error-codes-for-the-device-flow"

PENDING = Refusal("authorization_pending", "The authorization request is still pending.", _PLACE)
EXPIRED = Refusal("expired_token", "The device code has expired: ask for a new one.", _PLACE)
DENIED = Refusal("access_denied", "The person cancelled the authorization.", _PLACE)
UNKNOWN = Refusal("incorrect_device_code", "The device_code provided is not valid.", _PLACE)
SLOWER = Refusal("slow_down", "The device asks too often: wait five seconds longer from now on.", _PLACE)


@dataclass(frozen=True, slots=True)
class SlowDown:
    """Units: seconds to wait between two questions from now on."""

    interval_s: int

    def told(self) -> dict[str, str | int]:
        return {**SLOWER.told(), "interval": self.interval_s}


class Devices:
    def __init__(self, db: sqlite3.Connection, oauth: OAuth, now: Now = clock.now) -> None:
        self._db = db
        self._oauth = oauth
        self._now = now
        db.executescript(_SCHEMA)

    def begin(self, app: OAuthApp, scopes: tuple[str, ...]) -> tuple[str, str]:
        """Shape: (the device's code, the person's code)."""
        self._db.execute("DELETE FROM oauth_devices WHERE expires_at <= ?", (self._at(-LASTS_S),))
        device, user = secrets.token_hex(20), "".join(secrets.choice(_LETTERS) for _ in range(8))
        self._db.execute(
            "INSERT INTO oauth_devices (device_hash, user_hash, client_id, scopes, expires_at, interval_s)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (hashed(device), hashed(user), app.client_id, " ".join(scopes), self._at(LASTS_S), INTERVAL_S),
        )
        return device, f"{user[:4]}-{user[4:]}"

    def decide(self, user_code: str, login: str | None) -> bool:
        """Let the device in as somebody, or send it away. False when no device waits under this code."""
        code = "".join(letter for letter in user_code.upper() if letter.isalnum())
        done = self._db.execute(
            "UPDATE oauth_devices SET login = ?, denied = ? WHERE user_hash = ? AND expires_at > ?"
            " AND login IS NULL AND NOT denied",
            (login, login is None, hashed(code), self._at(0)),
        )
        return done.rowcount == 1

    def poll(self, told: Mapping[str, str]) -> Granted | Refusal | SlowDown:
        if self._oauth.app(told.get("client_id")) is None:
            return rules.BAD_CLIENT
        key = (hashed(told.get("device_code", "")), told["client_id"])
        row = self._db.execute("SELECT * FROM oauth_devices WHERE device_hash = ? AND client_id = ?", key).fetchone()
        if row is None:
            return UNKNOWN
        if clock.parse(row["expires_at"]) <= self._now():
            return EXPIRED
        return self._too_soon(row) or self._outcome(row)

    def _too_soon(self, row: sqlite3.Row) -> SlowDown | None:
        last, interval = row["polled_at"], int(row["interval_s"])
        early = last is not None and self._now() < clock.parse(last) + timedelta(seconds=interval)
        interval += 5 if early else 0
        self._db.execute(
            "UPDATE oauth_devices SET polled_at = ?, interval_s = ? WHERE device_hash = ?",
            (self._at(0), interval, row["device_hash"]),
        )
        return SlowDown(interval) if early else None

    def _outcome(self, row: sqlite3.Row) -> Granted | Refusal:
        if row["denied"]:
            return DENIED
        if row["login"] is None:
            return PENDING
        spent = self._db.execute(
            "DELETE FROM oauth_devices WHERE device_hash = ? RETURNING device_hash", (row["device_hash"],)
        ).fetchall()
        if not spent:
            return UNKNOWN
        return self._oauth.give_token(row["client_id"], row["login"], tuple(row["scopes"].split()))

    def _at(self, seconds: int) -> str:
        moment: datetime = self._now() + timedelta(seconds=seconds)
        return clock.iso(moment)
