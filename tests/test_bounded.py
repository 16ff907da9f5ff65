"""A test that nothing inside of pytest can end ends the run, by its name, with what it detached."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.bounded import RUN, TOO_LONG

ROOT = Path(__file__).parents[1]

# Its timeout is a signal that it ignores; a child left its session, as a platform's supervisor does.
_HANGS = """
import signal, subprocess, time

def test_it_passes():
    pass

def test_it_hangs():
    subprocess.Popen(["sleep", "600"], start_new_session=True)
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    while True:
        time.sleep(1)
"""


def _run(tmp_path: Path, text: str, *bounds: str, workers: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "test_one.py").write_text(text)
    command = [sys.executable, "-m", "tests.bounded", *bounds, "--", str(tmp_path / "test_one.py"), "-q", "-n", workers]
    command += ["--timeout", "1", "-p", "no:cacheprovider", "--rootdir", str(tmp_path)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def _left() -> set[str]:
    """Runs, other than the one that we are in, of which something lives."""
    found = set()
    for process in psutil.process_iter():
        try:
            found.add(process.environ().get(RUN, ""))
        except (psutil.Error, OSError):
            continue
    return found - {"", os.environ.get(RUN, "")}


def _hangs(tmp_path: Path, bound: str, workers: str) -> subprocess.CompletedProcess[str]:
    """Given up in its second test. A bound that ends it before, while pytest starts, was too short for this machine."""
    for seconds in (4, 8, 16, 32):
        bounds = {"--limit": "100", "--stall": "100", bound: str(seconds)}
        done = _run(tmp_path, _HANGS, *(word for pair in bounds.items() for word in pair), workers=workers)
        if "test_it_hangs" in done.stderr or done.returncode != TOO_LONG:
            break
    return done


@pytest.mark.parametrize(("workers", "bound"), [("0", "--limit"), ("2", "--stall")])
def test_a_test_that_hangs_is_named_and_ended_with_all_it_started(tmp_path: Path, workers: str, bound: str) -> None:
    before = _left()
    done = _hangs(tmp_path, bound, workers)
    assert done.returncode == TOO_LONG, done.stdout + done.stderr
    assert "test_one.py::test_it_hangs" in done.stderr.partition("Tests that ran:")[2]
    assert "test_it_passes" not in done.stderr.partition("Tests that ran:")[2]
    assert _left() <= before


def test_a_run_that_ends_says_what_pytest_says(tmp_path: Path) -> None:
    good = _run(tmp_path, "def test_a():\n    pass\n", "--limit", "60", "--stall", "60", workers="0")
    bad = _run(tmp_path, "def test_a():\n    assert 0\n", "--limit", "60", "--stall", "60", workers="0")
    assert (good.returncode, bad.returncode) == (0, 1)
