"""`up` on a home that runs other code: no old process goes on unseen, and what is not ours is left in peace."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stackly.local import components, machines, platform, processes, release
from stackly.local.component import State, Status
from stackly.local.home import Home, configured
from stackly.local.replacing import outdated
from tests.local.test_down import machine
from tests.local.test_supervisor import FakeHome


@pytest.fixture
def home(tmp_path: Path) -> Iterator[FakeHome]:
    made = FakeHome(tmp_path / "one", "database", "ours")
    made.describe(_of(made, "the code before"))
    yield made
    platform.down(made.path)


def _of(home: FakeHome, code: str) -> dict[str, dict[str, object]]:
    return {"database": {"port": home.ports["database"]}, "ours": {"port": home.ports["ours"], "code": code}}


@pytest.fixture
def other_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one who asks has other code than the supervisor that runs."""
    monkeypatch.setattr(release, "fingerprint", lambda: "another")


def _pids(home: FakeHome) -> dict[str, int]:
    return {name: told["pid"] for name, told in home.status().items()}


def test_up_after_an_upgrade_starts_what_is_ours_anew_politely(home: FakeHome, request: pytest.FixtureRequest) -> None:
    assert not home.up().replaced
    before, keeps = _pids(home), home.supervisor()
    request.getfixturevalue("other_code")
    home.describe(_of(home, "the code now"))
    started = home.up()
    assert (started.adopted, started.replaced) == (False, True)
    assert home.supervisor() != keeps
    after = _pids(home)
    assert after["database"] == before["database"], "a program of others runs no code of ours"
    assert after["ours"] != before["ours"]
    assert list(platform.logs(home.path, "ours")) == ["serving", "asked to end", "serving"]
    assert {told["restarts"] for told in home.status().values()} == {0}
    assert [len(home.running_in(name)) for name in home.ports] == [1, 1]


@pytest.mark.usefixtures("other_code")
def test_status_says_that_other_code_runs_and_what_to_do(home: FakeHome) -> None:
    home.up()
    assert "stackly up" in platform.status(home.path)["trouble"]


def test_the_supervisor_of_a_release_that_named_no_code_is_replaced(home: FakeHome) -> None:
    home.up()
    state = Home(home.path).supervisor / "status.json"
    told = json.loads(state.read_text())
    del told["release"]
    state.write_text(json.dumps(told))
    assert home.up().replaced


@pytest.mark.parametrize("changed", [False, True])
def test_machines_of_agents_with_other_code_are_ended_and_remembered_with_that_reason(
    home: FakeHome, changed: bool
) -> None:
    home.up()
    made = machine(home.path, "db")
    state = Home(home.path).supervisor / "status.json"
    told = json.loads(state.read_text())
    state.write_text(json.dumps(told | {"release": "another"} | ({"agents": "another"} if changed else {})))
    home.describe(_of(home, "the code now"))
    assert home.up().replaced
    assert made.exists() == (not changed)
    assert [one["reason"] for one in machines.ended_before(Home(home.path))] == [machines.REPLACED] * changed


def test_a_component_that_this_release_has_not_is_ended(home: FakeHome) -> None:
    home.up()
    gone = home.status()["ours"]["pid"]
    processes.signal_to(home.supervisor(), signal.SIGKILL)
    home.wait_for("ours", state="running", reason="its supervisor is gone; run: stackly up")
    home.describe({"database": {"port": home.ports["database"]}})
    home.up()
    assert processes.identify(gone) is None


def test_who_decides_ends_before_the_agent_and_all_before_anything_starts(tmp_path: Path) -> None:
    """So what an agent stores as it is stopped is judged by the new release."""
    place = Home(tmp_path / "home")
    place.make()
    given = components.of(place, configured(place))
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as child:
        who = processes.identify(child.pid)
        known = {c.name: Status(c.name, c.address, State.RUNNING, who, c.digest) for c in given}
        assert outdated(given, known) == [], "of the same code"
        for c in given:
            if c.code:
                known[c.name].digest = "of other code"
        found = [one.name for one in outdated(given, known)]
        child.kill()
    assert found == ["control", "dispatcher", "agent", "gateway", "api", "hub"]
