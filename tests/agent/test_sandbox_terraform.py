"""Pushed code that looks for what is not its own, in every kind of isolation; without any, it finds it."""

import asyncio
import base64
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent import workdir
from agent.context import Cancelled
from agent.reading import FileUnsafe
from agent.sandbox.box import Kind
from agent.site import SiteSettings, SiteWork
from stackly.engine.contracts.site import ApplyInput, ApplyOutcome
from stackly.errors import Faulty
from tests.agent.sandboxes import SEPARATING, isolated, open_directory
from tests.agent.site_parts import FakeContext, bundle, key, module_input
from tests.conftest import Require

TOKEN = "stk_token_of_the_home"


@pytest.fixture(autouse=True)
def _terraform(require: Require) -> None:
    require(shutil.which("terraform"), "terraform is not on PATH")


@dataclass
class House:
    """Shape: `root` is a STACKLY_HOME with secrets in it, `site` its site agent."""

    root: Path
    kind: Kind
    site: SiteWork

    @property
    def secrets(self) -> list[Path]:
        other = workdir.run_directory(self.root / "agent", "other", "", 1)
        return [
            *(self.root / "token", self.root / "keyring" / "keys.json", self.root / "agent" / "identity.json"),
            *(other.variables, other.state, other.tree / "stack" / "main.tf"),
            Path(f"/proc/{os.getpid()}/environ"),
        ]

    async def run(self, run: str, **files: str) -> tuple[ApplyOutcome, FakeContext]:
        context = FakeContext(key(run, ""), tree=bundle(**files))
        return await self.site.apply(ApplyInput(module_input(context.key)), context), context


def settled(root: Path, kind: Kind) -> House:
    """A home as the platform makes it: every secret 0600, every directory 0711 or 0700."""
    site = SiteWork(root / "agent", "agent-1", SiteSettings(grace_s=20, isolation=isolated(kind, root / "agent")))
    made = House(root, kind, site)
    workdir.run_directory(root / "agent", "other", "", 1).make()
    for path in made.secrets[:-1]:
        workdir.private(path.parent) if not path.parent.exists() else None
        workdir.write_private(path, TOKEN.encode())
    return made


@pytest.fixture(params=SEPARATING)
def house(request: pytest.FixtureRequest) -> Iterator[House]:
    with open_directory() as root:
        yield settled(root, request.param)


@pytest.fixture
def open_house() -> Iterator[House]:
    with open_directory() as root:
        yield settled(root, Kind.NONE)


def looking(paths: list[Path]) -> str:
    """A plan that reads, and a provisioner that reads, lists and writes."""
    wanted = json.dumps([str(p) for p in paths])
    words = " ".join(map(str, paths))
    return f"""
locals {{ found = [for p in {wanted} : try(filebase64(p), "nothing")] }}
resource "terraform_data" "planned" {{
  for_each = toset(local.found)
  input    = each.value
  provisioner "local-exec" {{
    command = "for f in {words}; do cat $f | base64 -w0; echo; echo gotcha >> $f; done 2>/dev/null; true"
  }}
}}
output "found" {{ value = local.found }}
"""


async def test_a_plan_and_a_provisioner_find_nothing_of_the_home_of_another_run_and_of_the_agent(house: House) -> None:
    outcome, context = await house.run("r1", main__tf=looking(house.secrets))
    assert set(outcome.outputs["found"]) == {"nothing"}
    assert base64.b64encode(TOKEN.encode()).decode() not in context.text + str(context.states)
    assert [path.read_bytes() for path in house.secrets[:-1]] == [TOKEN.encode()] * (len(house.secrets) - 1)


async def test_without_isolation_the_same_module_finds_all_of_it(open_house: House) -> None:
    outcome, _ = await open_house.run("r1", main__tf=looking(open_house.secrets))
    assert "nothing" not in outcome.outputs["found"]
    assert "gotcha" in (open_house.root / "token").read_text()


LISTING = """
resource "terraform_data" "look" {
  provisioner "local-exec" {
    command = <<-EOT
      ls .. ../.. ../../..
      touch ../../../x
      kill -9 %d
      for p in /proc/[0-9]*; do tr '\\0' '\\n' < $p/environ; done
      true
    EOT
  }
}
"""


async def test_it_sees_no_other_directory_and_no_environment_but_its_own(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STACKLY_TOKEN", TOKEN)
    _, context = await house.run("r1", main__tf=LISTING % os.getpid())
    assert TOKEN not in context.text
    assert "other" not in context.text
    assert "agent.log" not in context.text
    assert not (house.root / "agent" / "runs" / "x").exists()


REPLACING = """
resource "terraform_data" "a" {{
  provisioner "local-exec" {{ command = "{command}" }}
}}
"""
STATE = "../../state/terraform.tfstate"


@pytest.mark.parametrize("command", ["ln -s {secret} {link}", "mkfifo {link}"])
async def test_a_state_that_pushed_code_replaces_over_and_over_is_never_followed(house: House, command: str) -> None:
    """What stands there when Terraform has ended is Terraform's own file, or it is refused with its reason."""
    put = command.format(secret=house.root / "token", link=f"{STATE}.new")
    swap = f"(while true; do rm -f {STATE}.new; {put} && mv -f {STATE}.new {STATE}; done) >/dev/null 2>&1 &"
    swap += f" until [ -L {STATE} ] || [ -p {STATE} ]; do sleep 0.01; done"
    context = FakeContext(key("r1", ""), tree=bundle(main__tf=REPLACING.format(command=swap)))
    why = ""
    try:
        await house.site.apply(ApplyInput(module_input(context.key)), context)
    except (FileUnsafe, Faulty) as error:
        why = error.detail
        assert why
    else:
        assert json.loads(context.states[-1])["resources"]
    assert TOKEN not in why + context.text
    assert TOKEN.encode() not in b"".join(context.states)
    assert workdir.occupants(house.root) == []
    assert TOKEN.encode() not in b"".join(each.state for each in await house.site.unfinished())
    assert (house.root / "token").read_text() == TOKEN


@pytest.mark.parametrize("leaves", ["true", "echo { > {state}", "rm -f {state}"])
async def test_an_apply_that_leaves_no_whole_state_has_not_succeeded(open_house: House, leaves: str) -> None:
    """Terraform writes through the file that it opened first: what has its name since is all that is left."""
    gone = f"rm -f {STATE}; {leaves.replace('{state}', STATE)}"
    with pytest.raises(Faulty, match="no whole state is there"):
        await open_house.run("r1", main__tf=REPLACING.format(command=gone))


async def test_what_was_approved_cannot_be_changed_while_it_is_applied(house: House) -> None:
    """The plan that is applied is the agent's copy: the code's user can neither write nor replace it."""
    writes = "echo evil > ../../plan.tfplan; rm -f ../../plan.tfplan; echo evil > ../../draft/plan.tfplan; true"
    outcome, _ = await house.run("r1", main__tf=REPLACING.format(command=writes))
    assert outcome.created == 1


async def test_a_process_that_left_its_group_and_directory_ends_with_its_command(house: House) -> None:
    stays = "setsid sh -c 'cd / && exec sleep 987654' >/dev/null 2>&1 &"
    await house.run("r1", main__tf=REPLACING.format(command=stays))
    lines = [workdir.arguments(pid) for pid, _ in workdir.working_directories()]
    assert [line for line in lines if "987654" in line] == []


SLOW = """
resource "terraform_data" "first" {}
resource "terraform_data" "slow" {
  depends_on = [terraform_data.first]
  provisioner "local-exec" { command = "trap 'sleep 0.2; exit 0' TERM INT; sleep 60 & wait" }
}
"""


async def test_a_cancel_leaves_a_valid_state_and_nothing_running(house: House) -> None:
    context = FakeContext(key("r1", ""), tree=bundle(main__tf=SLOW))
    step = asyncio.create_task(house.site.apply(ApplyInput(module_input(context.key)), context))
    while "Provisioning" not in context.text:  # noqa: ASYNC110 - another process
        await asyncio.sleep(0.02)
    context.cancelled.set()
    with pytest.raises(Cancelled):
        await step
    assert workdir.occupants(house.root) == []
    assert "first" in {r["name"] for r in json.loads(context.states[-1])["resources"]}


async def test_runs_have_users_of_their_own_and_another_gets_none_that_is_in_use(house: House) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root gives users of its own")
    shows = 'resource "terraform_data" "a" {\n  provisioner "local-exec" { command = "echo uid $(id -u)" }\n}\n'
    seen = set()
    for run in ("r1", "r2"):
        context = FakeContext(key(run, ""), tree=bundle(main__tf=shows))
        outcome = await house.site.apply(ApplyInput(module_input(context.key)), context)
        assert outcome.created == 1
        (line,) = {text.rpartition("uid ")[2] for _, text in context.lines if "uid " in text and "$" not in text}
        seen.add(int(line))
        if run == "r1":
            await house.site.plan(module_input(context.key), context)  # its directory stays, and so does its user
    assert len(seen) == 2
    assert not seen & {0, 65534}
