"""Who pushes: a person's key of the hub, as a personal access token is GitHub's. A user name says nothing."""

import secrets
from collections.abc import Mapping
from pathlib import Path

from stackly.local.hub.oauth import Person, hashed
from stackly.local.hub.oauth_rules import EVERYTHING
from stackly.secrets import private_file


class Keys:
    """Shape: `given` maps keys to the logins they are of. Only digests are kept."""

    def __init__(self, given: Mapping[str, str]) -> None:
        self._logins = {hashed(key): login for key, login in given.items() if key}

    def person(self, key: str) -> Person | None:
        login = self._logins.get(hashed(key))
        return Person(login, "", EVERYTHING) if login else None


def own_key(home: Path) -> str:
    """The key of a hub that is started by itself, made at its first start: 0600 in its home."""
    return private_file(home / "hub-token", f"{secrets.token_urlsafe(24)}\n".encode).decode().strip()
