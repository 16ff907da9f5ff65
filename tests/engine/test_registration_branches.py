"""A new branch starts what it changed since it left the others, and nothing else."""

import pytest

from tests.engine.syncing import Syncing, measured, plain

DEV = "refs/heads/dev"
PATHS = 'trigger { paths = ["src"] }'


@pytest.fixture
async def measuring(syncing: Syncing) -> Syncing:
    """Two benchmarks, one of which names the program; both were started on the default branch."""
    await syncing.pushed(measured("named", "named", PATHS) | measured("other", "other") | {"src/a.c": "1"})
    return syncing


async def _started(syncing: Syncing, ref: str = DEV) -> list[str]:
    codes = {c.id: path for path, c in (await syncing.codes(ref)).items()}
    return sorted(codes[r.code] for r in await syncing.runs() if r.code in codes)


async def test_a_branch_without_a_change_starts_nothing_and_says_so(measuring: Syncing) -> None:
    measuring.upstream.branch("dev")
    await measuring.sync()
    assert sorted(await measuring.codes(DEV)) == ["named", "other"]
    assert await _started(measuring) == []
    for path in ("named", "other"):
        (why,) = await measuring.reasons(f"stack/{(await measuring.code(path, DEV)).id}")
        assert "dev is new" in why
        assert measuring.upstream.head[:7] in why


async def test_a_program_only_change_starts_the_stacks_that_name_it(measuring: Syncing) -> None:
    measuring.upstream.checkout("dev", new=True)
    await measuring.pushed({"src/a.c": "2"})
    assert await _started(measuring) == ["named"]
    (run,) = await measuring.runs((await measuring.code("named", DEV)).id)
    assert run.trigger["paths"] == ["src/a.c"]


async def test_a_changed_stack_is_started_whatever_the_default_branch_did_meanwhile(measuring: Syncing) -> None:
    measuring.upstream.checkout("dev", new=True)
    measuring.upstream.commit(measured("other", "other", "# mine"))
    measuring.upstream.checkout("main")
    await measuring.pushed({"src/a.c": "3"})
    assert await _started(measuring) == ["other"]


async def test_a_branch_of_a_branch_is_compared_with_that_one(measuring: Syncing) -> None:
    measuring.upstream.checkout("dev", new=True)
    await measuring.pushed(measured("other", "other", "# mine"))
    measuring.upstream.checkout("topic", new=True)
    await measuring.pushed({"src/a.c": "4"})
    assert await _started(measuring, "refs/heads/topic") == ["named"]


async def test_a_branch_at_an_old_commit_starts_nothing(measuring: Syncing) -> None:
    old = measuring.upstream.head
    await measuring.pushed({"src/a.c": "5"} | measured("other", "other", "# newer"))
    measuring.upstream.branch("dev", old)
    await measuring.sync()
    assert await _started(measuring) == []
    measuring.upstream.checkout("dev")
    await measuring.pushed({"src/a.c": "6"})
    assert await _started(measuring) == ["named"], "from now on it is compared with itself"


async def test_a_moved_and_an_added_stack_are_changes_of_the_branch(measuring: Syncing) -> None:
    measuring.upstream.checkout("dev", new=True)
    measuring.upstream.move("other", "elsewhere/other")
    await measuring.pushed(measured("fresh", "fresh"))
    assert await _started(measuring) == ["elsewhere/other", "fresh"]


async def test_a_history_of_its_own_starts_everything(measuring: Syncing) -> None:
    measuring.upstream.git("checkout", "-q", "--orphan", "dev")
    await measuring.pushed({"src/a.c": "7"})
    assert await _started(measuring) == ["named", "other"]


async def test_the_first_sync_of_a_repository_starts_what_its_branches_changed(syncing: Syncing) -> None:
    syncing.upstream.commit(measured("m", "m") | measured("n", "n"))
    syncing.upstream.branch("same")
    syncing.upstream.checkout("dev", new=True)
    syncing.upstream.commit(measured("n", "n", "# mine"))
    syncing.upstream.checkout("main")
    await syncing.sync()
    assert await _started(syncing, "refs/heads/main") == ["m", "n"]
    assert await _started(syncing, "refs/heads/same") == []
    assert await _started(syncing) == ["n"]


async def test_names_that_clash_as_files_and_directories_follow_each_other(syncing: Syncing) -> None:
    await syncing.pushed(plain("a", "a"))
    head = syncing.upstream.head
    syncing.upstream.branch("feat")
    syncing.upstream.branch(head)
    await syncing.sync()
    assert list(await syncing.codes(f"refs/heads/{head}")) == ["a"]
    syncing.upstream.drop_branch("feat")
    syncing.upstream.branch("feat/a")
    newer = await syncing.pushed(plain("b", "b"))
    assert await syncing.codes("refs/heads/feat") == {}
    assert {c.commit for c in (await syncing.codes("refs/heads/feat/a")).values()} == {head}
    syncing.upstream.drop_branch("feat/a")
    syncing.upstream.branch("feat")
    await syncing.sync()
    assert {c.commit for c in (await syncing.codes("refs/heads/feat")).values()} == {newer}
    assert await syncing.codes("refs/heads/feat/a") == {}
    assert await syncing.events("sync_failed") == []
