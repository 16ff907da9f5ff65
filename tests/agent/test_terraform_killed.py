"""The agent is killed in the middle of an apply: nothing is created twice, nothing is lost.

STACKLY_KILLS=30 repeats it thirty times.
"""

import asyncio
import json
import os
import random
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import workdir
from agent.site import SiteSettings, SiteWork
from tests.agent.site_parts import FakeContext, bundle, key, module_input
from tests.conftest import Require
from tests.ledger import ledger

KILLS = int(os.environ.get("STACKLY_KILLS", "3"))
RESOURCES = 12

# An entry in the ledger is a resource of the outside world: written at the end of a create, as a cloud would.
RESOURCE = """
resource "terraform_data" "r{n}" {{
{after}{provisioner}}}
"""


@pytest.fixture(autouse=True)
def _terraform(require: Require) -> None:
    require(shutil.which("terraform"), "terraform is not on PATH")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Path]:
    with ledger(tmp_path / "ledger") as cloud:
        module = ""
        for n in range(RESOURCES):
            steps = (cloud.report(f"b{n}"), "sleep 0.1", cloud.report(f"r{n}"))
            after = f"  depends_on = [terraform_data.r{n - 1}]\n" if n else ""
            module += RESOURCE.format(n=n, after=after, provisioner=cloud.provisioner(*steps))
        (tmp_path / "tree").write_bytes(bundle(main__tf=module))
        (tmp_path / "states").mkdir()
        yield tmp_path


async def life(world: Path, epoch: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.agent.site_harness", str(world / "home"), str(world / "states"), str(epoch)),
        cwd=Path(__file__).parents[2],
        stdout=asyncio.subprocess.PIPE,
    )


def told(world: Path, kind: str) -> list[str]:
    path = world / "ledger"
    return [word for word in path.read_text().split() if word.startswith(kind)] if path.exists() else []


def made(world: Path) -> list[str]:
    return told(world, "r")


def begun(world: Path) -> int:
    return len(told(world, "b"))


@pytest.mark.parametrize("kill", range(KILLS))
async def test_kill_9_in_the_middle_of_an_apply_creates_nothing_twice(world: Path, kill: int) -> None:
    after = random.Random(kill).randint(1, RESOURCES - 3)
    first = await life(world, 1)
    # The next has begun, so Terraform knows of those before: between an entry and its shell's end nobody can know.
    while begun(world) <= after:
        assert first.returncode is None
        await asyncio.sleep(0.01)
    first.send_signal(signal.SIGKILL)
    await first.communicate()

    second = await life(world, 2)
    out, _ = await second.communicate()
    assert second.returncode == 0, out
    counts = Counter(made(world))
    assert counts == {f"r{n}": 1 for n in range(RESOURCES)}
    states = sorted((world / "states").iterdir(), key=lambda p: int(p.name))
    assert len(json.loads(states[-1].read_bytes())["resources"]) == RESOURCES
    assert workdir.occupants(world / "home") == []


async def test_a_killed_agents_terraform_ends_by_itself_and_its_state_is_found_at_the_next_start(world: Path) -> None:
    first = await life(world, 1)
    while len(made(world)) < 3:  # noqa: ASYNC110 - another process writes
        await asyncio.sleep(0.01)
    first.send_signal(signal.SIGKILL)
    await first.communicate()
    assert await workdir.await_empty(world / "home", 20)

    site = SiteWork(world / "home", "agent-1", SiteSettings(grace_s=5))
    (found,) = await site.unfinished()
    assert (found.run, found.test, found.epoch) == ("r1", "tpcb", 1)
    names = {r["name"] for r in json.loads(found.state)["resources"]}
    assert names >= {"r0", "r1", "r2"}

    assert await site.reap({("r1", "tpcb")}) == []
    assert await site.reap(set()) == ["r1.tpcb.1"]
    assert workdir.run_directories(world / "home") == []


async def test_a_destroy_of_another_run_takes_what_the_killed_apply_left(world: Path) -> None:
    first = await life(world, 1)
    while len(made(world)) < 5:  # noqa: ASYNC110 - another process writes
        await asyncio.sleep(0.01)
    first.send_signal(signal.SIGKILL)
    await first.communicate()
    context = FakeContext(key("d9", "", 2), tree=(world / "tree").read_bytes(), folder=world / "states")
    outcome = await SiteWork(world / "home", "a").destroy(module_input(context.key), context)
    assert outcome.destroyed >= 5
    last = max((world / "states").iterdir(), key=lambda p: int(p.name))
    assert json.loads(last.read_bytes())["resources"] == []
