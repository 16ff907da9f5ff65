"""What keeps pushed code from the platform on this machine: found by trying the very thing."""

import contextlib
import json
import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent import workdir
from agent.sandbox import bwrap
from agent.sandbox.box import Box, Kind
from agent.sandbox.launch import Order, command_line
from agent.sandbox.programs import SYSTEM_PATH, located
from agent.sandbox.users import Users, of_home
from stackly.errors import StacklyError, Unavailable

_PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class Isolation:
    """Shape: `why` says why it is nothing better, '' when nothing is; `users` are there where root started us."""

    kind: Kind
    why: str = ""
    users: Users | None = None

    @property
    def name(self) -> str:
        """As the fingerprint and the agent's capabilities have it."""
        return f"{self.kind}+user" if self.kind is Kind.BUBBLEWRAP and self.users else str(self.kind)

    def told(self) -> dict[str, object]:
        """Among an agent's capabilities."""
        return {"isolation": self.name, "isolation_note": self.sentence()}

    def sentence(self) -> str:
        told = {
            Kind.BUBBLEWRAP: "Pushed code runs in a sandbox (bubblewrap)",
            Kind.USER: "Pushed code runs as users of its own, without a sandbox of its own",
            Kind.NONE: "Pushed code runs with the platform's own rights: NOT isolated",
        }[self.kind]
        return f"{told}: {self.why}." if self.why else f"{told}."

    def uid(self, owner: Path, part: str = "") -> int:
        """The user of (directory, part); 0 where there is none of its own. Raises: Exhausted, Unavailable."""
        return self.users.claim(owner, part) if self.users and self.kind is not Kind.NONE else 0


def find(home: Path, users: Users | None = None, programs: Sequence[Path] = ()) -> Isolation:
    """The strongest that works for directories below `home`, an agent's.

    Shape: `programs` are files that the boxes need besides; without a namespace they must be open to other users.
    """
    users = (users or of_home(home)) if os.geteuid() == 0 else None
    reasons: list[str] = []
    for kind, attempt in ((Kind.BUBBLEWRAP, bubblewrap), (Kind.USER, own_user)):
        why = attempt(home, users, programs)
        if not why:
            return Isolation(kind, "; ".join(reasons), users)
        reasons.append(why)
    return Isolation(Kind.NONE, "; ".join(reasons))


def described(found: Isolation) -> dict[str, str]:
    """For the platform around the agent: `doctor`, `up` and `status`."""
    return {"kind": found.name, "reason": found.why, "note": found.sentence()}


def record(home: Path, found: Isolation) -> None:
    """Shape: `isolation.json` in the agent's home."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    workdir.write_private(home / "isolation.json", json.dumps(described(found)).encode())


def required(found: Isolation, *, must: bool) -> Isolation:
    """Raises: Unavailable when there is none and there must be one."""
    if must and found.kind is Kind.NONE:
        raise Unavailable(
            f"STACKLY_ISOLATION=required, and this machine offers no sandbox: {found.why}. Install bubblewrap and "
            "allow user namespaces, or start Stackly as root in a directory that others may enter."
        )
    return found


def bubblewrap(home: Path, users: Users | None, programs: Sequence[Path]) -> str:
    """Why it does not work here, '' when it does."""
    del programs  # they are shown to the box wherever they are
    if located("bwrap") is None:
        return "bubblewrap is not installed"
    for shown in bwrap.always_shown():
        if home.resolve().is_relative_to(shown):
            return f"{home} lies in {shown}, which every sandbox sees"
    return _try(Kind.BUBBLEWRAP, home, users)


def own_user(home: Path, users: Users | None, programs: Sequence[Path]) -> str:
    """Why it does not work here, '' when it does."""
    if users is None:
        return "only root can give users of its own"
    if located("setpriv") is None:
        return "setpriv is not installed"
    for path in (home / "x", *programs):
        for parent in path.resolve().parents:
            if parent.exists() and not parent.stat().st_mode & 1:
                return f"{parent} is closed to other users"
    return _try(Kind.USER, home, users)


@contextlib.contextmanager
def _directory(home: Path) -> Iterator[Path]:
    home.mkdir(mode=0o711, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".sandbox-", dir=home) as made:
        yield Path(made).resolve()


def _try(kind: Kind, home: Path, users: Users | None) -> str:
    """Why it does not work, '' when it does: writing in a directory of one's own, as a run does."""
    try:
        with _directory(home) as directory:
            uid = users.claim(directory) if users else 0
            if uid:
                os.chown(directory, uid, uid)
            box = Box(directory, (directory,), {"PATH": SYSTEM_PATH}, uid=uid)
            return _ran(kind, Order(["test", "-w", str(directory)], box))
    except (StacklyError, OSError) as error:
        return str(error)


def _ran(kind: Kind, order: Order) -> str:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        argv, files = command_line(kind, order, theirs.fileno())
        try:
            done = subprocess.run(
                argv,
                cwd=order.box.cwd,
                env=dict(order.box.env),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                pass_fds=[theirs.fileno(), *files],
                timeout=_PATIENCE_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"{kind} did not start within {_PATIENCE_S:.0f} s"
        finally:
            for file in files:
                os.close(file)
    if done.returncode == 0:
        return ""
    said = done.stderr.strip().split("\n")[-1]
    return said or f"{order.box.cwd} cannot be written in it (exit {done.returncode})"
