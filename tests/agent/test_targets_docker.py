"""With a real Docker daemon."""

import asyncio
import ipaddress
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent import workdir
from agent.site import SiteSettings, SiteWork
from agent.targets.docker import connect, gateway_of
from agent.targets.pause import archive, ensure_pause, program
from stackly import ids
from stackly.engine.contracts.site import (
    BootInput,
    InventoryInput,
    InventoryItem,
    MachineSpec,
    ProbeInput,
    ProbeOutcome,
    RemoveInput,
)
from stackly.errors import Faulty, StacklyError, Unavailable
from tests.agent.site_parts import FakeContext, key
from tests.conftest import Require

CIDR = "10.213.77.0/28"
MACHINES = [MachineSpec("db", "10.213.77.1", 1, 1, 1), MachineSpec("load", "10.213.77.2", 1, 1, 1)]
SOCKET = "/var/run/docker.sock"
WAIT = "import time; time.sleep(600)"


def test_the_pause_program_is_the_same_bytes_each_time_and_small() -> None:
    assert archive(program("x86_64")) == archive(program("x86_64"))
    assert len(program("aarch64")) < 200
    with pytest.raises(Unavailable, match="riscv64"):
        program("riscv64")


def test_the_gateway_is_an_address_no_machine_has() -> None:
    block = ipaddress.IPv4Network(CIDR)
    assert gateway_of(block, MACHINES) == "10.213.77.14"
    everything = [MachineSpec(f"m{n}", str(block[n]), 1, 1, 1) for n in range(1, 15)]
    assert gateway_of(block, everything[:-2]) == "10.213.77.14"
    with pytest.raises(Faulty, match="no address left"):
        gateway_of(block, everything)


@pytest.fixture
def client(require: Require) -> Iterator[Any]:
    try:
        found = connect(SOCKET)
    except Unavailable as error:
        require(None, str(error))
        raise
    yield found
    found.close()


@pytest.fixture
async def site(client: Any, tmp_path: Path) -> AsyncIterator[SiteWork]:
    made = SiteWork(tmp_path / "home", "agent-1", SiteSettings(edge_command=(sys.executable, "-c", WAIT)))
    yield made
    for item in await inventory(made):
        await remove(made, item.run, item.test)
    await workdir.end_occupants(tmp_path)


async def boot(site: SiteWork, context: FakeContext, machines: list[MachineSpec] = MACHINES) -> dict[str, str]:
    return (await site.boot(BootInput(context.key, "docker", CIDR, machines), context)).agents


async def remove(site: SiteWork, run: str, test: str = "tpcb") -> list[str]:
    given = RemoveInput(key("d1", ""), "docker", run, test)
    return (await site.remove(given, FakeContext(key()))).removed


async def inventory(site: SiteWork, run: str = "", test: str = "") -> list[InventoryItem]:
    return (await site.inventory(InventoryInput(key(), "docker", run, test), FakeContext(key()))).items


@pytest.fixture
def context() -> FakeContext:
    return FakeContext(key(ids.new_id()))


@pytest.mark.real
async def test_boot_makes_addresses_that_others_join_and_remove_takes_all_of_it(
    site: SiteWork, client: Any, context: FakeContext, tmp_path: Path
) -> None:
    run = context.key.run
    assert await boot(site, context) == {"db": "agent-db", "load": "agent-load"}
    kinds = sorted(i.kind for i in await inventory(site, run, "tpcb"))
    assert kinds == ["container", "container", "directory", "directory", "network", "process", "process"]

    entry = json.loads((tmp_path / "home" / "docker-machines" / f"{run}.tpcb.load" / "enrolment.json").read_bytes())
    command = ["nsenter", f"--net={entry['network_namespace']}", "ip", "-4", "-o", "addr", "show", "dev", "eth0"]
    seen = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True)
    assert "10.213.77.2/28" in seen.stdout
    joined = client.api.create_container(
        ensure_pause(client), host_config=client.api.create_host_config(network_mode=f"container:{entry['container']}")
    )["Id"]
    client.api.start(joined)

    inspected = json.dumps(client.api.inspect_container(entry["container"]))
    assert entry["token"] not in inspected
    assert entry["container"] in {i.id for i in await inventory(site)}
    assert joined in {i.id for i in await inventory(site)}

    removed = await remove(site, run)
    assert len(removed) == 6
    assert await inventory(site) == []
    assert client.containers.list(all=True, filters={"id": joined}) == []
    assert await remove(site, run) == []


@pytest.mark.real
@pytest.mark.parametrize("ends_at", ["2031-01-02T03:04:05.000000Z", ""])
async def test_all_that_a_machine_has_says_when_its_tests_budget_ends(
    site: SiteWork, client: Any, context: FakeContext, tmp_path: Path, ends_at: str
) -> None:
    await site.boot(BootInput(context.key, "docker", CIDR, MACHINES[:1], ends_at), context)
    ours = {"label": f"stackly.run={context.key.run}"}
    made = [c.labels for c in client.containers.list(all=True, filters=ours)]
    made += [n.attrs["Labels"] for n in client.networks.list(filters=ours)]
    wanted = {"stackly.expires": ends_at} if ends_at else {}
    assert [{k: v for k, v in each.items() if k == "stackly.expires"} for each in made] == [wanted] * 2
    file = tmp_path / "home" / "docker-machines" / f"{context.key.run}.tpcb.db" / "enrolment.json"
    assert json.loads(file.read_bytes()).get("ends_at") == (ends_at or None), "for the containers that its agent starts"


@pytest.mark.real
async def test_a_second_boot_keeps_containers_and_agents(site: SiteWork, client: Any, context: FakeContext) -> None:
    await boot(site, context)
    before = {i.id for i in await inventory(site)}
    await boot(site, context)
    assert {i.id for i in await inventory(site)} == before
    assert context.issued == ["db", "load"]


@pytest.mark.real
async def test_a_boot_that_fails_half_way_takes_back_what_it_made(site: SiteWork, context: FakeContext) -> None:
    wrong = [MACHINES[0], MachineSpec("load", "10.99.0.9", 1, 1, 1)]
    with pytest.raises(StacklyError, match="Docker refused"):
        await boot(site, context, wrong)
    assert await inventory(site) == []


@pytest.mark.real
async def test_a_block_that_a_network_has_is_taken(site: SiteWork, context: FakeContext) -> None:
    async def probe() -> ProbeOutcome:
        return await site.probe(ProbeInput(key(), "docker", CIDR), context)

    assert (await probe()).free
    await boot(site, context, MACHINES[:1])
    found = await probe()
    assert not found.free
    assert CIDR in found.reason


@pytest.mark.real
async def test_another_home_on_the_same_daemon_is_not_ours(
    site: SiteWork, context: FakeContext, tmp_path: Path
) -> None:
    await boot(site, context, MACHINES[:1])
    other = SiteWork(tmp_path / "other", "agent-2")
    assert await inventory(other) == []
    assert await remove(other, context.key.run) == []
    assert len(await inventory(site)) == 4
