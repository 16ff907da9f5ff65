"""Postgres as a container in a machine's network, from an image made of this machine's binaries."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.edge import EdgeSettings, EdgeWork
from agent.postgres import image
from agent.postgres.binaries import of_major
from agent.postgres.container import docker_client
from stackly.engine.contracts.edge import Endpoint, MeasureInput, PrepareInput, WarmupInput
from tests.agent.edge_parts import KEY, MakeContext, MakeInput, MakeWorkload, Secrets

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("docker_needed")]


@pytest.fixture
def machine() -> Iterator[Any]:
    """A container that only holds a network, as target docker makes them."""
    client = docker_client()
    name = image.ensure(client, of_major("16"))
    made = client.containers.run(name, ["psql", "--version"], detach=True, entrypoint=[], labels={"stackly.test": "1"})
    made.remove(force=True)
    holder = client.containers.run(
        name,
        ["/bin/sh", "-c", "while read -r line; do :; done"],
        detach=True,
        stdin_open=True,
        labels={"stackly.test": "1"},
    )
    holder.reload()
    yield holder
    holder.remove(force=True)


def test_the_image_is_built_once_for_equal_content() -> None:
    client = docker_client()
    assert image.ensure(client, of_major("16")) == image.ensure(client, of_major("16"))


async def test_a_container_serves_and_is_measured_and_shows_no_secret(
    tmp_path: Path,
    machine: Any,
    secrets_of_test: Secrets,
    new_context: MakeContext,
    database_input: MakeInput,
    workload: MakeWorkload,
) -> None:
    networks = machine.attrs["NetworkSettings"]["Networks"]
    address = next(iter(networks.values()))["IPAddress"]
    settings = EdgeSettings(cache=tmp_path, labels={"stackly.test": "1"})
    work = EdgeWork(tmp_path / "m", secrets_of_test, "db", machine.id, settings)
    given = database_input(listen=address, admit=[address])
    try:
        outcome = await work.start_database(given, new_context())
        assert outcome.server_version.startswith("16.")
        assert outcome.settings == {"shared_buffers": "32MB"}
        container = docker_client().containers.get(f"stackly-{machine.id[:12]}-postgres")
        shown = str(container.attrs)
        assert secrets_of_test.superuser_password not in shown
        assert secrets_of_test.user_password not in shown
        assert container.labels["stackly.test"] == "1"
        spec, end = workload(clients=2), Endpoint(address, given.port, "bench")
        await work.prepare(PrepareInput(KEY, spec, end), new_context())
        await work.warmup(WarmupInput(KEY, spec, end, 0, 1), new_context())
        measured = await work.measure(MeasureInput(KEY, spec, end, 2, 1), new_context())
        assert measured.valid, measured.reason
    finally:
        await work.close()
    left = await asyncio.to_thread(docker_client().containers.list, all=True, filters={"label": "stackly.test=1"})
    assert [c.id for c in left if c.id != machine.id] == []
