"""What keeps pushed code from this home: as its site agent found it, or as it would."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from stackly.local.home import Home

_CHECK = (sys.executable, "-m", "agent.sandbox.check")


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
