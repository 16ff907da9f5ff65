"""Processes by pid and start time; leftovers by their working directory."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from stackly.errors import of_os

_PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True)
class Alive:
    """Who a pid was: pids are used again, a pid with its start time is not. Units: clock ticks since boot."""

    pid: int
    started: int


def identify(pid: int) -> Alive | None:
    """None when it does not run (any more); a zombie does not run. Raises: OSError when there is no way to tell."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError as e:
        if of_os(e) is not None:
            raise
        return None
    # The name stands in brackets and may hold anything; fields are counted from its end.
    fields = text[text.rindex(")") + 2 :].split()
    return None if fields[0] in "ZX" else Alive(pid, int(fields[19]))


def runs(who: Alive) -> bool:
    """Without file handles of our own nobody can be looked at, and nobody counts as dead for it."""
    try:
        return identify(who.pid) == who
    except OSError:
        return psutil.pid_exists(who.pid)


def signal_to(who: Alive, number: int) -> None:
    """Send to that very process, or to nobody."""
    if runs(who):
        try:
            os.kill(who.pid, number)
        except ProcessLookupError:
            return


def below(directory: Path) -> list[Alive]:
    """Every process whose working directory is the directory or lies in it, also when it was deleted since."""
    root = str(directory.resolve())
    found = []
    for pid in psutil.pids():
        try:
            where = str(Path(f"/proc/{pid}/cwd").readlink()).removesuffix(" (deleted)")
        except OSError:
            continue
        who = identify(pid)
        if who and pid != os.getpid() and (where == root or where.startswith(root + "/")):
            found.append(who)
    return found


def clear(directory: Path, patience_s: float = _PATIENCE_S) -> list[Alive]:
    """SIGKILL everything below the directory until nothing is left. Shape: what still lives after the patience."""
    until = time.monotonic() + patience_s
    while left := below(directory):
        for who in left:
            signal_to(who, signal.SIGKILL)
        if time.monotonic() > until:
            return left
        time.sleep(0.02)
    return []


def holder_of(port: int) -> str:
    """Who listens on a TCP port, as far as it may be known. Shape: text for a message, or empty."""
    try:
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr[1] == port
            if listens and connection.pid:
                return f"{psutil.Process(connection.pid).name()}, pid {connection.pid}"
    except psutil.Error:
        return ""
    return ""
