import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import workdir
from stackly.errors import Invalid

RUNS = st.from_regex(r"[0-9a-z]{1,18}", fullmatch=True)
TESTS = st.from_regex(r"([a-z][a-z0-9-]{0,20}(\.[0-9]{1,2})?)?", fullmatch=True)
LASTS = st.from_regex(r"[a-z0-9][a-z0-9-]{0,20}", fullmatch=True)


@given(RUNS, TESTS, LASTS)
def test_a_name_reads_back_as_its_parts(run: str, test: str, last: str) -> None:
    name = workdir.owned(run, test, last)
    assert workdir.parse_owned(str(name)) == name


@pytest.mark.parametrize("part", ["", "../x", "a/b", ".", "a b"])
def test_a_part_that_could_leave_the_directory_is_refused(part: str) -> None:
    with pytest.raises(Invalid):
        workdir.owned(part, "t", "1")
    with pytest.raises(Invalid):
        workdir.owned("r", "t", part)


@pytest.mark.parametrize("name", ["", "a", "a.b", ".init.lock", "a.b.c.d.e", "..", "a..b.c"])
def test_other_names_are_not_taken_for_ours(name: str) -> None:
    assert workdir.parse_owned(name) is None


def test_a_private_file_is_private_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    workdir.write_private(path, b"one")
    workdir.write_private(path, b"two")
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["secret"]


async def test_ending_occupants_finds_those_who_left_their_session_and_their_directory(tmp_path: Path) -> None:
    home, other = tmp_path / "a", tmp_path / "ab"  # a neighbour whose name begins alike
    (home / "inner").mkdir(parents=True)
    other.mkdir()
    script = "import os,time\nos.setsid() if os.fork() == 0 else None\ntime.sleep(600)"
    inside = subprocess.Popen(  # noqa: ASYNC220 - it must outlive the loop
        [sys.executable, "-c", script], cwd=home / "inner"
    )
    beside = subprocess.Popen(  # noqa: ASYNC220 - the same
        ["sleep", "600"], cwd=other
    )
    while len(workdir.occupants(home)) < 2:
        assert inside.poll() is None
    (home / "inner").rmdir()
    try:
        ended = await workdir.end_occupants(home)
        assert inside.pid in ended
        assert len(ended) == 2
        assert workdir.occupants(home) == []
        assert beside.poll() is None
    finally:
        beside.kill()
        beside.wait()
        inside.wait()


async def test_delete_says_whether_anything_was_there(tmp_path: Path) -> None:
    (tmp_path / "x" / "y").mkdir(parents=True)
    assert await workdir.delete(tmp_path / "x")
    assert not await workdir.delete(tmp_path / "x")


def test_we_are_never_among_the_occupants(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert os.getpid() not in workdir.occupants(tmp_path)
