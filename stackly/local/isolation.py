"""What keeps pushed code from this home: as its site agent found it, or as it would."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stackly.errors import Invalid, Unavailable
from stackly.local.home import Home

_CHECK = (sys.executable, "-m", "agent.sandbox.check")
_WORDS = ("", "best", "required")
# What keeps an ordinary user from making namespaces. Shape: (name, the value that forbids, the one that allows).
_SWITCHES = (
    ("user.max_user_namespaces", "0", "10000"),
    ("kernel.unprivileged_userns_clone", "0", "1"),
    ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
)


@dataclass(frozen=True, slots=True)
class Isolation:
    """Shape: `kind` as results carry it (`none` where there is none), `note` one sentence for people."""

    kind: str
    reason: str
    note: str

    def as_json(self) -> dict[str, str]:
        return {"kind": self.kind, "reason": self.reason, "note": self.note}


def _of(told: dict[str, Any]) -> Isolation:
    return Isolation(str(told["kind"]), str(told["reason"]), str(told["note"]))


def recorded(home: Home) -> Isolation | None:
    """As the site agent found it at its last start; None before its first."""
    try:
        return _of(json.loads((home.path / "agent" / "isolation.json").read_bytes()))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def tried(home: Home) -> Isolation:
    """As it would be found now."""
    try:
        done = subprocess.run(
            [*_CHECK, str(home.path / "agent")], capture_output=True, text=True, timeout=120, check=False
        )
        return _of(json.loads(done.stdout))
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError, TypeError) as e:
        return Isolation("none", str(e), f"Pushed code is NOT isolated: it could not be tried ({e}).")


def is_required() -> bool:
    return os.environ.get("STACKLY_ISOLATION") == "required"


def cure(found: Isolation) -> str:
    """The one command that makes a sandbox possible here."""
    if "is not installed" in found.reason:
        return "apt-get install bubblewrap"
    wrong = [f"{name}={right}" for name, forbids, right in _SWITCHES if _switch(name) == forbids]
    return f"sysctl -w {' '.join(wrong or [_SWITCHES[0][0] + '=10000'])}"


def _switch(name: str) -> str:
    try:
        return Path("/proc/sys", *name.split(".")).read_text().strip()
    except OSError:
        return ""


def check(home: Home, *, running: bool) -> None:
    """Shape: `running` says that an agent of this home found its own already.

    Raises: Unavailable where there must be a sandbox and there is none; Invalid.
    """
    if os.environ.get("STACKLY_ISOLATION", "") not in _WORDS:
        raise Invalid(f"STACKLY_ISOLATION={os.environ['STACKLY_ISOLATION']!r}: it is `best` or `required`.")
    if not is_required():
        return
    found = (recorded(home) if running else None) or tried(home)
    if found.kind == "none":
        first = "stackly down && " if running else ""
        raise Unavailable(
            f"STACKLY_ISOLATION=required, and pushed code would run without a sandbox: {found.reason}. "
            f"Nothing was started. Run: {first}{cure(found)}"
        )
