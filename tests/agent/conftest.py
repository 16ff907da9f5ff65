"""Fixtures of the agent's tests: a step context, secrets, a real server of each major."""

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agent.edge import EdgeSettings, EdgeWork
from stackly.engine.contracts.edge import DatabaseInput, Endpoint, WorkloadSpec
from tests.agent.edge_parts import (
    KEY,
    KeptContext,
    MakeContext,
    MakeInput,
    MakeWorkload,
    Recorder,
    Running,
    Secrets,
    free_port_now,
)


@pytest.fixture
def kept() -> KeptContext:
    return KeptContext()


@pytest.fixture
def new_context() -> MakeContext:
    return KeptContext


@pytest.fixture
def secrets_of_test() -> Secrets:
    return Secrets()


@pytest.fixture
def workload() -> MakeWorkload:
    def make(**changed: Any) -> WorkloadSpec:
        base: dict[str, Any] = {
            "driver": "pgbench",
            "driver_version": "",
            "name": "tpcb-like",
            "scale_factor": 1,
            "clients": 4,
        }
        return WorkloadSpec(**{**base, **changed})

    return make


@pytest.fixture
def database_input() -> MakeInput:
    def make(**changed: Any) -> DatabaseInput:
        base: dict[str, Any] = {
            "key": KEY,
            "engine": "postgres",
            "version": "16",
            "listen": "127.0.0.1",
            "port": free_port_now(),
            "admit": ["127.0.0.1"],
            "settings": {"shared_buffers": "32MB"},
        }
        return DatabaseInput(**{**base, **changed})

    return make


@pytest.fixture(scope="session", params=["16", "18"])
async def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """A real server of each major and the edge work around it."""
    home = tmp_path_factory.mktemp(f"machine{request.param}")
    work = EdgeWork(home / "m", Secrets(), "db", None, EdgeSettings(cache=home / "cache"))
    given = DatabaseInput(
        key=KEY,
        engine="postgres",
        version=request.param,
        listen="127.0.0.1",
        port=free_port_now(),
        admit=["127.0.0.1"],
        settings={"shared_buffers": "32MB", "work_mem": "5MB", "checkpoint_timeout": "10min", "fsync": "off"},
    )
    outcome = await work.start_database(given, KeptContext())
    yield Running(work, Endpoint("127.0.0.1", given.port, "bench"), given, outcome)
    await work.close()


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    home = tmp_path / "recorder"
    home.mkdir()
    return Recorder(home)


@pytest.fixture
def docker_needed() -> None:
    if shutil.which("docker") is None or not Path("/var/run/docker.sock").exists():
        if os.environ.get("STACKLY_REQUIRE_REAL") == "1":
            pytest.fail("no Docker daemon on this machine")
        pytest.skip("no Docker daemon on this machine")
