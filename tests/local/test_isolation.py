"""Whether pushed code is kept apart stands in one plain line of `doctor`, `up` and `status`."""

import json
import os
import pwd
from pathlib import Path

import pytest

from agent.sandbox import isolation as found_by_agent
from stackly.cli.local import _status, _where
from stackly.errors import StacklyError, Unavailable
from stackly.local import doctor, isolation, platform, postgres, unprivileged
from stackly.local.home import Home
from tests.agent.sandboxes import open_directory

NONE = {"kind": "none", "reason": "bubblewrap is not installed", "note": "Pushed code is NOT isolated."}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def test_what_is_tried_is_what_an_agent_finds_and_nothing_stays(home: Home) -> None:
    tried = isolation.tried(home)
    with_agent = found_by_agent.find(home.path.parent / "other")
    assert (tried.kind, tried.note) == (with_agent.name, with_agent.sentence())
    assert not home.path.exists()
    assert [p.name for p in home.path.parent.iterdir() if p.name.startswith(".stackly-")] == []


def test_doctor_says_it_and_how_to_have_it(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "tried", lambda _: isolation.Isolation(**NONE))
    finding = doctor._isolation(home)
    assert (finding.ok, finding.optional, finding.detail) == (False, True, NONE["note"])
    assert "apt-get install bubblewrap" in finding.fix
    monkeypatch.setenv("STACKLY_ISOLATION", "required")
    assert not doctor._isolation(home).optional


@pytest.mark.parametrize("word", ["required", "requird"])
def test_up_refuses_before_anything_starts_and_names_the_command(
    home: Home, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    monkeypatch.setattr(isolation, "tried", lambda _: isolation.Isolation(**NONE))
    monkeypatch.setenv("STACKLY_ISOLATION", word)
    started = home.path.parent / "started"
    with pytest.raises(StacklyError, match="STACKLY_ISOLATION") as refused:
        platform.up(home.path, supervisor=("touch", str(started)), timeout_s=0.1)
    assert not started.exists()
    assert refused.value.detail.endswith("Run: apt-get install bubblewrap" if word == "required" else "`required`.")


def test_a_running_platform_that_has_none_is_not_taken_for_one_that_has(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sandbox that was installed meanwhile is found at the agent's next start only."""
    home.make()
    (home.path / "agent").mkdir()
    (home.path / "agent" / "isolation.json").write_text(json.dumps(NONE))
    monkeypatch.setattr(isolation, "tried", lambda _: isolation.Isolation("bubblewrap", "", "Kept apart."))
    monkeypatch.setenv("STACKLY_ISOLATION", "required")
    isolation.check(home, running=False)
    with pytest.raises(Unavailable, match="Run: stackly down &&"):
        isolation.check(home, running=True)


def test_status_and_up_say_what_the_agent_found(home: Home) -> None:
    home.make()
    assert platform.status(home.path)["isolation"] is None
    (home.path / "agent").mkdir()
    (home.path / "agent" / "isolation.json").write_text(json.dumps(NONE))
    told = platform.status(home.path)
    assert told["isolation"] == NONE
    assert NONE["note"] in _status(told, {})
    assert NONE["note"] in _where({"endpoints": {}, "adopted": False, "isolation": told["isolation"]})


def test_a_note_that_is_damaged_is_none(home: Home) -> None:
    home.make()
    (home.path / "agent").mkdir()
    (home.path / "agent" / "isolation.json").write_text("{")
    assert platform.status(home.path)["isolation"] is None


@pytest.mark.parametrize("owner", ["root", "nobody"])
def test_the_platforms_postgres_is_a_user_of_its_own(owner: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root gives users of its own")
    with open_directory() as home:
        cluster = postgres.Cluster(home / "pg", 1, "secret")
        cluster.data.mkdir(parents=True)
        (cluster.data / "stackly.ready").touch()
        unprivileged.give(cluster.directory, pwd.getpwnam(owner).pw_uid)
        postgres.prepare(cluster)
        uids = {p.stat().st_uid for p in (cluster.directory, cluster.data, cluster.data / "stackly.ready")}
        assert len(uids) == 1
        assert not uids & {0, 65534}
        postgres.prepare(cluster)
        assert {cluster.data.stat().st_uid} == uids, "the next start keeps it"
