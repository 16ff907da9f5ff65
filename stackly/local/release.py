"""Which code runs: a process keeps what it was started with, whatever became of the files since."""

import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from stackly.local import schema

_ALL = ("stackly", "agent")
_AGENTS = ("agent", "stackly.wire", "stackly.engine.contracts")
_KINDS = frozenset({".py", ".sql", ".json", ".hcl"})


@cache
def fingerprint() -> str:
    """Of all our code and of the libraries' versions, as this process found them first."""
    # In a checkout the libraries change with it.
    lock = schema.scripts().parent / "uv.lock"
    return _digest((*_places(_ALL), schema.scripts()), lock.read_bytes() if lock.exists() else b"")


@cache
def of_agents() -> str:
    """Of what an agent is, and of what it and the platform say to each other."""
    return _digest(_places(_AGENTS), b"")


def _digest(roots: Sequence[Path], more: bytes) -> str:
    digest = hashlib.sha256(more)
    for root in roots:
        for file in sorted(p for p in root.rglob("*") if p.suffix in _KINDS and p.is_file()):
            digest.update(f"{root.name}/{file.relative_to(root)}\0".encode())
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _places(packages: Sequence[str]) -> list[Path]:
    specs = [find_spec(name) for name in packages]
    return [Path(place) for spec in specs if spec for place in spec.submodule_search_locations or ()]
