"""`down` leaves nothing running that it started, machines included, or says what goes on and how to end it."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from stackly import db, ids
from stackly.agents import service as agents
from stackly.errors import Faulty, Invalid
from stackly.local import bootstrap, machines, platform, processes
from stackly.local.home import Home, configured
from stackly.local.supervisor import state_file
from stackly.runs import steps
from stackly.settings import Settings
from tests.api.grpc.rows import make_world
from tests.conftest import Require
from tests.local.test_supervisor import _FAKE, FakeHome

RUN, TEST = "r1", "tpcb"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[FakeHome]:
    made = FakeHome(tmp_path / "one", "first")
    yield made
    platform.down(made.path)


def machine(home: Path, name: str, folder: str = "machines") -> Path:
    """As the agent leaves one: its files, an edge agent, and a child that left its session and its directory's top."""
    directory = home / "agent" / folder / f"{RUN}.{TEST}.{name}"
    (directory / "data").mkdir(parents=True)
    (directory / "machine.json").write_text(json.dumps({"agent_id": f"agent-{name}"}))
    (directory / "enrolment.json").write_text(json.dumps({"agent_id": f"agent-{name}", "token": "t"}))
    for where in (directory, directory / "data"):
        subprocess.Popen(["sleep", "600"], cwd=where, start_new_session=True, env={})
    return directory


def _alive(home: Path) -> int:
    return len(processes.below(home))


@pytest.mark.parametrize("wipe", [False, True])
def test_down_ends_the_machines_and_counts_them(home: FakeHome, wipe: bool) -> None:
    home.up()
    directories = [machine(home.path, "db"), machine(home.path, "load")]
    (home.path / "config.json").write_text("{}")
    seen: list[tuple[str, str, str | None]] = []
    stopped = platform.down(home.path, wipe=wipe, progress=lambda *told: seen.append(told))
    assert _alive(home.path) == 0
    assert not any(d.exists() for d in directories)
    assert stopped.machines == {"directory": 2, "machine": 2, "process": 4}
    assert seen[-1] == ("machines", "stopped", "2 directories, 2 machines, 4 processes"), "machines last"
    assert machines.ended_before(Home(home.path)) == (
        []
        if wipe
        else [
            {"agent": f"agent-{m}", "run": RUN, "test": TEST, "machine": m, "reason": machines.REASON}
            for m in ("db", "load")
        ]
    )


def test_down_keeps_them_when_asked_and_the_next_ends_them(home: FakeHome) -> None:
    home.up()
    machine(home.path, "db")
    stopped = platform.down(home.path, keep_machines=True)
    assert (stopped.kept, stopped.machines["machine"], _alive(home.path)) == (True, 1, 2)
    assert platform.down(home.path).machines["machine"] == 1
    assert _alive(home.path) == 0
    assert platform.down(home.path).machines == {}, "there is nothing more to end"


def test_down_ends_the_machines_of_a_supervisor_that_was_killed(home: FakeHome) -> None:
    home.up()
    machine(home.path, "db")
    os.kill(home.supervisor().pid, signal.SIGKILL)
    assert platform.down(home.path).machines == {"directory": 1, "machine": 1, "process": 2}
    assert _alive(home.path) == 0


def _commanded(home: FakeHome, call: str) -> "subprocess.Popen[str]":
    code = f"from pathlib import Path; from stackly.local import platform; platform.{call}"
    code = code.replace("HOME", f"Path({str(home.path)!r})")
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)


def test_two_downs_at_once_end_everything_and_fail_at_nothing(home: FakeHome) -> None:
    home.up()
    for n in range(5):
        machine(home.path, f"m{n}")
    both = [_commanded(home, "down(HOME)") for _ in range(2)]
    assert [(p.communicate(timeout=120)[1], p.returncode) for p in both] == [("", 0)] * 2
    assert _alive(home.path) == 0


def test_down_stops_what_an_up_has_just_begun_to_start(home: FakeHome) -> None:
    """The supervisor was started, and has written nothing yet."""
    marker = home.path / "started"
    slow = ["sh", "-c", 'echo > "$1"; sleep 3; shift; exec "$@"', "sh", str(marker), *_FAKE]
    up = _commanded(home, f"up(HOME, supervisor={slow!r}, timeout_s=60)")
    until = time.monotonic() + 60
    while not marker.exists():
        assert time.monotonic() < until
        time.sleep(0.01)
    platform.down(home.path)
    up.communicate(timeout=120)
    assert _alive(home.path) == 0


def test_a_wipe_leaves_another_program_that_was_there_alone(home: FakeHome) -> None:
    home.up()
    (home.path / "config.json").write_text("{}")
    foreign = subprocess.Popen(["sleep", "600"], cwd=home.path)
    try:
        platform.down(home.path, wipe=True)
        assert not home.path.exists()
        assert foreign.poll() is None
    finally:
        foreign.kill()
        foreign.wait()


def test_a_wipe_that_somebody_writes_against_says_so(home: FakeHome, monkeypatch: pytest.MonkeyPatch) -> None:
    home.up()
    (home.path / "config.json").write_text("{}")

    def refuses(path: Path) -> None:
        raise OSError(errno.ENOTEMPTY, "Directory not empty", str(path))

    monkeypatch.setattr(shutil, "rmtree", refuses)
    with pytest.raises(Faulty, match=r"not wholly deleted: Directory not empty.*stackly down --wipe"):
        platform.down(home.path, wipe=True)
    assert _alive(home.path) == 0


@pytest.mark.parametrize("torn", ["", '{"pid": 1', "\0" * 64])
def test_up_after_a_power_failure(home: FakeHome, torn: str) -> None:
    """All went at once, and the last file that was written is empty, half or zeros."""
    home.up()
    for who in processes.below(home.path):
        processes.signal_to(who, signal.SIGKILL)
    state_file(Home(home.path)).write_text(torn)
    home.up()
    assert home.status()["first"]["state"] == "running"
    assert len(home.running_in("first")) == 1


def test_keeping_what_is_forgotten_is_refused(home: FakeHome) -> None:
    with pytest.raises(Invalid, match="--keep-machines"):
        platform.down(home.path, wipe=True, keep_machines=True)


def test_what_cannot_be_ended_is_never_called_stopped(home: FakeHome, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(home.path, "db")
    monkeypatch.setattr(machines, "_PROGRAM", (sys.executable, "-c", "import sys; sys.exit('it broke')"))
    with pytest.raises(Faulty, match=r"may go on running: it broke.*stackly down"):
        platform.down(home.path)
    monkeypatch.undo()


@pytest.fixture
def docker_client(require: Require) -> Iterator[Any]:
    import docker  # late: only this test needs it
    import docker.errors

    try:
        client = docker.from_env()
        client.ping()
    except docker.errors.DockerException as e:
        require(None, f"no Docker daemon: {e}")
        raise
    yield client
    client.close()


@pytest.mark.real
def test_containers_and_networks_of_this_home_go_and_no_other(home: FakeHome, docker_client: Any) -> None:
    from agent.targets.pause import ensure_pause  # late: as above

    image = ensure_pause(docker_client)
    made = []
    for owner in (home.path / "agent", home.path / "another"):
        labels = {"stackly.home": str(owner), "stackly.run": RUN, "stackly.test": TEST}
        network = docker_client.networks.create(f"stackly-{ids.new_id()}", labels=labels)
        made.append((network, docker_client.containers.run(image, detach=True, labels=labels, network=network.name)))
    (home.path / "agent" / "docker-machines").mkdir(parents=True)
    try:
        stopped = platform.down(home.path)
        left = {c.id for c in docker_client.containers.list(all=True)} | {n.id for n in docker_client.networks.list()}
        assert [container.id in left for _, container in made] == [False, True]
        assert [network.id in left for network, _ in made] == [False, True]
        assert (stopped.machines["container"], stopped.machines["network"]) == (1, 1)
    finally:
        for network, container in made[1:]:
            container.remove(force=True)
            network.remove()


async def test_the_next_start_tells_the_platform_whose_machines_went(database: str, tmp_path: Path) -> None:
    engine = db.engine(database, size=2)
    transactions = db.transactions(engine)
    world = await make_world(transactions)
    async with transactions() as session:
        issued = await agents.issue_enrolment(session, world.account, run=world.run, test=world.test, machine="db")
        await steps.expect(session, world.key("measure 1"), issued.agent.id, {})
        await steps.begin(session, world.key("measure 1"), issued.agent.id, "life")
    place = Home(tmp_path / "home")
    place.make()
    settings = Settings.load(place.path) if configured(place) else None
    assert settings is not None
    gone = [
        {"agent": issued.agent.id, "run": world.run, "test": world.test, "machine": "db"},
        {"agent": "never-heard-of", "run": "r", "test": "t", "machine": "m"},
    ]
    machines.ended_file(place).write_text(json.dumps(gone))
    await bootstrap._tell_ended(place, settings.model_copy(update={"database_url": database}))
    async with transactions() as session:
        agent = (await session.execute(text("SELECT status, reason FROM agents WHERE role = 'edge'"))).one()
        step = (await session.execute(text("SELECT status FROM steps"))).scalar_one()
        rung = (await session.execute(text("SELECT key FROM outbox WHERE kind = 'test-ring'"))).scalars().all()
    await engine.dispose()
    assert tuple(agent) == ("gone", "stopped by stackly down")
    assert (step, list(rung)) == ("gone", [f"{world.run}/{world.test}"])
    assert not machines.ended_file(place).exists()
