"""Mirrors without files' contents, and fetches that wait for what was announced."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stackly.errors import NotFound
from stackly.git.mirrors import Mirror
from stackly.git.payloads import Announced
from stackly.git.runner import Runner

if TYPE_CHECKING:
    from tests.git.conftest import Repository

NOWHERE = "0123456789" * 4
CODE = {
    "a/stackly.hcl": "a",
    "a/main.tf": 'module "n" {\n  source = "../net"\n}\n',
    "net/main.tf": "# net\n",
    "data/large": "x" * 100_000,
}


@pytest.fixture
def blobless(repo: "Repository", tmp_path: Path, runner: Runner) -> Mirror:
    repo.git("config", "uploadpack.allowFilter", "true")
    return Mirror(tmp_path / "blobless", "r1", repo.url, runner, blobless=True)


async def here(mirror: Mirror) -> set[str]:
    """Every object of the mirror that is a file's content."""
    shown = "--batch-check=%(objecttype) %(objectname)"
    told = await mirror._runner.run(mirror.path, "cat-file", "--batch-all-objects", shown)
    pairs = (line.split() for line in told.out.decode().splitlines())
    return {oid for kind, oid in pairs if kind == "blob"}


async def test_contents_come_when_they_are_read_and_no_others(
    repo: "Repository", mirror: Mirror, blobless: Mirror
) -> None:
    first = repo.commit(CODE)
    for one in (mirror, blobless):
        await one.fetch()
    assert await here(blobless) == set()
    assert await blobless.bundle(first, "a") == await mirror.bundle(first, "a")
    assert len(await here(blobless)) == 3
    second = repo.commit({"net/main.tf": "# other\n"})
    for one in (mirror, blobless):
        await one.fetch()
    assert await blobless.changed_paths(first, second) == await mirror.changed_paths(first, second)
    assert await blobless.is_ancestor(first, second)
    assert await blobless.commit_info(second) == await mirror.commit_info(second)
    trees = [await one.trees(second) for one in (mirror, blobless)]
    assert await blobless.closures(trees[1]) == await mirror.closures(trees[0])
    assert await blobless.bundle(second, "a") == await mirror.bundle(second, "a")
    assert len(await here(blobless)) == 4


async def test_what_is_missing_comes_in_one_fetch(repo: "Repository", tmp_path: Path) -> None:
    repo.git("config", "uploadpack.allowFilter", "true")
    head = repo.commit({f"f{n}": f"{n}" for n in range(50)})
    log = tmp_path / "log"
    program = tmp_path / "git"
    program.write_text(f'#!/bin/sh\necho "$*" >> {log}\nexec git "$@"\n')
    program.chmod(0o755)
    runner = Runner(protocols=frozenset({"file"}), timeout=20, program=str(program))
    mirror = Mirror(tmp_path / "blobless", "r1", repo.url, runner, blobless=True)
    await mirror.fetch()
    tree = await mirror.trees(head)
    log.write_text("")
    assert len(await mirror.blobs({e.oid for e in tree.entries.values()})) == 50
    assert sum(" fetch " in line for line in log.read_text().splitlines()) == 1


async def test_a_remote_that_does_not_offer_it_sends_everything(
    repo: "Repository", tmp_path: Path, runner: Runner
) -> None:
    repo.commit(CODE)
    mirror = Mirror(tmp_path / "blobless", "r1", repo.url, runner, blobless=True)
    await mirror.fetch()
    assert len(await here(mirror)) == 4


async def test_a_mirror_with_holes_is_never_taken_for_whole(
    repo: "Repository", blobless: Mirror, runner: Runner
) -> None:
    head = repo.commit(CODE)
    await blobless.fetch()
    same = Mirror(blobless.path.parent, "r1", repo.url, runner)
    second = repo.commit({"a/main.tf": "# new\n"})
    await same.fetch()
    assert await same.bundle(head, "a")
    assert await same.bundle(second, "a")


async def test_an_unknown_id_is_not_found_with_and_without(
    repo: "Repository", mirror: Mirror, blobless: Mirror
) -> None:
    repo.commit(CODE)
    for one in (mirror, blobless):
        await one.fetch()
        with pytest.raises(NotFound):
            await one.sizes([NOWHERE])


async def test_no_address_and_no_setting_of_the_remote_is_written_down(repo: "Repository", blobless: Mirror) -> None:
    head = repo.commit(CODE)
    await blobless.fetch()
    await blobless.bundle(head, "a")
    assert "remote" not in (blobless.path / "config").read_text()


async def test_a_fetch_waits_for_a_commit_that_was_announced(repo: "Repository", mirror: Mirror) -> None:
    """The remote serves it a while later, as replicas do."""
    first = repo.commit(CODE)
    repo.git("branch", "served")
    late = repo.commit({"b": "1"})
    repo.git("update-ref", "refs/hidden/late", late)
    repo.git("update-ref", "refs/heads/main", "refs/heads/served")

    async def serve() -> None:
        await asyncio.sleep(0.5)
        await asyncio.to_thread(repo.git, "update-ref", "refs/heads/main", late)

    serving = asyncio.create_task(serve())
    fetched = await mirror.fetch(awaiting=[Announced("refs/heads/main", first, late)], within=20)
    await serving
    assert fetched.missing == frozenset()
    assert fetched.lag > 0.5
    assert (await mirror.refs())["refs/heads/main"] == late


async def test_it_goes_on_with_what_is_there_when_the_time_is_over(repo: "Repository", mirror: Mirror) -> None:
    head = repo.commit(CODE)
    here, nowhere = (Announced("refs/heads/main", "0" * 40, oid) for oid in (head, NOWHERE))
    fetched = await mirror.fetch(awaiting=[nowhere, here], within=0.5)
    assert fetched.missing == {nowhere}
    assert (await mirror.refs())["refs/heads/main"] == head
