import asyncio
import json
import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import reading, workdir
from agent.site import SiteWork
from agent.terraform import leftovers, mirroring, state
from stackly.errors import Conflict, Faulty
from tests.agent.site_parts import FakeContext, key

Json = dict[str, Any]


def version(serial: int, lineage: str = "L", resources: Sequence[Json] = ()) -> bytes:
    return json.dumps({"version": 4, "serial": serial, "lineage": lineage, "resources": list(resources)}).encode()


def parsed(content: bytes) -> state.Version:
    found = state.parse(content)
    assert found is not None
    return found


async def restored(home: Path, work: workdir.RunDirectory, context: FakeContext, grace_s: float) -> state.Version:
    found = await mirroring.restore(home, work, context, grace_s)
    assert found is not None
    return found


def made(
    tmp_path: Path, run: str = "r1", test: str = "tpcb", epoch: int = 1, content: bytes | None = None
) -> workdir.RunDirectory:
    """A run directory; with content, one in which a change began."""
    work = workdir.run_directory(tmp_path, run, test, epoch)
    work.make()
    if content is not None:
        leftovers.begin(work, work.tree, None)
        work.state.write_bytes(content)
    return work


@pytest.mark.parametrize(
    "content", [b"", b"{", b"null", b"[]", b"{}", version(3)[:-2], b'{"serial": 1, "lineage": ""}']
)
def test_what_is_no_whole_state_is_none(content: bytes) -> None:
    assert state.parse(content) is None


@given(st.integers(0, 200))
def test_a_torn_state_never_counts(cut: int) -> None:
    whole = version(7)
    assert state.parse(whole[:cut]) is None or cut >= len(whole)


@given(st.lists(st.tuples(st.integers(0, 50), st.sampled_from("LM"))), st.one_of(st.none(), st.integers(0, 50)))
def test_the_newest_is_of_the_stored_lineage_and_of_the_highest_serial(
    files: list[tuple[int, str]], stored_serial: int | None
) -> None:
    stored = None if stored_serial is None else parsed(version(stored_serial))
    versions = [parsed(version(s, lineage)) for s, lineage in files]
    chosen = state.newest(stored, versions)
    if stored is None:
        assert (chosen.serial if chosen else None) == max((s for s, _ in files), default=None)
    else:
        assert chosen is not None
        assert chosen.lineage == "L"
        assert chosen.serial == max([stored.serial, *(s for s, lineage in files if lineage == "L")])


async def test_recovery_takes_a_newer_file_over_the_stored_version_and_stores_it(tmp_path: Path) -> None:
    made(tmp_path, epoch=1, content=version(5))
    work = made(tmp_path, epoch=2)
    context = FakeContext(key(epoch=2), base=version(3))
    found = await restored(tmp_path, work, context, 0.1)
    assert found.serial == 5
    assert work.state.read_bytes() == version(5)
    assert context.states == [version(5)]


async def test_recovery_keeps_the_stored_version_when_the_file_is_older_or_of_another_lineage(tmp_path: Path) -> None:
    made(tmp_path, epoch=1, content=version(9, "other"))
    work = made(tmp_path, epoch=2, content=version(2))
    context = FakeContext(key(epoch=2), base=version(3))
    assert (await restored(tmp_path, work, context, 0.1)).serial == 3
    assert context.states == []
    assert work.state.stat().st_mode & 0o777 == 0o600


async def test_recovery_finds_a_file_of_the_same_lineage_in_another_runs_directory(tmp_path: Path) -> None:
    made(tmp_path, run="benchmark", content=version(8))
    made(tmp_path, run="stranger", content=version(90, "other"))
    work = made(tmp_path, run="destroy", test="")
    assert (await restored(tmp_path, work, FakeContext(key("destroy", ""), base=version(6)), 0.1)).serial == 8


async def test_an_empty_file_is_never_no_state(tmp_path: Path) -> None:
    work = made(tmp_path, content=b"")
    with pytest.raises(Faulty, match="empty or torn"):
        await mirroring.restore(tmp_path, work, FakeContext(key()), 0.1)


async def test_an_empty_file_beside_a_stored_version_is_replaced_by_it(tmp_path: Path) -> None:
    work = made(tmp_path, content=b"")
    assert (await restored(tmp_path, work, FakeContext(key(), base=version(4)), 0.1)).serial == 4
    assert work.state.read_bytes() == version(4)


async def test_without_any_version_there_is_none_and_no_file_is_made(tmp_path: Path) -> None:
    work = made(tmp_path)
    assert await mirroring.restore(tmp_path, work, FakeContext(key()), 0.1) is None
    assert not work.state.exists()


async def test_the_mirror_sends_in_order_skips_torn_and_foreign_and_always_the_last(tmp_path: Path) -> None:
    work = made(tmp_path)
    path = work.state
    context = FakeContext(key())
    mirror = mirroring.StateMirror(work, context, state.parse(version(2)), every_s=0.01)
    for content in (b"", version(1), version(3), version(3)[:9], version(4), version(9, "other"), version(5)):
        path.write_bytes(content)
        await asyncio.sleep(0.03)
    path.write_bytes(version(6))
    await mirror.finish()
    serials = [json.loads(s)["serial"] for s in context.states]
    assert serials == sorted(set(serials))
    assert serials[-1] == 6
    assert set(serials) <= {3, 4, 5, 6}


async def test_the_mirror_coalesces_while_the_platform_is_slow(tmp_path: Path) -> None:
    work = made(tmp_path)
    path = work.state
    gate = asyncio.Event()

    class Slow(FakeContext):
        async def write_state(self, state: bytes) -> tuple[bool, str]:
            await gate.wait()
            return await super().write_state(state)

    context = Slow(key())
    mirror = mirroring.StateMirror(work, context, None, every_s=0.005)
    for serial in range(1, 30):
        path.write_bytes(version(serial))
        await asyncio.sleep(0.01)
    gate.set()
    await mirror.finish()
    assert json.loads(context.states[-1])["serial"] == 29
    assert len(context.states) == 2


async def test_a_refused_last_version_is_an_error(tmp_path: Path) -> None:
    work = made(tmp_path)
    path = work.state
    path.write_bytes(version(1))
    mirror = mirroring.StateMirror(work, FakeContext(key(), refuse="stale epoch"), None)
    with pytest.raises(Conflict, match="stale epoch"):
        await mirror.finish()


async def test_a_cancelled_step_does_not_wait_for_a_platform_that_stays_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirroring, "STEP_GRACE", timedelta(seconds=0.1))
    work = made(tmp_path)
    path = work.state
    path.write_bytes(version(1))

    class Away(FakeContext):
        async def write_state(self, state: bytes) -> tuple[bool, str]:
            await asyncio.Event().wait()
            return True, ""

    context = Away(key())
    mirror = mirroring.StateMirror(work, context, None)
    asyncio.get_running_loop().call_later(0.05, context.cancelled.set)
    with pytest.raises(Faulty, match="sends it later"):
        await mirror.finish()


def linked(path: Path, secret: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(secret)


def piped(path: Path, secret: Path) -> None:
    del secret
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def named_twice(path: Path, secret: Path) -> None:
    path.unlink(missing_ok=True)
    path.hardlink_to(secret)


def below_a_link(path: Path, secret: Path) -> None:
    path.unlink(missing_ok=True)
    path.parent.rmdir()
    path.parent.symlink_to(secret.parent)


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file that is a whole state, newer than any, and none of the run's."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "terraform.tfstate").write_bytes(version(99))
    return folder / "terraform.tfstate"


@pytest.mark.parametrize("replace", [linked, piped, named_twice, below_a_link])
async def test_what_replaced_the_state_is_refused_by_its_reason_and_never_followed(
    tmp_path: Path, secret: Path, replace: Callable[[Path, Path], None]
) -> None:
    work = made(tmp_path, content=version(4))
    replace(work.state, secret)
    with pytest.raises(reading.FileUnsafe, match="is not read"):
        leftovers.read(work, work.state)
    with pytest.raises(Faulty, match="is not read"):
        await mirroring.restore(tmp_path, work, FakeContext(key()), 0.1)


async def test_what_replaced_the_state_leaves_the_stored_version(tmp_path: Path, secret: Path) -> None:
    work = made(tmp_path, content=version(4))
    linked(work.state, secret)
    context = FakeContext(key(), base=version(3))
    assert (await restored(tmp_path, work, context, 0.1)).serial == 3
    assert "is not read" in context.text
    assert context.states == []
    assert not work.state.is_symlink()
    assert work.state.read_bytes() == version(3)


@pytest.mark.parametrize("replace", [linked, piped, named_twice])
async def test_a_state_that_was_replaced_while_terraform_works_ends_the_step_with_its_reason(
    tmp_path: Path, secret: Path, replace: Callable[[Path, Path], None]
) -> None:
    work = made(tmp_path, content=version(4))
    context = FakeContext(key())
    mirror = mirroring.StateMirror(work, context, None, every_s=0.005)
    while not context.states:  # noqa: ASYNC110 - the mirror works beside us
        await asyncio.sleep(0.005)
    replace(work.state, secret)
    with pytest.raises(reading.FileUnsafe, match="is not read"):
        await mirror.finish()
    assert context.states == [version(4)]


async def test_at_the_next_start_a_replaced_state_is_passed_over(tmp_path: Path, secret: Path) -> None:
    linked(made(tmp_path, run="r1").state, secret)
    made(tmp_path, run="r2", content=version(7))
    (found,) = await SiteWork(tmp_path, "agent-1").unfinished()
    assert (found.run, found.state) == ("r2", version(7))
