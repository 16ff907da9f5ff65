"""Which code runs: a process keeps what it was started with, whatever became of the files since."""

import hashlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from stackly.local import schema

_PACKAGES = ("stackly", "agent")
_KINDS = frozenset({".py", ".sql", ".json", ".hcl"})


@cache
def fingerprint() -> str:
    """Of all our code and of the libraries' versions, as this process found them first."""
    digest = hashlib.sha256()
    for root in (*_packages(), schema.scripts()):
        for file in sorted(p for p in root.rglob("*") if p.suffix in _KINDS and p.is_file()):
            digest.update(f"{root.name}/{file.relative_to(root)}\0".encode())
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    # In a checkout the libraries change with it.
    lock = schema.scripts().parent / "uv.lock"
    digest.update(lock.read_bytes() if lock.exists() else b"")
    return digest.hexdigest()[:16]


def _packages() -> list[Path]:
    specs = [find_spec(name) for name in _PACKAGES]
    return [Path(place) for spec in specs if spec for place in spec.submodule_search_locations or ()]
