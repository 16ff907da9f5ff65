"""Postgres, Temporal and S3 as a home runs them, and what bootstrap makes of them."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest
from sqlalchemy import text
from temporalio.client import Client

from stackly import db
from stackly.events import troubles_store
from stackly.local import bootstrap, doctor, platform, processes
from stackly.local.components import NAMES
from stackly.local.home import Home, configured
from stackly.settings import Settings
from stackly.storage import Store

_SERVICES = [sys.executable, str(Path(__file__).parent / "real_parts.py")]

_DOORS = {"postgres", "temporal", "s3", "s3_filer", "s3_master", "s3_volume"}

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    made = Home(tmp_path_factory.mktemp("services") / "home")
    platform.up(made.path, supervisor=_SERVICES)
    yield made
    platform.down(made.path, wipe=True)
    assert not made.path.exists()


def _bootstrap(home: Home, what: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stackly.local.bootstrap", what],
        env=os.environ | {"STACKLY_HOME": str(home.path)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def settings(home: Home) -> Settings:
    done = _bootstrap(home, "platform")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    return Settings.load(home.path)


def _pid(home: Home, name: str) -> int:
    (pid,) = (c["pid"] for c in platform.status(home.path)["components"] if c["name"] == name)
    assert isinstance(pid, int)
    return pid


def _wait(what: Callable[[], object]) -> None:
    until = time.monotonic() + 90
    while not what():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_every_door_is_on_loopback_and_one_of_the_homes_ports(home: Home) -> None:
    services = [who.pid for who in processes.below(home.path)]
    doors = [
        c.laddr
        for pid in services
        for c in psutil.Process(pid).net_connections("tcp")
        if c.status == psutil.CONN_LISTEN
    ]
    assert {d[0] for d in doors} == {"127.0.0.1"}
    assert {d[1] for d in doors} >= {port for name, port in configured(home).ports.items() if name in _DOORS}


def test_postgres_is_never_root(home: Home) -> None:
    status = Path(f"/proc/{_pid(home, 'postgres')}/status").read_text()
    capabilities = next(line for line in status.splitlines() if line.startswith("CapEff"))
    uids = psutil.Process(_pid(home, "postgres")).uids()
    in_namespace = Path(f"/proc/{_pid(home, 'postgres')}/ns/user").readlink() != Path("/proc/self/ns/user").readlink()
    assert int(capabilities.split()[1], 16) == 0
    assert uids.effective != 0 or in_namespace


async def test_postgres_asks_for_the_password(home: Home, settings: Settings) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(settings.database_url.replace(configured(home).secrets["postgres"], "wrong"))


async def test_temporal_answers(settings: Settings) -> None:
    client = await Client.connect(settings.temporal_address)
    assert await client.service_client.check_health()
    await asyncio.sleep(0.3)  # the client's threads outlive it a moment


async def test_objects_are_kept_and_conditions_honoured(settings: Settings) -> None:
    s3 = settings.s3
    store = Store(s3.endpoint, s3.bucket, s3.access_key, s3.secret_key.get_secret_value(), region=s3.region)
    await store.probe()
    await store.put("a/b", b"text", "text/plain")
    assert await store.get("a/b") == b"text"


async def test_local_admin_has_a_token_and_a_second_bootstrap_keeps_it(home: Home, settings: Settings) -> None:
    token = home.token.read_text()
    assert _bootstrap(home, "platform").returncode == 0
    assert home.token.read_text() == token
    engine = db.engine(settings.database_url)
    async with db.transactions(engine)() as session:
        rows = (await session.execute(text("SELECT login, roles, groups FROM identities"))).all()
    await engine.dispose()
    assert [tuple(r) for r in rows] == [("local-admin", ["viewer", "operator", "approver", "admin"], ["*"])]


def test_endpoints_have_exactly_their_fields_and_no_password(home: Home, settings: Settings) -> None:
    told = json.loads(home.endpoints.read_text())
    fields = {"api_url", "ui_url", "hub_url", "temporal_address", "gateway_address", "database_url"}
    assert set(told) == fields
    assert configured(home).secrets["postgres"] not in home.endpoints.read_text()
    assert _bootstrap(home, "link").returncode == 0
    assert json.loads(home.endpoints.read_text())["ui_url"] != told["ui_url"]


def test_everything_secret_is_private(home: Home, settings: Settings) -> None:
    for file in (home.config, home.endpoints, home.token, home.supervisor / "s3.json"):
        assert file.stat().st_mode & 0o777 == 0o600
    secrets = configured(home).secrets.values()
    for who in processes.below(home.path):
        shown = " ".join(psutil.Process(who.pid).cmdline())
        assert not [s for s in secrets if s in shown]
    for log in home.logs.iterdir():
        assert not [s for s in secrets if s in log.read_text(errors="replace")]


def test_a_killed_postgres_comes_back_with_its_data_and_alone(home: Home, settings: Settings) -> None:
    killed = _pid(home, "postgres")
    os.kill(killed, signal.SIGKILL)
    _wait(lambda: _restarted(home, "postgres") == 1)
    servers = [w for w in processes.below(home.run("postgres")) if psutil.Process(w.pid).ppid() not in _pids(home)]
    assert len(servers) == 1
    assert _bootstrap(home, "platform").returncode == 0


def _pids(home: Home) -> set[int]:
    return {who.pid for who in processes.below(home.run("postgres"))}


def _restarted(home: Home, name: str) -> int:
    (one,) = (c for c in platform.status(home.path)["components"] if c["name"] == name)
    return int(one["restarts"]) if one["state"] == "running" else -1


async def test_objects_survive_a_restart(home: Home, settings: Settings) -> None:
    platform.down(home.path)
    assert not processes.below(home.path)
    platform.up(home.path, supervisor=_SERVICES)
    s3 = settings.s3
    store = Store(s3.endpoint, s3.bucket, s3.access_key, s3.secret_key.get_secret_value(), region=s3.region)
    assert await store.get("a/b") == b"text"


async def test_doctor_tells_what_failed_and_waits(home: Home, settings: Settings) -> None:
    engine = db.engine(settings.database_url, size=1)
    async with db.transactions(engine)() as session:
        await session.execute(
            text(
                "INSERT INTO outbox (kind, key, attempts, reason, available_at)"
                " VALUES ('repo-sync', 'r1', 7, 'it has its reason', clock_timestamp() + interval '1 hour')"
            )
        )
        await troubles_store.note(session, "loop tick", "an-account", "it failed as nobody foresaw")
    await engine.dispose()
    found = {f.name: f for f in await asyncio.to_thread(doctor.doctor, home.path)}
    assert not found["doorbells"].ok
    assert "repo-sync r1: it has its reason" in found["doorbells"].detail
    assert not found["background"].ok
    assert "it failed as nobody foresaw" in found["background"].detail


def test_status_names_the_components_before_anything_runs(tmp_path: Path) -> None:
    names = [c["name"] for c in platform.status(tmp_path)["components"]]
    fixed = ["postgres", "temporal", "s3", "hub", "api", "gateway", "dispatcher", "control", "agent"]
    assert list(NAMES) == names == fixed


def test_temporary_postgres_works_below_a_private_directory(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o700)
    home = Home(tmp_path / "closed" / "home")
    home.make()
    bootstrap.make_postgres(home, configured(home))
    assert (home.run("postgres") / "data" / "PG_VERSION").exists()
