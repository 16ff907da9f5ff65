"""engine rule 26, O6: nothing dies of a full disk, a read-only home or missing handles, and slow is not dead."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stackly.errors import Unavailable
from stackly.local import platform
from tests.conftest import Require
from tests.local.test_supervisor import _FAKE, FakeHome

_INSIDE = Path(__file__).parent / "small_disk.py"


def namespace_with_disk(at: Path, size: str, command: list[str]) -> list[str]:
    """A command line that runs `command` where `at` is a disk of that size, and nobody else sees it."""
    script = 'mount -t tmpfs -o "size=$2,mode=711" small "$1" && shift 2 && exec "$@"'
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", str(at), size, *command]


@pytest.fixture
def small_disk(tmp_path: Path, require: Require) -> Path:
    at = tmp_path / "home"
    at.mkdir()
    try:
        possible = subprocess.run(namespace_with_disk(at, "1m", ["true"]), capture_output=True, check=False)
        reason = possible.stderr.decode().strip()
    except OSError as e:
        possible, reason = None, str(e)
    require(possible and possible.returncode == 0, f"no mount namespace with a disk of its own: {reason}")
    return at


@pytest.mark.real
@pytest.mark.parametrize("lack", ["full", "read_only", "handles"])
def test_a_supervisor_lives_through_what_its_home_lacks(small_disk: Path, lack: str) -> None:
    command = namespace_with_disk(small_disk, "4m", [sys.executable, str(_INSIDE), str(small_disk), lack])
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


_SLOW = """
import socket, sys, time
for _ in range(25):
    time.sleep(0.1)
    {work}
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("127.0.0.1", int(sys.argv[1])))
server.listen()
time.sleep(3600)
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[FakeHome]:
    made = FakeHome(tmp_path / "one", "first")
    yield made
    platform.down(made.path)


def _start(home: FakeHome, work: str) -> None:
    port = home.ports["first"]
    argv = [sys.executable, "-S", "-u", "-c", _SLOW.format(work=work), str(port)]
    home.describe({"first": {"port": port, "argv": argv, "ready_s": 0.8}})


@pytest.mark.parametrize("work", ["print('replayed', flush=True)", "sum(range(400_000))"])
def test_a_slow_component_that_gets_on_is_not_killed(home: FakeHome, work: str) -> None:
    """It takes three times as long as one may take that does nothing."""
    _start(home, work)
    seen: list[str] = []
    platform.up(home.path, lambda _component, state, _reason: seen.append(state), supervisor=_FAKE)
    assert home.status()["first"]["restarts"] == 0
    assert not {"failed", "restarting"} & set(seen)


def test_one_that_does_nothing_is_replaced(home: FakeHome) -> None:
    """Negative control."""
    _start(home, "time.sleep(1)")
    with pytest.raises(Unavailable, match="did nothing"):
        home.up()
