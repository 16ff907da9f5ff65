"""The password's only way to a generator: a file that nobody else reads, gone when the load ends."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent import workdir
from stackly.engine.contracts.edge import Endpoint


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace(":", "\\:")


@contextmanager
def passfile(directory: Path, endpoint: Endpoint, user: str, password: str, uid: int = 0) -> Iterator[dict[str, str]]:
    """Shape: the environment that names the file (trap 1: never in argv, a URL, a config or the environment).

    It is that user's own: libpq takes no file that anyone else may read. The directory stays ours.
    """
    path = directory / "pgpass"
    path.unlink(missing_ok=True)
    fields = (endpoint.host, str(endpoint.port), endpoint.database, user, password)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(":".join(_escaped(f) for f in fields) + "\n")
    workdir.give(path, uid)
    try:
        yield {"PGPASSFILE": str(path)}
    finally:
        path.unlink(missing_ok=True)
