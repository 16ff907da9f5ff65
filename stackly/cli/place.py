"""Where the server is and what opens it: options, environment, the home's own files. Tokens never come from argv."""

import os
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from stackly import addresses
from stackly.cli.exits import CommandFailed, Exit

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def default_home() -> Path:
    """STACKLY_HOME, else `.stackly` beside the Makefile of a checkout, else the user's data directory."""
    told = os.environ.get("STACKLY_HOME")
    if told:
        return Path(told).resolve()
    checkout = Path(__file__).resolve().parents[2]
    if (checkout / "Makefile").exists() and (checkout / "pyproject.toml").exists():
        return checkout / ".stackly"
    return Path.home() / ".local" / "share" / "stackly"


def is_loopback(url: str) -> bool:
    return urlsplit(url).hostname in _LOOPBACK


class Place(NamedTuple):
    """Shape: `told` is what --server or STACKLY_SERVER said, or None."""

    home: Path
    told: str | None = None

    @property
    def logins(self) -> Path:
        return self.home / "logins.json"

    def endpoints(self) -> dict[str, str]:
        """As in endpoints.json; empty before the first `up`."""
        return dict(_read_json(self.home / "endpoints.json"))

    def endpoint(self, name: str) -> str:
        """Raises: CommandFailed when the platform was never started here."""
        found = self.endpoints().get(name)
        if not found:
            raise CommandFailed(Exit.UNREACHABLE, "No platform runs here.", "Run: stackly up", home=str(self.home))
        return found

    def server(self) -> str:
        """Shape: no trailing slash. Raises: CommandFailed when no server is known, or the address is none."""
        if not self.told:
            return self.endpoint("api_url").rstrip("/")
        parts = addresses.parsed(self.told)
        if parts is None or parts.scheme not in {"http", "https"} or not parts.hostname:
            said = f"{self.told!r} is no address; write http://HOST:PORT or https://HOST."
            raise CommandFailed(Exit.USAGE, "The server's address is not usable.", said)
        return self.told.rstrip("/")

    def token(self) -> str | None:
        """STACKLY_TOKEN, a login of this server, or the home's own token for the home's own server."""
        told = os.environ.get("STACKLY_TOKEN", "").strip()
        if told:
            return told
        server = self.server()
        kept = _read_json(self.logins).get(server)
        if isinstance(kept, str):
            return kept
        return _read_text(self.home / "token") if self._is_own(server) else None

    def hub_token(self) -> str | None:
        """What opens the home's own hub; None where there is none."""
        return _read_text(self.home / "hub-token")

    def keep_login(self, token: str) -> None:
        """Remember a token for this server, 0600 from the first byte."""
        import json  # late: many a command writes none

        self.home.mkdir(parents=True, exist_ok=True)
        draft = self.logins.with_name(f".logins.{os.getpid()}")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            json.dump({**_read_json(self.logins), self.server(): token}, out, indent=2)
        draft.replace(self.logins)

    def _is_own(self, server: str) -> bool:
        """The home's token opens nothing else, so it is sent nowhere else."""
        own = self.endpoints().get("api_url")
        if own is None:
            return False
        same_port = urlsplit(own).port == urlsplit(server).port
        return own.rstrip("/") == server or (same_port and is_loopback(own) and is_loopback(server))


def _read_json(file: Path) -> dict[str, Any]:
    import json  # late: many a command writes none

    try:
        told = json.loads(file.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as e:
        raise CommandFailed(Exit.INTERNAL, f"{file.name} cannot be read.", f"{file}: {e}") from e
    return told if isinstance(told, dict) else {}


def _read_text(file: Path) -> str | None:
    try:
        return file.read_text().strip() or None
    except FileNotFoundError:
        return None
    except OSError as e:
        raise CommandFailed(Exit.DENIED, "The home's tokens cannot be read.", f"{file}: {e}") from e
