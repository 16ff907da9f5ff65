"""Terraform's own verdict on a plan, what may not be stored, and what is refused before the first create."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.site import SiteSettings, SiteWork
from agent.terraform.checks import NeverDestroyed
from agent.terraform.state import load
from stackly.engine.contracts.site import ApplyInput, ApplyOutcome, CodeChanged, PlanOutcome
from stackly.errors import Faulty, Invalid
from tests.agent.sandboxes import as_found
from tests.agent.site_parts import MACHINES, MODULE, FakeContext, bundle, key, module_input
from tests.conftest import Require

IDENTITY = "0d9ac1f0-5bd2-4c4e-9f0e-6a1cf2f0a001"


@pytest.fixture
def site(tmp_path: Path, require: Require) -> SiteWork:
    require(shutil.which("terraform"), "terraform is not on PATH")
    return SiteWork(tmp_path / "home", "agent-1", SiteSettings(isolation=as_found(tmp_path / "home")))


class Stack:
    """One state, and the code that is pushed to it."""

    def __init__(self, site: SiteWork) -> None:
        self.site = site
        self.epoch = 0
        self.state = b""
        self.text = ""

    async def plan(self, main: str, **more: Any) -> tuple[PlanOutcome, FakeContext]:
        self.epoch += 1
        context = FakeContext(key(epoch=self.epoch), tree=bundle(main__tf=main), base=self.state)
        return await self.site.plan(module_input(context.key, **more), context), context

    async def push(self, main: str, **more: Any) -> tuple[PlanOutcome, ApplyOutcome | None]:
        made, context = await self.plan(main, **more)
        if not made.changed:
            return made, None
        try:
            applied = await self.site.apply(ApplyInput(module_input(context.key, **more), made.plan_sha256), context)
        finally:
            self.state = context.states[-1] if context.states else self.state
            self.text = context.text
        return made, applied

    @property
    def objects(self) -> dict[str, str]:
        found = load(self.state)["resources"]
        return {r["name"]: r["instances"][0]["attributes"]["id"] for r in found}


OLD = 'resource "terraform_data" "before" {\n  input = "kept"\n}\n'
NEW = OLD.replace("before", "after")
MOVED = NEW + "moved {\n  from = terraform_data.before\n  to   = terraform_data.after\n}\n"


async def test_what_moved_keeps_its_object_and_the_next_push_destroys_nothing(site: SiteWork) -> None:
    stack = Stack(site)
    await stack.push(OLD)
    before = stack.objects["before"]
    plan, applied = await stack.push(MOVED)
    assert plan.changed
    assert plan.summary == ["move terraform_data.before to terraform_data.after"]
    assert (plan.create, plan.delete, plan.move) == (0, 0, 1)
    assert applied is not None
    assert stack.objects == {"after": before}
    plan, _ = await stack.push(NEW)
    assert not plan.changed
    assert stack.objects == {"after": before}


async def test_what_is_imported_is_imported_once(site: SiteWork) -> None:
    stack = Stack(site)
    block = f'import {{\n  to = terraform_data.taken\n  id = "{IDENTITY}"\n}}\nresource "terraform_data" "taken" {{}}\n'
    await stack.push(OLD)
    plan, applied = await stack.push(OLD + block)
    assert plan.summary == [f"import terraform_data.taken from {IDENTITY}"]
    assert (plan.changed, plan.adopt, plan.create) == (True, 1, 0)
    assert applied is not None
    assert stack.objects["taken"] == IDENTITY
    plan, _ = await stack.push(OLD + block)
    assert not plan.changed


async def test_what_is_forgotten_is_said_and_not_destroyed(site: SiteWork) -> None:
    stack = Stack(site)
    await stack.push(OLD)
    removed = "removed {\n  from = terraform_data.before\n  lifecycle {\n    destroy = false\n  }\n}\n"
    plan, applied = await stack.push(removed)
    assert (plan.summary, plan.forget, plan.delete) == (["forget terraform_data.before"], 1, 0)
    assert applied is not None
    assert (stack.objects, applied.deleted) == ({}, 0)


async def test_outputs_alone_are_applied(site: SiteWork) -> None:
    stack = Stack(site)
    await stack.push(OLD)
    plan, applied = await stack.push(OLD + 'output "size" {\n  value = 3\n}\n')
    assert plan.changed
    assert plan.summary == ["create output size"]
    assert applied is not None
    assert applied.outputs == {"size": 3}


async def test_a_test_may_not_import(site: SiteWork) -> None:
    block = f'import {{\n  to = terraform_data.taken\n  id = "{IDENTITY}"\n}}\nresource "terraform_data" "taken" {{}}\n'
    context = FakeContext(key(), tree=bundle(main__tf=MODULE + block))
    given = module_input(key(), machines=MACHINES, creates_only=True)
    with pytest.raises(Invalid, match=r"would import terraform_data\.taken"):
        await site.apply(ApplyInput(given), context)
    assert context.states == []


async def test_fractions_are_kept_as_everybody_keeps_them(site: SiteWork) -> None:
    _, applied = await Stack(site).push('output "thirds" {\n  value = [1 / 3, 0.1, 1e-5000, 1e300]\n}\n')
    assert applied is not None
    assert applied.outputs == {"thirds": [1 / 3, 0.1, 0.0, 10**300]}


ODD = {
    "text": (r'"x\u0000y"', "U+0000"),
    "deep": (r'{ a = ["ok", { b = "\u0000" }] }', "U+0000"),
    "name": (r'{ "k\u0000" = 1 }', "U+0000"),
    "size": ("{ a = [1e5000] }", "number that is too large"),
}


async def test_an_output_that_cannot_be_stored_costs_itself(site: SiteWork) -> None:
    stack = Stack(site)
    values = {"good": "7"} | {name: value for name, (value, _) in ODD.items()}
    written = "".join(f'output "{name}" {{\n  value = {value}\n}}\n' for name, value in values.items())
    _, applied = await stack.push(OLD + written)
    assert applied is not None
    assert applied.outputs == {"good": 7}
    for name, (_, says) in ODD.items():
        (told,) = re.findall(rf"output '{name}' holds ([^;]*)", applied.fault)
        assert says in told
    assert stack.objects, "the state is stored"


SECRETS = """
variable "pin" {
  type      = number
  sensitive = true
}
variable "keys" {
  type      = map(list(string))
  sensitive = true
}
variable "pem" {
  sensitive = true
}
variable "plain" {
  default = "shown-on-purpose"
}
"""
PRINTS = """
resource "terraform_data" "web" {
  triggers_replace = nonsensitive(var.pin)
  provisioner "local-exec" {
    command = <<-EOT
      echo 'pin=${nonsensitive(var.pin)} json=${jsonencode(nonsensitive(var.keys))} plain=${var.plain}'
      echo '${nonsensitive(var.pem)}'
    EOT
  }
}
check "said" {
  assert {
    condition     = nonsensitive(var.pin) == 1
    error_message = "at plan the pin is ${nonsensitive(var.pin)}"
  }
}
"""


@pytest.mark.parametrize("as_json", [False, True])
async def test_sensitive_values_of_every_type_are_masked_from_the_first_line(site: SiteWork, as_json: bool) -> None:
    secrets: dict[str, object] = {
        "pin": 123456789012,
        "keys": {"a": ["inner<canary>one", 'inner"two"canary']},
        "pem": "-----BEGIN-----\nbody-canary\n-----END-----\n",
    }
    declared = {name: {"sensitive": True, "type": "any"} for name in secrets}
    files = {"main__tf": SECRETS + PRINTS}
    if as_json:
        told = {**declared, "plain": {"default": "shown-on-purpose"}}
        files = {"main__tf": PRINTS, "variables__tf__json": json.dumps({"variable": told})}
    context = FakeContext(key(), tree=bundle(**files))
    given = module_input(key(), variables=secrets)
    made = await site.plan(given, context)
    await site.apply(ApplyInput(given, made.plan_sha256), context)
    assert "at plan the pin is [redacted]" in context.text
    assert "shown-on-purpose" in context.text
    for leak in ("123456789012", "canary"):
        assert leak not in context.text


KEEPS = {"prevent_destroy": True}
PREVENT = 'resource "terraform_data" "disk" {\n  lifecycle {\n    prevent_destroy = true\n  }\n}\n'


@pytest.mark.parametrize(
    ("files", "place"),
    [
        ({"main__tf": MODULE + PREVENT}, r"tree/stack/main\.tf:\d+: terraform_data\.disk"),
        (
            {
                "main__tf": MODULE,
                "disk__tf__json": json.dumps({"resource": {"terraform_data": {"disk": {"lifecycle": KEEPS}}}}),
            },
            r"disk\.tf\.json:1: terraform_data\.disk",
        ),
        (
            {"main__tf": MODULE + 'module "d" {\n  source = "./inner"\n}\n', "inner/disk__tf": PREVENT},
            r"inner/disk\.tf:3: terraform_data\.disk",
        ),
    ],
)
async def test_a_test_that_could_not_be_torn_down_is_refused_before_its_first_create(
    site: SiteWork, files: dict[str, str], place: str
) -> None:
    context = FakeContext(key(), tree=bundle(**files))
    with pytest.raises(NeverDestroyed, match=place):
        await site.apply(ApplyInput(module_input(key(), machines=MACHINES, creates_only=True)), context)
    assert context.states == []


@pytest.mark.parametrize(
    "main",
    [
        MODULE + PREVENT.replace("true", "false"),
        MODULE + "# " + PREVENT.replace("\n", "\n# "),
        MODULE + 'module "d" {\n  source = "./inner"\n}\n',
    ],
)
async def test_what_does_not_prevent_it_is_carried_out(site: SiteWork, main: str) -> None:
    """A directory that nothing calls may say what it likes."""
    context = FakeContext(key(), tree=bundle(main__tf=main, **{"inner/main__tf": "", "unused/disk__tf": PREVENT}))
    outcome = await site.apply(ApplyInput(module_input(key(), machines=MACHINES, creates_only=True)), context)
    assert set(outcome.machines) == {"db", "load"}


async def test_a_plain_stack_hears_it_at_destroy(site: SiteWork) -> None:
    stack = Stack(site)
    await stack.push(PREVENT)
    context = FakeContext(key(epoch=9), tree=bundle(main__tf=PREVENT), base=stack.state)
    with pytest.raises(Faulty, match="prevent_destroy"):
        await site.destroy(module_input(context.key), context)


async def test_code_that_was_changed_on_its_way_is_not_run(site: SiteWork) -> None:
    context = FakeContext(key(), tree=bundle(main__tf=OLD))
    given = replace(module_input(key()), bundle_sha256="0" * 64)
    with pytest.raises(CodeChanged, match="0000 was registered"):
        await site.plan(given, context)
    assert context.lines == []


async def test_a_file_that_is_not_in_the_bundle_is_named_with_its_cure(site: SiteWork) -> None:
    reads = (
        'variable "name" {\n  default = "motd"\n}\nlocals {\n  text = file("${path.module}/../${var.name}.txt")\n}\n'
    )
    with pytest.raises(Faulty, match=r"\.\./motd\.txt.*path\.module or path\.root and no variable"):
        await Stack(site).push(OLD + reads + 'output "text" {\n  value = local.text\n}\n')
