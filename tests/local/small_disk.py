"""Run by a test inside a mount namespace of its own: `small_disk.py HOME full|read_only|handles`.

HOME is on a disk of a few megabytes there. A supervisor keeps two components while it has nothing to write with; it
and what it keeps must live, say so, and go on when it is over. Ends with the first sentence that is not so.
"""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stackly.local import platform, processes
from stackly.local.home import Home, free_ports
from stackly.local.supervisor import read_state

_FAKE = [sys.executable, str(Path(__file__).parent / "fake_home.py")]
_LIMIT_S = 60.0


def _wait(what: Callable[[], Any], message: str) -> None:
    until = time.monotonic() + _LIMIT_S
    while not what():
        if time.monotonic() > until:
            sys.exit(f"{message}; status: {json.dumps(platform.status(HOME))}")
        time.sleep(0.05)


def _of(name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(c for c in platform.status(HOME)["components"] if c["name"] == name)
    return found


def _trouble() -> str:
    return str(platform.status(HOME)["trouble"] or "")


@contextmanager
def full() -> Iterator[None]:
    """Whatever room is left is taken, also what is given back meanwhile."""
    ballast = HOME / "ballast"
    with ballast.open("wb", buffering=0) as out:
        size = 1 << 16
        while size:
            try:
                out.write(b"x" * size)
            except OSError as e:
                if e.errno != errno.ENOSPC:
                    raise
                size //= 2
        yield
    ballast.unlink()


@contextmanager
def read_only() -> Iterator[None]:
    """A second mount above the first: the kernel refuses to change one in which files are open."""
    subprocess.run(["mount", "--bind", str(HOME), str(HOME)], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", str(HOME)], check=True)
    yield
    subprocess.run(["umount", "--lazy", str(HOME)], check=True)


@contextmanager
def handles() -> Iterator[None]:
    who, _ = read_state(Home(HOME))
    assert who
    before = resource.prlimit(who.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(who.pid, resource.RLIMIT_NOFILE, (3, before[1]))
    yield
    resource.prlimit(who.pid, resource.RLIMIT_NOFILE, before)


def main(lack: str) -> None:
    ports = free_ports(2)
    told = {name: {"port": port} for name, port in zip(("first", "second"), ports, strict=True)}
    (HOME / "fake.json").write_text(json.dumps(told))
    platform.up(HOME, timeout_s=_LIMIT_S, supervisor=_FAKE)
    supervisor, _ = read_state(Home(HOME))
    assert supervisor
    steady = _of("first")["pid"]
    with {"full": full, "read_only": read_only, "handles": handles}[lack]():
        os.kill(_of("second")["pid"], signal.SIGKILL)
        _wait(_trouble, "status says nothing of it")
        # Every further try of the supervisor to start `second` fails as well: several pass.
        time.sleep(2)
        if not processes.runs(supervisor):
            sys.exit("the supervisor died")
        if _of("first")["pid"] != steady:
            sys.exit(f"`first` was not left alone: {_of('first')}")
    _wait(lambda: _of("second")["state"] == "running" and not _trouble(), "`second` never came back")
    if not processes.runs(supervisor) or _of("first")["pid"] != steady:
        sys.exit("the supervisor or `first` died afterwards")
    platform.down(HOME)
    if processes.below(HOME):
        sys.exit("something was left running")


if __name__ == "__main__":
    HOME = Path(sys.argv[1])
    main(sys.argv[2])
