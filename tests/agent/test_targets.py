import sys
from pathlib import Path

import pytest

import agent.targets
from agent.site import SiteSettings, SiteWork
from agent.targets.docker import connect
from agent.targets.registry import Targets
from agent.targets.target import TargetSite
from stackly.engine.contracts.site import BootInput, InventoryInput, ProbeInput, RemoveInput
from stackly.errors import Invalid, Unavailable
from tests.agent.site_parts import MACHINES, FakeContext, key

FOURTH = """
from agent.targets.target import Target
from stackly.engine.contracts.site import InventoryItem, ProbeOutcome

class Fourth(Target):
    name = "fourth"
    makes_machines = True
    async def probe(self, cidr): return ProbeOutcome(True, "")
    async def boot(self, given, context): return {m.name: "a" for m in given.machines}
    async def remove(self, run, test): return [run]
    async def inventory(self, run, test): return [InventoryItem("ship", "1", "r", "t")]

def create(site): return Fourth()
"""


async def test_a_fourth_target_is_one_file_in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fourth.py").write_text(FOURTH)
    monkeypatch.setattr(agent.targets, "__path__", [*agent.targets.__path__, str(tmp_path)])
    monkeypatch.delitem(sys.modules, "agent.targets.fourth", raising=False)
    site = SiteWork(tmp_path / "home", "a")
    context = FakeContext(key())
    booted = await site.boot(BootInput(key(), "fourth", "10.0.0.0/28", MACHINES), context)
    assert booted.agents == {"db": "a", "load": "a"}
    assert (await site.remove(RemoveInput(key(), "fourth", "r", "t"), context)).removed == ["r"]
    (item,) = (await site.inventory(InventoryInput(key(), "fourth"), context)).items
    assert item.kind == "ship"


def test_the_targets_are_those_of_the_folder_and_an_unknown_one_is_named() -> None:
    targets = Targets(TargetSite(Path("/nowhere"), "a"))
    assert targets.names == ["docker", "local", "module"]
    assert [targets.get(n).makes_machines for n in targets.names] == [True, True, False]
    with pytest.raises(Invalid, match="docker, local, module"):
        targets.get("moon")


async def test_a_module_target_boots_and_removes_nothing_and_says_so(tmp_path: Path) -> None:
    site, context = SiteWork(tmp_path, "a"), FakeContext(key())
    assert (await site.boot(BootInput(key(), "module", "10.0.0.0/28", MACHINES), context)).agents == {}
    assert "Nothing to boot" in context.text
    assert (await site.remove(RemoveInput(key(), "module", "r", "t"), context)).removed == []
    assert "nothing was there" in context.text
    assert (await site.inventory(InventoryInput(key(), "module"), context)).items == []


async def test_without_docker_the_message_names_the_doctor(tmp_path: Path) -> None:
    site = SiteWork(tmp_path, "a", SiteSettings(docker_socket=str(tmp_path / "absent.sock")))
    with pytest.raises(Unavailable, match="stackly doctor"):
        await site.probe(ProbeInput(key(), "docker", "10.0.0.0/28"), FakeContext(key()))


def test_without_dockers_client_the_target_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "docker", None)
    with pytest.raises(Unavailable, match=r"pip install 'stackly\[agent\]'"):
        connect("/run/nobody.sock")
