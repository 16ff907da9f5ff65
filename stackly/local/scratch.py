"""A scratch Postgres for tests: shared by every process that holds its lock, gone with the last of them, killed or not.

`python -m stackly.local.scratch DIRECTORY` is the keeper: it runs the server until nobody holds `DIRECTORY/users`
any more, then deletes the directory.
"""

import asyncio
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

from stackly import ids
from stackly.errors import Unavailable
from stackly.local import postgres

_PATIENCE_S = 30.0


@contextmanager
def shared_postgres(directory: Path) -> Iterator[postgres.Cluster]:
    """The scratch server below `directory`, started by the first user. Raises: Unavailable when it does not come up."""
    with _used(directory):
        with (directory / "starting").open("a") as starting:
            fcntl.flock(starting, fcntl.LOCK_EX)
            if not (directory / "server.json").exists():
                _start_keeper(directory)
        yield _described(directory)


@contextmanager
def _used(directory: Path) -> Iterator[None]:
    """Hold the users' lock; a keeper that is clearing up holds it alone, and takes the file away with it."""
    while True:
        directory.mkdir(mode=0o711, parents=True, exist_ok=True)
        with (directory / "users").open("a") as users:
            fcntl.flock(users, fcntl.LOCK_SH)
            if _still_there(directory / "users", users.fileno()):
                yield
                return


def _still_there(path: Path, descriptor: int) -> bool:
    return path.exists() and path.stat().st_ino == os.fstat(descriptor).st_ino


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answers(cluster: postgres.Cluster) -> bool:
    """Whether it takes a session: a server that is starting up accepts TCP, and then refuses."""

    async def connect() -> None:
        await (await asyncpg.connect(cluster.url("postgres"), timeout=2)).close()

    try:
        asyncio.run(connect())
    except (OSError, TimeoutError, asyncpg.PostgresError):
        return False
    return True


def _described(directory: Path) -> postgres.Cluster:
    told = json.loads((directory / "server.json").read_text())
    return postgres.Cluster(Path(told["directory"]), told["port"], told["password"], durable=False)


def _start_keeper(directory: Path) -> None:
    log = (directory / "keeper.log").open("ab")
    keeper = subprocess.Popen(
        [sys.executable, "-m", "stackly.local.scratch", str(directory)],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    log.close()
    until = time.monotonic() + _PATIENCE_S
    while not (directory / "server.json").exists():
        if keeper.poll() is not None or time.monotonic() > until:
            said = (directory / "keeper.log").read_text(errors="replace")[-2000:]
            raise Unavailable(f"The scratch Postgres did not start: {said}")
        time.sleep(0.02)


def _keep(directory: Path) -> None:
    # Users hold a shared lock from before this process started, so the exclusive one means: nobody is left.
    cluster = postgres.Cluster(directory / "pg", free_port(), ids.new_token(), durable=False)
    postgres.prepare(cluster)
    server = subprocess.Popen(postgres.command(cluster), cwd=cluster.directory, stdin=subprocess.DEVNULL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while not answers(cluster):
        if server.poll() is not None:
            sys.exit("postgres ended before it answered")
        time.sleep(0.02)
    described = {"directory": str(cluster.directory), "port": cluster.port, "password": cluster.password}
    draft = directory / "server.json.draft"
    draft.touch(mode=0o600)
    draft.write_text(json.dumps(described))
    draft.rename(directory / "server.json")
    with (directory / "users").open("a") as users:
        fcntl.flock(users, fcntl.LOCK_EX)
        server.send_signal(signal.SIGINT)
        server.wait(timeout=_PATIENCE_S)
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    os.umask(0o022)
    _keep(Path(sys.argv[1]).resolve())
