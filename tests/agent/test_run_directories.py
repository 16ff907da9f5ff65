"""Directories of runs that are over: which go, and which stay."""

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from agent import workdir
from agent.site import SiteSettings, SiteWork
from tests.agent.sandboxes import as_found
from tests.agent.site_parts import MACHINES, MODULE, bundle, key, module_input
from tests.agent.test_terraform import context_for, no_directories
from tests.conftest import Require


@pytest.fixture(autouse=True)
def _terraform(require: Require) -> None:
    require(shutil.which("terraform"), "terraform is not on PATH")


@pytest.fixture
def site(tmp_path: Path) -> SiteWork:
    return SiteWork(tmp_path / "home", "agent-1", SiteSettings(grace_s=20, isolation=as_found(tmp_path / "home")))


async def test_a_plan_that_is_not_applied_is_kept_until_its_run_is_over(site: SiteWork, tmp_path: Path) -> None:
    context = context_for(bundle(main__tf=MODULE))
    await site.plan(module_input(context.key, machines=MACHINES), context)
    asked = []

    async def owners() -> dict[tuple[str, str], bool]:
        asked.append(1)
        return {(context.key.run, context.key.test): False} if len(asked) == 1 else {}

    assert await site.tidy(owners) == []
    (kept,) = workdir.run_directories(tmp_path / "home")
    living = await asyncio.create_subprocess_exec("sleep", "600", cwd=kept.root)
    try:
        assert await site.tidy(owners) == []
        assert kept.root.exists()
    finally:
        living.kill()
        await living.wait()
    assert await site.tidy(owners) == [str(kept.owner)]
    assert no_directories(tmp_path)
    assert await site.tidy(owners) == []
    assert len(asked) == 2, "nothing is asked where nothing is left"


async def test_an_ended_run_that_holds_its_state_keeps_no_plan_and_keeps_what_it_changed(
    site: SiteWork, tmp_path: Path
) -> None:
    """A plan holds values of variables; what a change left is all that anybody may know of what it made."""
    context = context_for(bundle(main__tf=MODULE))
    await site.plan(module_input(context.key, machines=MACHINES), context)
    (kept,) = workdir.run_directories(tmp_path / "home")

    async def owners() -> dict[tuple[str, str], bool]:
        return {(context.key.run, context.key.test): True}

    workdir.private(kept.change.parent)
    workdir.write_private(kept.change, b"{}")
    assert await site.tidy(owners) == []
    kept.change.unlink()
    assert await site.tidy(owners) == [str(kept.owner)]
    assert no_directories(tmp_path)


async def test_a_directory_that_cannot_be_deleted_keeps_no_other(
    site: SiteWork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for run in ("r1", "r2"):
        context = context_for(bundle(main__tf=MODULE), replace(key(), run=run))
        await site.plan(module_input(context.key, machines=MACHINES), context)
    first, second = workdir.run_directories(tmp_path / "home")
    discard = workdir.discard

    async def refused(work: workdir.RunDirectory) -> None:
        if work == first:
            raise PermissionError(work.root)
        await discard(work)

    async def owners() -> dict[tuple[str, str], bool]:
        return {}

    monkeypatch.setattr(workdir, "discard", refused)
    assert await site.tidy(owners) == [str(second.owner)]
    assert first.root.exists()


async def test_a_directory_whose_step_runs_is_left_also_when_its_run_is_over(site: SiteWork, tmp_path: Path) -> None:
    """Between two of its processes nobody lives in it."""
    context = context_for(bundle(main__tf=MODULE))
    await site.plan(module_input(context.key, machines=MACHINES), context)
    running = [context.key]

    async def owners() -> dict[tuple[str, str], bool]:
        return {}

    assert await site.tidy(owners, lambda: running) == []
    (kept,) = workdir.run_directories(tmp_path / "home")
    running.clear()
    assert await site.tidy(owners, lambda: running) == [str(kept.owner)]
