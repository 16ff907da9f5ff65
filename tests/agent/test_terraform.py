"""Steps with a real Terraform."""

import asyncio
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent import workdir
from agent.context import Cancelled
from agent.site import SiteSettings, SiteWork
from stackly.engine.contracts.site import ApplyInput, ApplyOutcome
from stackly.errors import Conflict, Faulty, Invalid, Unavailable
from stackly.temporal.steps import StepKey
from tests.agent.sandboxes import as_found
from tests.agent.site_parts import MACHINES, MODULE, FakeContext, bundle, key, module_input
from tests.conftest import Require

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(autouse=True)
def _terraform(require: Require) -> None:
    require(shutil.which("terraform"), "terraform is not on PATH")


@pytest.fixture
def site(tmp_path: Path) -> SiteWork:
    return SiteWork(tmp_path / "home", "agent-1", SiteSettings(grace_s=20, isolation=as_found(tmp_path / "home")))


def context_for(tree: bytes, at: StepKey | None = None, **more: Any) -> FakeContext:
    return FakeContext(at or key(), tree=tree, **more)


async def apply(site: SiteWork, context: FakeContext, **more: Any) -> ApplyOutcome:
    return await site.apply(ApplyInput(module_input(context.key, **more)), context)


def no_directories(tmp_path: Path) -> bool:
    return workdir.run_directories(tmp_path / "home") == []


async def test_apply_gives_machines_and_outputs_stores_the_state_and_leaves_nothing(
    site: SiteWork, tmp_path: Path
) -> None:
    context = context_for(bundle(main__tf=MODULE))
    outcome = await apply(site, context, machines=MACHINES, creates_only=True)
    assert outcome.machines["load"].internal_ip == "127.64.0.3"
    assert outcome.outputs["cidr"] == "127.64.0.0/28"
    assert "secret" not in outcome.outputs
    assert outcome.created == 2
    assert json.loads(context.states[-1])["serial"] == outcome.serial
    assert "Creation complete" in context.text
    assert no_directories(tmp_path)
    assert context.issued == []


async def test_a_second_plan_has_no_change_and_destroy_removes_what_there_is(site: SiteWork, tmp_path: Path) -> None:
    context = context_for(bundle(main__tf=MODULE))
    await apply(site, context, machines=MACHINES)
    plan = await site.plan(module_input(key(), machines=MACHINES), context)
    assert (plan.create, plan.update, plan.delete, plan.changed) == (0, 0, 0, False)
    assert plan.serial == json.loads(context.states[-1])["serial"]
    assert plan.terraform_version.startswith("1.")
    other = FakeContext(key("d1", "", 2), tree=context.tree, base=context.states[-1])
    destroyed = await site.destroy(module_input(other.key, machines=MACHINES), other)
    assert destroyed.destroyed == 2
    assert json.loads(other.states[-1])["resources"] == []
    again = await site.destroy(module_input(other.key, machines=MACHINES), other)
    assert again.destroyed == 0


async def test_destroy_without_a_state_has_nothing_to_do(site: SiteWork, tmp_path: Path) -> None:
    outcome = await site.destroy(module_input(key(), machines=MACHINES), context_for(bundle(main__tf=MODULE)))
    assert outcome.destroyed == 0
    assert no_directories(tmp_path)


PLAIN = 'variable "size" { default = 1 }\nresource "terraform_data" "a" { input = var.size }\n'


async def test_the_approved_plan_is_what_is_applied(site: SiteWork) -> None:
    context = context_for(bundle(main__tf=PLAIN))
    given = module_input(key(), variables={"size": 7})
    plan = await site.plan(given, context)
    assert (plan.create, plan.summary) == (1, ["create terraform_data.a"])
    outcome = await site.apply(ApplyInput(given, plan.plan_sha256), context)
    assert outcome.created == 1
    with pytest.raises(Conflict, match="Plan again"):
        await site.apply(ApplyInput(given, plan.plan_sha256), context)


async def test_recovery_applies_the_rest_of_what_was_approved_and_nothing_else(site: SiteWork) -> None:
    context = context_for(bundle(main__tf=PLAIN))
    given = module_input(key())
    with pytest.raises(Invalid, match=r"would create terraform_data\.a, which was not in the approved plan"):
        await site.apply(ApplyInput(given, approved=["create terraform_data.other"]), context)
    assert context.states == []
    outcome = await site.apply(ApplyInput(given, approved=["create terraform_data.a"]), context)
    assert outcome.created == 1


MANY = 'resource "terraform_data" "a" {\n  for_each = toset([for i in range(5) : tostring(i)])\n}\n'


async def test_recovery_knows_all_that_was_approved_from_the_plan_itself(
    site: SiteWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.terraform.plan.SUMMARY_MOST", 3)
    context = context_for(bundle(main__tf=MANY))
    given = module_input(key())
    plan = await site.plan(given, context)
    assert (plan.changes, len(plan.summary)) == (5, 3)
    approved = ApplyInput(
        given, approved=plan.summary, approved_plan_sha256=plan.plan_sha256, approved_changes=plan.changes
    )
    lost = replace(approved, approved_plan_sha256="0" * 64)
    with pytest.raises(Conflict, match="names more changes than are recorded"):
        await site.apply(lost, context)
    uncounted = replace(lost, approved=plan.summary * 400, approved_changes=0)  # of an earlier release
    with pytest.raises(Conflict, match="names more changes than are recorded"):
        await site.apply(uncounted, context)
    assert context.states == []
    assert (await site.apply(approved, context)).created == 5


async def test_a_recovery_that_was_interrupted_still_knows_the_approved_plan(site: SiteWork) -> None:
    context = context_for(bundle(main__tf=PLAIN))
    given = module_input(key())
    plan = await site.plan(given, context)
    other = context_for(bundle(main__tf=PLAIN.replace('"a"', '"b"')))
    approved = ApplyInput(
        given, approved=plan.summary, approved_plan_sha256=plan.plan_sha256, approved_changes=plan.changes
    )
    for _ in range(2):
        with pytest.raises(Invalid, match="not in the approved plan"):
            await site.apply(approved, other)
    assert (await site.apply(replace(approved, approved=[], approved_changes=1), context)).created == 1


async def test_another_plan_or_a_moved_state_is_refused(site: SiteWork) -> None:
    context = context_for(bundle(main__tf=PLAIN))
    given = module_input(key())
    plan = await site.plan(given, context)
    with pytest.raises(Conflict, match="plan is gone"):
        await site.apply(ApplyInput(given, "0" * 64), context)
    await apply(site, FakeContext(key("r2"), tree=context.tree))
    other = FakeContext(key("r2"), tree=context.tree)
    await apply(site, other)
    context.states.append(other.states[-1])  # somebody else moved the state meanwhile
    with pytest.raises(Conflict, match="state moved"):
        await site.apply(ApplyInput(given, plan.plan_sha256), context)


@pytest.mark.parametrize(
    "block",
    [
        'terraform {\n  backend "s3" {\n    bucket = "b"\n  }\n}\n',
        'terraform {\n  cloud {\n    organization = "o"\n    workspaces {\n      name = "w"\n    }\n  }\n}\n',
    ],
)
async def test_whatever_backend_a_module_has_the_state_is_ours(site: SiteWork, block: str) -> None:
    context = context_for(bundle(main__tf=block + PLAIN))
    assert (await apply(site, context)).created == 1
    assert len(context.states) >= 1


async def test_a_backend_in_an_override_that_sorts_after_ours_is_refused(site: SiteWork) -> None:
    block = 'terraform {\n  backend "local" {\n    path = "/nowhere/x"\n  }\n}\n'
    with pytest.raises(Invalid, match=r"zz_override\.tf:2: an override file sets `backend`"):
        await apply(site, context_for(bundle(main__tf=PLAIN, zz_override__tf=block)))
    for asked in ('{"terraform": {"cloud": {"organization": "x"}}}', '{"terraform": [{"backend": {"s3": {}}}]}'):
        with pytest.raises(Invalid, match=r"sets `(cloud|backend)`, and Stackly keeps the state"):
            await apply(site, context_for(bundle(main__tf=PLAIN, **{"zz_override.tf.json": asked})))


async def test_a_module_with_a_suite_must_take_the_contract_variables(site: SiteWork) -> None:
    with pytest.raises(Invalid, match='"stackly" and "stackly_user_data"'):
        await apply(site, context_for(bundle(main__tf=PLAIN)), machines=MACHINES)


async def test_variables_the_module_does_not_declare_are_an_error_and_nothing_is_applied(site: SiteWork) -> None:
    context = context_for(bundle(main__tf=PLAIN))
    with pytest.raises(Invalid, match='"sise"'):
        await apply(site, context, variables={"sise": 2})
    assert context.states == []
    await apply(site, context, environment="prod")
    assert "undeclared" not in context.text


async def test_a_plan_that_changes_something_fails_a_test(site: SiteWork) -> None:
    context = context_for(bundle(main__tf=PLAIN))
    await apply(site, context, variables={"size": 1})
    with pytest.raises(Invalid, match=r"update terraform_data\.a"):
        await apply(site, context, variables={"size": 2}, creates_only=True)


async def test_errors_have_file_and_line(site: SiteWork) -> None:
    broken = PLAIN + 'resource "terraform_data" "b" { input = var.absent }\n'
    with pytest.raises(Faulty, match=r"main\.tf:3: Reference to undeclared input variable"):
        await apply(site, context_for(bundle(main__tf=broken)))
    with pytest.raises(Faulty, match=r"main\.tf:1"):
        await apply(site, context_for(bundle(main__tf='resource "x" {')))


async def test_a_failed_apply_keeps_the_state_of_what_was_made(site: SiteWork) -> None:
    failing = PLAIN + (
        'resource "terraform_data" "b" {\n  depends_on = [terraform_data.a]\n'
        '  provisioner "local-exec" { command = "exit 3" }\n}\n'
    )
    context = context_for(bundle(main__tf=failing))
    with pytest.raises(Faulty, match="local-exec"):
        await apply(site, context)
    kept = {r["name"] for r in json.loads(context.states[-1])["resources"]}
    assert kept == {"a", "b"}
    plan = await site.plan(module_input(key()), context)
    assert (plan.create, plan.delete) == (1, 1)


@pytest.mark.parametrize("path", ["../..", "/etc", "absent"])
async def test_a_path_outside_or_absent_is_refused(site: SiteWork, path: str) -> None:
    context = context_for(bundle(main__tf=PLAIN))
    given = module_input(key())
    with pytest.raises(Invalid):
        await site.plan(type(given)(**{**given.__dict__, "path": path}), context)


async def test_terraform_sees_nothing_of_the_platform(site: SiteWork, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STACKLY_TOKEN", "platform-secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "cloud-secret")
    monkeypatch.setenv("TF_LOG", "TRACE")
    monkeypatch.setenv("TF_VAR_size", "99")
    show = 'resource "terraform_data" "e" {\n  provisioner "local-exec" { command = "env; pwd; stat -c %a .." }\n}\n'
    context = context_for(bundle(main__tf=PLAIN + show))
    await apply(site, context)
    assert "TF_IN_AUTOMATION=1" in context.text
    assert "(local-exec): 700" in context.text
    for word in ("platform-secret", "cloud-secret", "TF_LOG", "TF_VAR"):
        assert word not in context.text


async def test_sensitive_values_are_masked_in_what_is_told(site: SiteWork) -> None:
    module = (
        'variable "pw" {\n  sensitive = true\n}\n'
        'resource "terraform_data" "e" {\n  input = nonsensitive(sha1("x"))\n'
        '  provisioner "local-exec" {\n    command = "echo my-long-password"\n  }\n}\n'
    )
    context = context_for(bundle(main__tf=module))
    await apply(site, context, variables={"pw": "my-long-password"})
    assert "my-long-password" not in context.text
    assert "[redacted]" in context.text


async def test_where_the_module_makes_machines_it_gets_a_token_for_each(site: SiteWork) -> None:
    context = context_for(bundle(main__tf=MODULE))
    await apply(site, context, machines=MACHINES, target="module")
    assert context.issued == ["db", "load"]
    state = json.loads(context.states[-1])
    assert "#cloud-config" in state["outputs"]["secret"]["value"]["db"]


SLOW = """
resource "terraform_data" "first" {}
resource "terraform_data" "slow" {
  depends_on = [terraform_data.first]
  provisioner "local-exec" { command = "sleep 60" }
}
"""


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - the condition is another process
        await asyncio.sleep(0.02)


async def test_cancel_in_the_middle_of_an_apply_leaves_a_valid_state_and_nothing_running(
    site: SiteWork, tmp_path: Path
) -> None:
    context = context_for(bundle(main__tf=SLOW))
    step = asyncio.create_task(apply(site, context))
    await until(lambda: "Provisioning" in context.text)
    (work,) = workdir.run_directories(tmp_path / "home")
    context.cancelled.set()
    with pytest.raises(Cancelled):
        await step
    assert workdir.occupants(work.root) == []
    assert "first" in {r["name"] for r in json.loads(context.states[-1])["resources"]}


async def test_a_step_that_takes_too_long_is_stopped(site: SiteWork, tmp_path: Path) -> None:
    context = context_for(bundle(main__tf=SLOW))
    with pytest.raises(Faulty, match="did not end within"):
        await apply(site, context, timeout_s=4)
    (work,) = workdir.run_directories(tmp_path / "home")
    assert workdir.occupants(work.root) == []
    assert json.loads(context.states[-1])["resources"]


async def test_a_cancelled_task_takes_its_terraform_with_it(site: SiteWork, tmp_path: Path) -> None:
    context = context_for(bundle(main__tf=SLOW))
    step = asyncio.create_task(apply(site, context))
    await until(lambda: "Provisioning" in context.text)
    step.cancel()
    with pytest.raises(asyncio.CancelledError):
        await step
    (work,) = workdir.run_directories(tmp_path / "home")
    assert workdir.occupants(work.root) == []
    assert context.states


async def test_without_terraform_the_message_says_so(tmp_path: Path) -> None:
    site = SiteWork(tmp_path, "a", SiteSettings(terraform="terraform-that-is-absent"))
    with pytest.raises(Unavailable, match="stackly doctor"):
        await site.plan(module_input(key()), context_for(bundle(main__tf=PLAIN)))


@pytest.mark.parametrize("name", ["pg-standalone", "pg-docker", "pg-stroppy"])
async def test_examples_validate_are_formatted_and_meet_the_contract(site: SiteWork, name: str) -> None:
    folder = EXAMPLES / name
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TF_")}
    formatted = await asyncio.create_subprocess_exec("terraform", "fmt", "-check", str(folder), env=environment)
    assert await formatted.wait() == 0
    module = (folder / "main.tf").read_text()
    assert "provisioner" not in module
    outcome = await apply(site, context_for(bundle(main__tf=module)), machines=MACHINES, creates_only=True)
    assert set(outcome.machines) == {"db", "load"}
