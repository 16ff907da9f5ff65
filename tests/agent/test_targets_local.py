import asyncio
import hashlib
import ipaddress
import json
import os
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent import workdir
from agent.site import SiteSettings, SiteWork
from agent.targets.local import listening
from stackly.engine.contracts.site import (
    AGENT_ENDED,
    BootInput,
    InventoryInput,
    InventoryItem,
    MachineSpec,
    ProbeInput,
    ProbeOutcome,
    RemoveInput,
)
from stackly.errors import Faulty, Invalid
from tests.agent.site_parts import MACHINES, FakeContext, key

# An edge agent with a child that left its session and blanked its environment, and a grandchild in a sub-directory.
EDGE = """
import os, subprocess, sys, time
os.makedirs("data", exist_ok=True)
subprocess.Popen(["sleep", "600"], start_new_session=True, env={}, cwd="data")
subprocess.Popen(["sh", "-c", "sleep 600 & exec sleep 601"], start_new_session=True)
print("token" in open(sys.argv[2]).read(), sys.argv[1:], flush=True)
time.sleep(600)
"""
PROCESSES = 4
CIDR = "127.64.0.0/28"


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[SiteWork]:
    edge = SiteSettings(edge_command=(sys.executable, "-c", EDGE))
    yield SiteWork(tmp_path / "home", "agent-1", edge)
    await workdir.end_occupants(tmp_path)


async def boot(site: SiteWork, context: FakeContext, machines: list[MachineSpec] = MACHINES) -> dict[str, str]:
    return (await site.boot(BootInput(context.key, "local", CIDR, machines), context)).agents


async def remove(site: SiteWork, run: str = "r1", test: str = "tpcb") -> list[str]:
    given = RemoveInput(key("d1", ""), "local", run, test)
    return (await site.remove(given, FakeContext(key()))).removed


async def inventory(site: SiteWork, run: str = "", test: str = "") -> list[InventoryItem]:
    return (await site.inventory(InventoryInput(key(), "local", run, test), FakeContext(key()))).items


async def grown(directory: Path, count: int = PROCESSES) -> None:
    while len(workdir.occupants(directory)) < count:  # noqa: ASYNC110 - other processes start
        await asyncio.sleep(0.02)


async def test_boot_starts_an_agent_per_machine_with_its_enrolment_in_a_private_file(
    site: SiteWork, tmp_path: Path
) -> None:
    context = FakeContext(key())
    assert await boot(site, context) == {"db": "agent-db", "load": "agent-load"}
    directory = tmp_path / "home" / "machines" / "r1.tpcb.db"
    entry = json.loads((directory / "enrolment.json").read_bytes())
    assert set(entry) == {
        *("token", "enrol_address", "ca_pem", "agent_id"),
        *("home", "run", "test", "machine", "internal_ip", "users"),
    }
    assert (entry["run"], entry["test"], entry["machine"]) == ("r1", "tpcb", "db")
    assert entry["internal_ip"] == "127.64.0.2"
    assert (directory / "enrolment.json").stat().st_mode & 0o777 == 0o600
    assert (directory / "agent.log").stat().st_mode & 0o777 == 0o600
    await grown(directory)
    for pid in workdir.occupants(directory):
        assert entry["token"] not in " ".join(workdir.arguments(pid))
        assert os.getsid(pid) != os.getsid(0)
    assert entry["token"] not in (directory / "machine.json").read_text()
    assert "True ['--enrolment'" in (directory / "agent.log").read_text()


async def test_a_second_boot_keeps_what_runs_and_issues_no_token(site: SiteWork, tmp_path: Path) -> None:
    context = FakeContext(key())
    await boot(site, context)
    machines = tmp_path / "home" / "machines"
    await grown(machines, 2 * PROCESSES)
    before = sorted(workdir.occupants(machines))
    assert await boot(site, context) == {"db": "agent-db", "load": "agent-load"}
    assert sorted(workdir.occupants(machines)) == before
    assert context.issued == ["db", "load"]


async def test_a_machine_whose_agent_died_is_booted_anew_from_nothing(site: SiteWork, tmp_path: Path) -> None:
    context = FakeContext(key())
    await boot(site, context, MACHINES[:1])
    directory = tmp_path / "home" / "machines" / "r1.tpcb.db"
    await grown(directory)
    old = set(workdir.occupants(directory))
    edge = next(p for p in old if "--enrolment" in workdir.arguments(p))
    os.kill(edge, signal.SIGKILL)
    while edge in workdir.occupants(directory):  # noqa: ASYNC110 - another process ends
        await asyncio.sleep(0.01)
    await boot(site, context, MACHINES[:1])
    assert context.issued == ["db", "db"]
    assert not old & set(workdir.occupants(directory))


async def test_remove_leaves_neither_process_nor_directory_of_this_test_and_touches_no_other(
    site: SiteWork, tmp_path: Path
) -> None:
    await boot(site, FakeContext(key()))
    await boot(site, FakeContext(key(test="tpcb.1")), MACHINES[:1])
    machines = tmp_path / "home" / "machines"
    await grown(machines, 3 * PROCESSES)
    assert await remove(site) == ["r1.tpcb.db", "r1.tpcb.load"]
    assert await inventory(site, "r1", "tpcb") == []
    assert len(workdir.occupants(machines)) == PROCESSES
    assert [p.name for p in machines.iterdir()] == ["r1.tpcb.1.db"]
    assert await remove(site) == []


async def test_remove_finds_processes_whose_directory_somebody_deleted(site: SiteWork, tmp_path: Path) -> None:
    await boot(site, FakeContext(key()), MACHINES[:1])
    directory = tmp_path / "home" / "machines" / "r1.tpcb.db"
    await grown(directory)
    shutil.rmtree(directory)
    assert {i.kind for i in await inventory(site)} == {"process"}
    assert await remove(site) == ["r1.tpcb.db"]
    assert await inventory(site) == []


async def test_the_inventory_names_owner_processes_and_directories(site: SiteWork, tmp_path: Path) -> None:
    await boot(site, FakeContext(key()))
    await grown(tmp_path / "home" / "machines", 2 * PROCESSES)
    items = await inventory(site)
    assert {(i.run, i.test) for i in items} == {("r1", "tpcb")}
    kinds = [i.kind for i in items]
    assert (kinds.count("directory"), kinds.count("process")) == (2, 2 * PROCESSES)
    assert await inventory(site, "other", "tpcb") == []
    (tmp_path / "home" / "machines" / "not ours").mkdir()
    assert len(await inventory(site)) == len(items)


async def test_an_agent_that_ends_at_once_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    site = SiteWork(tmp_path, "a", SiteSettings(edge_command=("sh", "-c", "echo no such file >&2; exit 7")))
    with pytest.raises(Faulty, match=r"exit 7\): no such file"):
        await boot(site, FakeContext(key()))


async def test_a_reap_at_start_ends_machines_of_no_current_owner(site: SiteWork) -> None:
    await boot(site, FakeContext(key()), MACHINES[:1])
    await boot(site, FakeContext(key("r2")), MACHINES[:1])
    assert await site.reap({("r2", "tpcb")}) == ["r1.tpcb.db"]
    assert {i.run for i in await inventory(site)} == {"r2"}


async def test_an_address_outside_the_block_is_refused(site: SiteWork) -> None:
    with pytest.raises(Invalid, match="outside"):
        await boot(site, FakeContext(key()), [MachineSpec("db", "127.64.0.200", 1, 1, 1)])


async def test_a_block_is_taken_while_somebody_listens_in_it(site: SiteWork) -> None:
    async def probe(cidr: str) -> ProbeOutcome:
        return await site.probe(ProbeInput(key(), "local", cidr), FakeContext(key()))

    block = ipaddress.ip_network("127.99.7.16/28")
    with socket.create_server((str(block[5]), 0)) as server:
        found = await probe(str(block))
        assert not found.free
        assert f"{block[5]}:{server.getsockname()[1]}" in found.reason
        assert (await probe("127.99.7.32/28")).free
    assert (await probe(str(block))).free
    with pytest.raises(Invalid, match=r"127\.64\.0\.0/10"):
        await probe("127.0.0.0/28")


def test_listeners_are_read_from_both_tables() -> None:
    lines = [
        "   0: 0100007F:1F90 00000000:0000 0A 0",
        "   1: 0200407F:1538 00000000:0000 0A 0",
        "   2: 0300407F:1538 0100007F:9999 01 0",
        "   3: 0000000000000000FFFF00000400407F:1538 00000000000000000000000000000000:0000 0A 0",
        "   4: 00000000000000000000000000000000:1538 00000000000000000000000000000000:0000 0A 0",
        "torn",
    ]
    assert [(str(a), p) for a, p in listening(lines)] == [
        ("127.0.0.1", 8080),
        ("127.64.0.2", 5432),
        ("127.64.0.4", 5432),
    ]


async def _killed(directory: Path) -> None:
    edge = next(p for p in workdir.occupants(directory) if "--enrolment" in workdir.arguments(p))
    os.kill(edge, signal.SIGKILL)
    while edge in workdir.occupants(directory):  # noqa: ASYNC110 - another process ends
        await asyncio.sleep(0.01)


async def test_a_look_around_names_agents_that_ended_and_no_other(site: SiteWork, tmp_path: Path) -> None:
    await boot(site, FakeContext(key()))
    directory = tmp_path / "home" / "machines" / "r1.tpcb.db"
    await grown(directory)
    await _killed(directory)
    seen = (await site.look_around(["local"]))["local"]
    (ended,) = [i for i in seen if i["kind"] == AGENT_ENDED]
    token = json.loads((directory / "enrolment.json").read_bytes())["token"]
    assert ended["id"] == f"agent-db/{hashlib.sha256(token.encode()).hexdigest()}"
    assert (ended["run"], ended["test"], ended["detail"]) == ("r1", "tpcb", "db:")
    assert token not in json.dumps(seen)


async def test_an_agent_that_could_not_start_has_its_reason_told(site: SiteWork, tmp_path: Path) -> None:
    await boot(site, FakeContext(key()), MACHINES[:1])
    directory = tmp_path / "home" / "machines" / "r1.tpcb.db"
    await grown(directory)
    with (directory / "agent.log").open("a") as log_file:
        log_file.write(json.dumps({"event": "agent.cannot_start", "reason": "its token is used up"}) + "\n")
    await _killed(directory)
    (ended,) = [i for i in (await site.look_around(["local"]))["local"] if i["kind"] == AGENT_ENDED]
    assert ended["detail"] == "db: its token is used up"


async def test_a_machine_that_is_being_booted_has_not_ended(site: SiteWork, tmp_path: Path) -> None:
    """Its enrolment is written before its agent is started."""
    directory = workdir.private(tmp_path / "home" / "machines" / "r1.tpcb.db", 0o711)
    (directory / "enrolment.json").write_text('{"agent_id": "a", "token": "t"}')
    assert [i for i in (await site.look_around(["local"]))["local"] if i["kind"] == AGENT_ENDED] == []
