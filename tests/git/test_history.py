"""History that grew, was rewritten, was forgotten: ancestry, kept commits, and git's own diff between any two."""

from typing import TYPE_CHECKING

import pytest

from stackly.errors import Invalid, NotFound
from stackly.git import differences
from stackly.git.mirrors import Mirror

if TYPE_CHECKING:
    from tests.git.conftest import Repository

NOWHERE = "0123456789" * 4


async def test_what_was_added_changed_and_removed_differs(repo: "Repository", mirror: Mirror) -> None:
    before = repo.commit({"a/x": "1", "a/y": "1", "b/z": "1", "same": "1"})
    repo.git("rm", "-q", "b/z")
    after = repo.commit({"a/x": "2", "c/d/e": "1", "new\nline": "1"})
    await mirror.fetch()
    found = await mirror.changed_paths(before, after)
    assert found.complete
    assert found.paths == ("a/x", "b/z", "c/d/e", "new\nline")
    assert (await mirror.changed_paths(after, before)).paths == found.paths
    assert (await mirror.changed_paths(after, after)).paths == ()


async def test_a_rename_and_a_mode_are_changes_of_paths(repo: "Repository", mirror: Mirror) -> None:
    before = repo.commit({"old": "long enough to be taken for the same\n" * 9, "run": "1"})
    repo.git("mv", "old", "new")
    (repo.path / "run").chmod(0o755)
    after = repo.commit()
    await mirror.fetch()
    assert (await mirror.changed_paths(before, after)).paths == ("new", "old", "run")


async def test_a_kept_commit_can_be_compared_after_its_history_is_gone(repo: "Repository", mirror: Mirror) -> None:
    base = repo.commit({"x": "1"})
    lost = repo.commit({"x": "2", "y": "1"})
    await mirror.fetch()
    await mirror.keep(lost)
    await mirror.keep(lost)
    assert await mirror.kept() == {lost}
    repo.git("reset", "-q", "--hard", base)
    head = repo.commit({"z": "1"})
    await mirror.fetch()
    await mirror._runner.run(mirror.path, "gc", "--quiet", "--prune=now")
    assert not await mirror.is_ancestor(lost, head)
    assert await mirror.is_ancestor(base, head)
    assert (await mirror.changed_paths(lost, head)).paths == ("x", "y", "z")
    await mirror.release(lost)
    await mirror.release(lost)
    await mirror._runner.run(mirror.path, "gc", "--quiet", "--prune=now")
    assert await mirror.kept() == frozenset()
    assert not await mirror.has(lost)
    with pytest.raises(NotFound):
        await mirror.changed_paths(lost, head)


async def test_what_is_not_here_cannot_be_kept_or_compared(repo: "Repository", mirror: Mirror) -> None:
    head = repo.commit({"x": "1"})
    await mirror.fetch()
    for before, after in ((NOWHERE, head), (head, NOWHERE)):
        with pytest.raises(NotFound):
            await mirror.changed_paths(before, after)
    with pytest.raises(NotFound):
        await mirror.keep(NOWHERE)
    with pytest.raises(Invalid):
        await mirror.changed_paths("--output=x", head)


async def test_too_many_changes_are_cut_and_told(repo: "Repository", mirror: Mirror) -> None:
    tree = repo.tree(*[("100644", b"f%03d" % i, repo.blob()) for i in range(300)])
    before = repo.commit({"x": "1"})
    await mirror.fetch()
    await mirror.keep(before)
    after = repo.commit_tree(repo.tree(*[("40000", b"d%03d" % i, tree) for i in range(200)]))
    await mirror.fetch()
    found = await mirror.changed_paths(before, after)
    assert not found.complete
    assert len(found.paths) == differences.MAX_CHANGED


@pytest.mark.timeout(60)
async def test_a_tree_of_ten_billion_files_is_not_compared_to_its_end(repo: "Repository", mirror: Mirror) -> None:
    before = repo.commit({"x": "1"})
    await mirror.fetch()
    await mirror.keep(before)
    tree = repo.tree(*[("100644", b"f%d" % i, repo.blob()) for i in range(10)])
    for _ in range(9):
        tree = repo.tree(*[("40000", b"d%d" % i, tree) for i in range(10)])
    after = repo.commit_tree(tree)
    await mirror.fetch()
    assert not (await mirror.changed_paths(before, after)).complete
