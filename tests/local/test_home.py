"""What is chosen once for a home, also when a later release needs more."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stackly.local import doctor, platform
from stackly.local.home import Home, configured, known
from stackly.settings import Settings


def test_a_home_of_an_earlier_release_keeps_its_choices_and_gets_what_is_new(tmp_path: Path) -> None:
    home = Home(tmp_path)
    made = configured(home)
    told = json.loads(home.config.read_text())
    del told["ports"]["gateway_health"], told["settings"]["gateway_health_address"]
    home.config.write_text(json.dumps(told))
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: configured(home), range(8)))
    assert all(one == found[0] for one in found)
    assert found[0] == known(home)
    assert {k: v for k, v in found[0].ports.items() if k != "gateway_health"} == told["ports"]
    assert found[0].secrets == made.secrets
    assert Settings.load(tmp_path).gateway_health_address == found[0].address("gateway_health")


def test_a_home_that_lacks_a_secret_alone_keeps_its_ports(tmp_path: Path) -> None:
    home = Home(tmp_path)
    made = configured(home)
    told = json.loads(home.config.read_text())
    del told["secrets"]["hub_person"]
    home.config.write_text(json.dumps(told))
    assert configured(home).ports == made.ports
    assert configured(home).secrets["hub_person"] != made.secrets["hub_person"]


def test_asking_makes_no_home(tmp_path: Path) -> None:
    assert known(Home(tmp_path / "none")) is None
    assert not (tmp_path / "none").exists()


def test_doctor_says_why_a_postgres_that_runs_was_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(tmp_path / "home")
    configured(home)
    monkeypatch.setattr(platform, "status", lambda _: {"components": [{"name": "postgres", "state": "running"}]})
    for finding in (doctor._waiting(home), doctor._troubles(home)):
        assert finding.detail == "not asked: Postgres is not reachable; it is retried."
