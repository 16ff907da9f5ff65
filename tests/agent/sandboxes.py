"""The kinds of isolation that this machine can be tried with, and a home that each of them can work in."""

import functools
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from agent.sandbox import isolation
from agent.sandbox.box import Kind
from agent.sandbox.isolation import Isolation
from agent.sandbox.users import Users, of_home

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


@functools.cache
def why_not(kind: Kind) -> str:
    """Tried once for all tests: what this machine offers to one open home it offers to the next."""
    with open_directory() as root:
        home = root / "agent"
        why = {Kind.BUBBLEWRAP: isolation.bubblewrap, Kind.USER: isolation.own_user}.get(kind)
        return why(home, users_of(home), ()) if why else ""


def users_of(home: Path) -> Users | None:
    return of_home(home) if os.geteuid() == 0 else None


def isolated(kind: Kind, home: Path) -> Isolation:
    """That kind, or a skip with its reason; under STACKLY_REQUIRE_REAL=1 the skip is a failure."""
    users = users_of(home)
    home.mkdir(mode=0o711, parents=True, exist_ok=True)
    if reason := why_not(kind):
        pytest.skip(f"{kind} does not work here: {reason}")
    return Isolation(kind, "", users if kind is not Kind.NONE else None)


@functools.cache
def _best_in_private() -> Isolation:
    with tempfile.TemporaryDirectory(prefix="stackly-sandbox-test-") as private:
        return isolation.find(Path(private) / "home")


def as_found(home: Path) -> Isolation:
    """What an agent finds for a home in a directory of one user's own, as pytest's are; looked for once."""
    return replace(_best_in_private(), users=users_of(home))
