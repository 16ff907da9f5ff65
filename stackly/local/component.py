"""What the supervisor needs to know of one component, and how it tells that it is ready."""

import hashlib
import http.client
import json
import signal
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeAlias

import psutil

from stackly.errors import of_os, reason_of
from stackly.local.processes import Alive
from stackly.local.s3_keys import S3Keys

# Asked with the component's pid. Raises: OSError when the one who asks lacks what it takes to ask.
Probe: TypeAlias = Callable[[int], bool]
# What a running component lacks, as a sentence; None: nothing.
Health: TypeAlias = Callable[[], str | None]


class State(StrEnum):
    WAITING = "waiting"  # for the components it needs
    STARTING = "starting"
    RUNNING = "running"
    RESTARTING = "restarting"  # it died; the next attempt comes after a pause
    FAILED = "failed"  # it cannot start, and `reason` says what to do; attempts go on
    STOPPED = "stopped"


@dataclass(frozen=True)
class Component:
    """Shape: `cwd` is this component's alone; `before` runs ahead of every start, `once` ahead of the first.

    Units: seconds. `ports` must be free before it starts.
    """

    name: str
    argv: list[str]
    cwd: Path
    address: str
    ready: Probe
    ports: tuple[int, ...] = ()
    needs: tuple[str, ...] = ()
    once: tuple[list[str], ...] = ()
    before: tuple[list[str], ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    stop_signal: int = signal.SIGTERM
    grace_s: float = 10.0
    # So long one may be neither ready nor getting on; who gets on has all the time it takes.
    ready_s: float = 60.0
    health: Health | None = None
    code: str = ""  # of ours that it runs; '' for a program of others
    decides: bool = False  # what becomes of runs: it ends before those do whose word it acts upon

    @property
    def digest(self) -> str:
        """A running one is adopted only when it was started by the same command, on the same code."""
        started = [self.argv, str(self.cwd), *([self.code] if self.code else [])]
        return hashlib.sha256(json.dumps(started).encode()).hexdigest()[:16]


@dataclass
class Status:
    """What is known of a component. The supervisor writes it, `status` reads it."""

    name: str
    address: str
    state: State = State.WAITING
    process: Alive | None = None
    digest: str = ""
    restarts: int = 0
    reason: str | None = None

    def as_json(self) -> dict[str, Any]:
        who = self.process
        return {
            "name": self.name,
            "address": self.address,
            "state": self.state.value,
            "pid": who.pid if who else None,
            "started": who.started if who else None,
            "digest": self.digest,
            "restarts": self.restarts,
            "reason": self.reason,
        }

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> "Status":
        who = Alive(told["pid"], told["started"]) if told["pid"] else None
        return cls(
            name=told["name"],
            address=told["address"],
            state=State(told["state"]),
            process=who,
            digest=told["digest"],
            restarts=told["restarts"],
            reason=told["reason"],
        )


def _refused(error: Exception) -> bool:
    """False: it does not answer. Raises: the error, where it says nothing about who was asked."""
    if isinstance(error, OSError) and of_os(error) is not None:
        raise error
    return False


def tcp(port: int) -> Probe:
    def ready(_pid: int) -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=2).close()
        except OSError as e:
            return _refused(e)
        return True

    return ready


def http_ok(port: int, path: str, accepted: range = range(200, 500)) -> Probe:
    """Answers over HTTP; plain http.client, because a proxy of the environment has no business on loopback."""

    def ready(_pid: int) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", path)
            return connection.getresponse().status in accepted
        except (OSError, http.client.HTTPException) as e:
            return _refused(e)
        finally:
            connection.close()

    return ready


def keeps_files(filer: int, keys: S3Keys) -> Probe:
    """SeaweedFS answers before its volumes are read: only a file written and read back tells."""

    def ready(_pid: int) -> bool:
        connection = http.client.HTTPSConnection("127.0.0.1", filer, timeout=1.5, context=keys.context())
        try:
            connection.request("PUT", "/ready", b"ready", _bearing(keys, "jwt.filer_signing"))
            written = connection.getresponse()
            written.read()
            connection.request("GET", "/ready", headers=_bearing(keys, "jwt.filer_signing.read"))
            return written.status == 201 and connection.getresponse().read() == b"ready"
        except (OSError, http.client.HTTPException) as e:
            return _refused(e)
        finally:
            connection.close()

    return ready


def _bearing(keys: S3Keys, name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {keys.token(name)}"}


def both(one: Probe, other: Probe) -> Probe:
    return lambda pid: one(pid) and other(pid)


def readiness(port: int, path: str) -> Health:
    """What a server says of itself: it may run, and have nothing to work with."""

    def health() -> str | None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            said = answer.read(1000).decode(errors="replace")
        except (OSError, http.client.HTTPException) as e:
            return f"it runs, and does not answer: {reason_of(e)}"
        finally:
            connection.close()
        return None if answer.status == 200 else f"it runs, and is not ready: {said.strip()}"

    return health


def connected(port: int) -> Probe:
    """For a component without a door: it is ready when it has called where it gets its work."""

    def ready(pid: int) -> bool:
        try:
            calls = psutil.Process(pid).net_connections("tcp")
        except psutil.Error:
            return False
        return any(c.status == psutil.CONN_ESTABLISHED and c.raddr and c.raddr[1] == port for c in calls)

    return ready
