"""One supervisor a home: restart, adoption, kill -9, taken ports. Components are small real processes."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any
from unittest.mock import patch

import pytest

from stackly.cli.local import _status as shown_as
from stackly.errors import Invalid, Unavailable
from stackly.local import platform, processes
from stackly.local.__main__ import _status as answered
from stackly.local.home import Home, free_ports
from stackly.local.supervisor import read_state

_FAKE = [sys.executable, str(Path(__file__).parent / "fake_home.py")]
_LIMIT_S = 60.0


def _wait(what: Callable[[], Any], message: str) -> None:
    until = time.monotonic() + _LIMIT_S
    while not what():
        assert time.monotonic() < until, message
        time.sleep(0.02)


class FakeHome:
    def __init__(self, path: Path, *names: str) -> None:
        self.path = path
        path.mkdir()
        self.ports = dict(zip(names, free_ports(len(names)), strict=True))
        self.describe({name: {"port": port} for name, port in self.ports.items()})

    def describe(self, told: dict[str, Any]) -> None:
        (self.path / "fake.json").write_text(json.dumps(told))

    def up(self) -> platform.Started:
        return platform.up(self.path, timeout_s=_LIMIT_S, supervisor=_FAKE)

    def status(self) -> dict[str, dict[str, Any]]:
        return {c["name"]: c for c in platform.status(self.path)["components"]}

    def supervisor(self) -> processes.Alive:
        who, _ = read_state(Home(self.path))
        assert who
        return who

    def wait_for(self, name: str, **wanted: Any) -> dict[str, Any]:
        _wait(
            lambda: wanted.items() <= self.status()[name].items(),
            f"{name} never was {wanted}: {self.status()[name]}",
        )
        return self.status()[name]

    def running_in(self, name: str) -> list[processes.Alive]:
        return processes.below(Home(self.path).run(name))


@pytest.fixture
def home(tmp_path: Path) -> Iterator[FakeHome]:
    made = FakeHome(tmp_path / "one", "first", "second")
    yield made
    platform.down(made.path)


def test_up_starts_in_order_and_down_ends_everything(home: FakeHome) -> None:
    seen: list[tuple[str, str]] = []
    platform.up(home.path, lambda n, s, _: seen.append((n, s)), timeout_s=_LIMIT_S, supervisor=_FAKE)
    assert seen.index(("first", "running")) < seen.index(("second", "running"))
    assert {c["state"] for c in home.status().values()} == {"running"}
    assert [c["address"] for c in home.status().values()] == [f"127.0.0.1:{p}" for p in home.ports.values()]
    platform.down(home.path)
    assert {c["state"] for c in home.status().values()} == {"stopped"}
    assert {c["pid"] for c in home.status().values()} == {None}
    assert not processes.below(home.path)
    assert "asked to end" in list(platform.logs(home.path, "first"))


def test_a_second_up_adopts(home: FakeHome) -> None:
    assert not home.up().adopted
    before = (home.supervisor(), home.status())
    assert home.up().adopted
    assert (home.supervisor(), home.status()) == before


def test_two_ups_at_once_make_one_supervisor(home: FakeHome) -> None:
    code = "import sys; from pathlib import Path; from stackly.local import platform;"
    code += f"platform.up(Path({str(home.path)!r}), supervisor={_FAKE!r})"
    both = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    assert [p.wait(_LIMIT_S) for p in both] == [0, 0]
    assert [len(home.running_in(name)) for name in home.ports] == [1, 1]


def test_a_killed_component_comes_back_and_is_counted(home: FakeHome) -> None:
    home.up()
    killed = home.status()["first"]["pid"]
    os.kill(killed, signal.SIGKILL)
    again = home.wait_for("first", state="running", restarts=1)
    assert again["pid"] != killed
    assert "SIGKILL" in again["reason"]
    assert home.status()["second"]["restarts"] == 0


def test_what_a_component_left_in_its_directory_goes_before_it_starts_again(home: FakeHome) -> None:
    home.up()
    left = subprocess.Popen(["sleep", "600"], cwd=Home(home.path).run("first"), start_new_session=True)
    os.kill(home.status()["first"]["pid"], signal.SIGKILL)
    home.wait_for("first", state="running", restarts=1)
    assert left.wait(_LIMIT_S) == -signal.SIGKILL


def test_the_next_supervisor_adopts_what_a_killed_one_left(home: FakeHome) -> None:
    home.up()
    pids = {name: c["pid"] for name, c in home.status().items()}
    processes.signal_to(home.supervisor(), signal.SIGKILL)
    home.wait_for("first", state="running", reason="its supervisor is gone; run: stackly up")
    home.up()
    assert {name: c["pid"] for name, c in home.status().items()} == pids
    os.kill(pids["first"], signal.SIGKILL)  # an adopted process is watched as our own are
    home.wait_for("first", state="running", restarts=1)
    assert [len(home.running_in(name)) for name in home.ports] == [1, 1]


def test_a_process_of_another_command_is_replaced_not_adopted(home: FakeHome) -> None:
    home.up()
    before = home.status()["second"]["pid"]
    processes.signal_to(home.supervisor(), signal.SIGKILL)
    home.wait_for("first", state="running", reason="its supervisor is gone; run: stackly up")
    moved = free_ports(1)[0]
    home.describe({"first": {"port": home.ports["first"]}, "second": {"port": moved}})
    home.up()
    after = home.status()["second"]
    assert (after["pid"] != before, after["address"]) == (True, f"127.0.0.1:{moved}")
    assert len(home.running_in("second")) == 1


def test_without_its_supervisor_the_status_gives_no_link_but_one_sentence(tmp_path: Path) -> None:
    home = FakeHome(tmp_path / "two", "postgres", "api")
    try:
        home.up()
        assert platform.status(home.path)["trouble"] is None
        processes.signal_to(home.supervisor(), signal.SIGKILL)
        home.wait_for("api", state="running", reason="its supervisor is gone; run: stackly up")
        for name in ("api", "postgres"):
            _said_without_supervisor(home.path)
            os.kill(home.status()[name]["pid"], signal.SIGKILL)
        home.wait_for("postgres", pid=None)
        _said_without_supervisor(home.path)
    finally:
        platform.down(home.path)
    assert platform.status(home.path)["trouble"] is None, "stopped on purpose"


def _said_without_supervisor(home: Path) -> None:
    (home / "endpoints.json").write_text('{"ui_url": "http://127.0.0.1:1/login?key=old"}')
    with patch("stackly.local.platform.subprocess.run", return_value=CompletedProcess([], 0)) as made:
        said = answered(home, Namespace())
    assert (said["ui_url"], made.called) == (None, False)
    assert "supervisor is gone" in said["trouble"]
    shown = shown_as(said, {})
    assert "stackly up" in shown
    assert "login?key" not in shown


def test_down_after_a_killed_supervisor_leaves_nothing(home: FakeHome) -> None:
    home.up()
    processes.signal_to(home.supervisor(), signal.SIGKILL)
    platform.down(home.path)
    assert not processes.below(home.path)
    assert {c["state"] for c in home.status().values()} == {"stopped"}


def test_a_taken_port_is_a_clear_error_and_heals(home: FakeHome) -> None:
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", home.ports["second"]))
        squatter.listen()
        with pytest.raises(Unavailable, match=rf"second: Port {home.ports['second']} .* is taken .*pid {os.getpid()}"):
            home.up()
        assert home.status()["second"]["state"] == "failed"
        assert home.status()["first"]["state"] == "running"
    home.wait_for("second", state="running")


def test_a_missing_program_is_a_clear_error(home: FakeHome) -> None:
    home.describe({"first": {"port": home.ports["first"], "argv": ["/nowhere/at-all"]}})
    with pytest.raises(Unavailable, match="/nowhere/at-all cannot be started: No such file"):
        home.up()


def test_what_a_preparation_says_is_the_reason(home: FakeHome) -> None:
    told = {"first": {"port": home.ports["first"], "before": [["sh", "-c", "echo disk is full >&2; exit 3"]]}}
    home.describe(told)
    with pytest.raises(Unavailable, match="first: disk is full"):
        home.up()


def test_children_outlive_the_terminal(home: FakeHome) -> None:
    home.up()
    for who in (home.supervisor().pid, home.status()["first"]["pid"]):
        assert os.getsid(who) == who


def test_two_homes_side_by_side(home: FakeHome, tmp_path: Path) -> None:
    other = FakeHome(tmp_path / "two", "first", "second")
    try:
        home.up()
        other.up()
        before = home.status()
        platform.down(other.path, wipe=True)
        assert home.status() == before
        assert not other.path.exists()
    finally:
        platform.down(other.path)


def test_wipe_leaves_a_directory_that_is_no_home(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(Invalid, match="no home"):
        platform.down(tmp_path, wipe=True)
    assert (tmp_path / "thesis.tex").exists()


def test_following_a_log_ends_when_the_caller_does(home: FakeHome) -> None:
    home.up()
    followed = platform.logs(home.path, "first", follow=True)
    assert next(followed) == "serving"
    with pytest.raises(Invalid, match="third is no component"):
        platform.logs(home.path, "third")
