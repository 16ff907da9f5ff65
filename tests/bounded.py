"""`python -m tests.bounded --limit S --stall S -- PYTEST-ARGUMENTS`: a run of tests that ends, whatever a test does.

A test that hangs in native code, or a worker that died and left its controller waiting, is beyond what runs inside of
pytest. Past a bound this ends the whole run, what its tests detached included, and prints the names of the tests that
ran, with their stacks. Units: seconds, of the whole run and without any test beginning or ending.
"""

import argparse
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from tests.running import FOLDER

ROOT = Path(__file__).parents[1]
# Every process that a test started, however far it went away, carries this.
RUN = "STACKLY_TEST_RUN"
_LOOK_S = 0.5
_LAST_WORDS_S = 3.0
TOO_LONG = 124


def running(folder: Path) -> dict[int, str]:
    """The test that each process is in."""
    marks = {int(mark.name): mark.read_text() for mark in folder.iterdir()}
    return {pid: name for pid, name in marks.items() if name}


def _moved_at(folder: Path, began: float) -> float:
    return max([began, *(mark.stat().st_mtime for mark in folder.iterdir())])


def _of_run(run: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(RUN) == run:
                found.append(process)
        except (psutil.Error, OSError):  # it ended, or is another user's
            continue
    return found


def _end(run: str, names: dict[int, str]) -> None:
    """Stacks first: pytest's faulthandler prints them at SIGABRT, wherever a process hangs."""
    asked = []
    for pid in names:
        try:
            asked.append(psutil.Process(pid))
            asked[-1].send_signal(signal.SIGABRT)
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(asked, timeout=_LAST_WORDS_S)
    while left := _of_run(run):
        for process in left:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(left, timeout=5)


def watch(child: "subprocess.Popen[bytes]", folder: Path, *, limit: float, stall: float) -> str | None:
    """Until it ended: None; or why it was given up."""
    began, wall = time.monotonic(), folder.stat().st_mtime
    while child.poll() is None:
        if time.monotonic() - began > limit:
            return f"the tests took more than {limit:.0f} s"
        if _file_clock() - _moved_at(folder, wall) > stall:
            return f"no test began or ended for {stall:.0f} s"
        time.sleep(_LOOK_S)
    return None


def _file_clock() -> float:
    """The clock of the file system, which the marks go by."""
    with tempfile.NamedTemporaryFile() as probe:
        return Path(probe.name).stat().st_mtime


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bounded")
    parser.add_argument("--limit", type=float, required=True)
    parser.add_argument("--stall", type=float, required=True)
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    given = parser.parse_args(argv)
    arguments = given.arguments[1:] if given.arguments[:1] == ["--"] else given.arguments
    run = secrets.token_hex(8)
    with tempfile.TemporaryDirectory(prefix="stackly-running-") as folder:
        child = subprocess.Popen(
            [sys.executable, "-m", "pytest", "-p", "tests.running", *arguments],
            cwd=ROOT,
            env=os.environ | {FOLDER: folder, RUN: run},
        )
        try:
            why = watch(child, Path(folder), limit=given.limit, stall=given.stall)
            if why is None:
                return child.returncode
            names = running(Path(folder))
            _end(run, names)
        except KeyboardInterrupt:
            child.wait()
            return child.returncode
        said = "".join(f"\n  {name} (pid {pid})" for pid, name in sorted(names.items())) or " none"
        print(f"\nGiven up: {why}. Tests that ran:{said}", file=sys.stderr, flush=True)  # noqa: T201 - its purpose
    return TOO_LONG


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
