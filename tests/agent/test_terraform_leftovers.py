"""What a run directory holds counts when a change of ours left it there, and not before."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import workdir
from agent.site import SiteSettings, SiteWork
from agent.terraform import leftovers, mirroring
from stackly.engine.contracts.site import ApplyInput
from stackly.errors import StacklyError
from tests.agent.sandboxes import as_found
from tests.agent.site_parts import FakeContext, bundle, key, module_input
from tests.agent.test_terraform_state import made, parsed, restored, version
from tests.conftest import Require

MAIN = 'resource "terraform_data" "web" {\n  input = "web"\n}\n'
COMMITTED = ("errored__tfstate", "deep/er/errored__tfstate", "terraform__tfstate", "terraform__tfstate__backup")


@pytest.fixture(autouse=True)
def _started_before(tmp_path: Path) -> None:
    """A home in which this release has started already."""
    leftovers.adopt_earlier(tmp_path)
    leftovers.adopt_earlier(tmp_path / "home")


def changing(tmp_path: Path, base: bytes | None) -> workdir.RunDirectory:
    work = made(tmp_path)
    (work.tree / "stack").mkdir(exist_ok=True)
    leftovers.begin(work, work.tree / "stack", parsed(base) if base else None)
    return work


def errored(work: workdir.RunDirectory, content: bytes) -> None:
    (work.tree / "stack" / "errored.tfstate").write_bytes(content)


async def test_an_errored_state_counts_after_a_change(tmp_path: Path) -> None:
    work = changing(tmp_path, version(3))
    work.state.write_bytes(b"")
    errored(work, version(4))
    assert (await restored(tmp_path, work, FakeContext(key(), base=version(3)), 0.1)).serial == 4


@pytest.mark.parametrize("content", [version(9, "other"), version(2)])
async def test_an_errored_state_of_another_base_never_counts(tmp_path: Path, content: bytes) -> None:
    work = changing(tmp_path, version(3))
    errored(work, content)
    context = FakeContext(key(), base=version(3))
    assert (await restored(tmp_path, work, context, 0.1)).serial == 3
    assert context.states == []
    assert [u.state for u in await SiteWork(tmp_path, "agent-1").unfinished()] == [version(3)]


async def test_without_a_base_it_must_be_of_the_lineage_that_the_state_file_has(tmp_path: Path) -> None:
    work = changing(tmp_path, None)
    work.state.write_bytes(version(1, "ours"))
    errored(work, version(9, "laptop"))
    assert (await restored(tmp_path, work, FakeContext(key()), 0.1)).lineage == "ours"


async def test_what_lies_there_before_the_change_is_removed(tmp_path: Path) -> None:
    work = made(tmp_path)
    for place in ("stack", "other"):
        (work.tree / place).mkdir()
        (work.tree / place / "errored.tfstate").write_bytes(version(9))
    leftovers.begin(work, work.tree / "stack", None)
    assert await mirroring.restore(tmp_path, work, FakeContext(key()), 0.1) is None


async def test_a_directory_that_only_planned_leaves_nothing_unfinished(tmp_path: Path) -> None:
    work = made(tmp_path)
    work.state.write_bytes(version(7))
    errored_at = work.tree / "errored.tfstate"
    errored_at.write_bytes(version(8))
    site = SiteWork(tmp_path, "agent-1")
    assert await site.unfinished() == []
    context = FakeContext(key(epoch=2), base=version(3))
    assert (await restored(tmp_path, made(tmp_path, epoch=2), context, 0.1)).serial == 3


async def test_directories_of_an_earlier_release_are_read_by_the_old_rule_once(tmp_path: Path) -> None:
    work = made(tmp_path)
    work.state.write_bytes(version(7))
    (work.tree / "stack").mkdir()
    errored(work, version(8))
    (tmp_path / "runs" / ".layout").unlink()
    site = SiteWork(tmp_path, "agent-1")
    assert [u.state for u in await site.unfinished()] == [version(8)]
    later = made(tmp_path, run="r2")
    (later.tree / "errored.tfstate").write_bytes(version(9))
    assert [u.state for u in await site.unfinished()] == [version(8)], "the second start goes by the new rule"


@pytest.fixture
def site(tmp_path: Path, require: Require) -> SiteWork:
    require(shutil.which("terraform"), "terraform is not on PATH")
    return SiteWork(tmp_path / "home", "agent-1", SiteSettings(isolation=as_found(tmp_path / "home")))


async def test_a_state_in_the_repository_is_nobodys_state(site: SiteWork) -> None:
    """Each under its own lineage, so that the one that counts is named."""
    web = {"mode": "managed", "type": "terraform_data", "name": "web", "instances": []}
    committed = {name: version(30, f"laptop of {name}", [web]).decode() for name in COMMITTED}
    context = FakeContext(key(), tree=bundle(main__tf=MAIN, **committed))
    given = module_input(key())
    plan = await site.plan(given, context)
    assert (plan.create, plan.lineage) == (1, "")
    assert await site.unfinished() == []
    await site.apply(ApplyInput(given, plan.plan_sha256), context)
    (stored,) = {parsed(s).lineage for s in context.states}
    assert not stored.startswith("laptop")
    again = FakeContext(key(epoch=2), tree=context.tree, base=context.states[-1])
    after = await site.plan(module_input(again.key), again)
    assert not after.changed


async def test_terraforms_own_directory_in_the_repository_counts_for_nothing(site: SiteWork) -> None:
    record = '{"version": 3, "backend": {"type": "s3", "config": {"bucket": "b"}, "hash": 12345}}'
    block = 'terraform {\n  backend "s3" {\n    bucket = "b"\n  }\n}\n'
    files = {".terraform/terraform__tfstate": record, ".TERRAFORM/x": "x", "stackly_override__tf": "not readable {"}
    context = FakeContext(key(), tree=bundle(main__tf=block + MAIN, **files))
    await site.apply(ApplyInput(module_input(key())), context)
    assert context.states


@pytest.fixture
def small_disk(tmp_path: Path, require: Require) -> Iterator[workdir.RunDirectory]:
    """A run directory whose state lies on a disk of 64 KB."""
    work = workdir.run_directory(tmp_path / "home", key().run, key().test, key().epoch)
    work.make()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "none", str(work.state.parent)]
    done = subprocess.run(mount, capture_output=True, check=False)
    require(done.returncode == 0, "no small disk can be mounted here")
    yield work
    subprocess.run(["umount", "-l", str(work.state.parent)], check=True)


async def test_what_terraform_could_not_write_is_stored_at_once(
    site: SiteWork, small_disk: workdir.RunDirectory
) -> None:
    value = 'join("", [for i in range(1000) : "block ${i} ${sha512(i)} "])'
    large = f'resource "terraform_data" "large" {{\n  input = {value}\n}}\n'
    context = FakeContext(key(), tree=bundle(main__tf=MAIN + large))
    with pytest.raises(StacklyError):
        await site.apply(ApplyInput(module_input(key())), context)
    assert (small_disk.tree / "stack" / "errored.tfstate").exists()
    assert b"block 999" in context.states[-1]
    assert "could not write its state file" in context.text
