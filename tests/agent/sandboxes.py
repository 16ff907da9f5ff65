"""The kinds of isolation that this machine can be tried with, and a home that each of them can work in."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.sandbox import isolation
from agent.sandbox.box import Kind
from agent.sandbox.isolation import Isolation
from agent.sandbox.users import Users

SEPARATING = (Kind.BUBBLEWRAP, Kind.USER)


@contextmanager
def open_directory() -> Iterator[Path]:
    """pytest's own directories are closed to other users, a platform's home is not."""
    made = Path(tempfile.mkdtemp(prefix="stackly-sandbox-test-"))
    made.chmod(0o711)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def isolated(kind: Kind, home: Path) -> Isolation:
    """That kind, or a skip with its reason; under STACKLY_REQUIRE_REAL=1 the skip is a failure."""
    users = Users(home / "users") if os.geteuid() == 0 else None
    home.mkdir(mode=0o711, parents=True, exist_ok=True)
    why = {Kind.BUBBLEWRAP: isolation.bubblewrap, Kind.USER: isolation.own_user}.get(kind)
    reason = why(home, users, ()) if why else ""
    if reason:
        pytest.skip(f"{kind} does not work here: {reason}")
    return Isolation(kind, "", users if kind is not Kind.NONE else None)
