"""A mirror that is fetched into thousands of times stays one of few packs, and loses nothing by that."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stackly.git import packs
from stackly.git.mirrors import Mirror
from stackly.git.runner import Runner

if TYPE_CHECKING:
    from tests.git.conftest import Repository

PUSHES = 6
MODULE = "# push {}\n"


@pytest.fixture
def mirror(repo: "Repository", tmp_path: Path, runner: Runner) -> Mirror:
    repo.git("config", "uploadpack.allowFilter", "true")
    return Mirror(tmp_path / "blobless", "r1", repo.url, runner, blobless=True)


def _packs(mirror: Mirror) -> set[str]:
    return {p.name for p in (mirror.path / "objects" / "pack").glob("*.pack")}


async def _pushed(repo: "Repository", mirror: Mirror) -> dict[str, bytes]:
    """Each push fetched and read. Shape: commit -> the stack's bundle."""
    made = {}
    for n in range(PUSHES):
        commit = repo.commit({"a/stackly.hcl": "a", "a/main.tf": MODULE.format(n)})
        await mirror.fetch()
        made[commit] = await mirror.bundle(commit, "a")
    return made


async def test_small_packs_become_one_that_holds_all_of_them(
    repo: "Repository", mirror: Mirror, runner: Runner
) -> None:
    bundles = await _pushed(repo, mirror)
    over = next(iter(bundles))
    repo.git("reset", "-q", "--hard", over)
    lost = list(bundles)[-1]
    await mirror.fetch()
    before = _packs(mirror)
    assert len(before) > PUSHES
    assert await packs.combine(mirror.path, runner, most=len(before)) == 0
    assert _packs(mirror) == before
    assert await packs.combine(mirror.path, runner, most=3) == len(before)
    assert len(_packs(mirror)) == 1
    assert await mirror.has(lost), "what was pushed over is here still"
    anew = Mirror(mirror.path.parent, "r1", repo.url, runner, blobless=True)
    assert {commit: await anew.bundle(commit, "a") for commit in bundles} == bundles


async def test_it_is_a_mirror_without_contents_as_before(repo: "Repository", mirror: Mirror, runner: Runner) -> None:
    await _pushed(repo, mirror)
    commit = repo.commit({"a/main.tf": MODULE.format("new")})
    await mirror.fetch()
    await packs.combine(mirror.path, runner, most=1)
    anew = Mirror(mirror.path.parent, "r1", repo.url, runner)
    assert await anew.bundle(commit, "a"), "contents are asked of the remote when they are wanted"
    more = repo.commit({"a/main.tf": MODULE.format("newer")})
    await anew.fetch()
    assert await anew.bundle(more, "a")


async def test_one_that_was_killed_half_way_is_done_again(repo: "Repository", mirror: Mirror, runner: Runner) -> None:
    bundles = await _pushed(repo, mirror)
    olds = {p.name: p.read_bytes() for p in (mirror.path / "objects" / "pack").iterdir()}
    await packs.combine(mirror.path, runner, most=1)
    for name, data in olds.items():  # all but the removal was done
        (mirror.path / "objects" / "pack" / name).write_bytes(data)
    assert await packs.combine(mirror.path, runner, most=1)
    assert len(_packs(mirror)) == 1
    anew = Mirror(mirror.path.parent, "r1", repo.url, runner, blobless=True)
    assert {commit: await anew.bundle(commit, "a") for commit in bundles} == bundles


async def test_a_mirror_with_everything_is_left_alone(repo: "Repository", tmp_path: Path, runner: Runner) -> None:
    whole = Mirror(tmp_path / "whole", "r1", repo.url, runner)
    repo.commit({"a": "1"})
    await whole.fetch()
    assert await packs.combine(whole.path, runner, most=0) == 0
