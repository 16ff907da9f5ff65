"""What pushed code may have written is read as a plain file or not at all."""

import os
import threading
from pathlib import Path

import pytest

from agent import reading
from agent.reading import FileUnsafe


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "token").write_text("secret")
    return folder


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    folder = tmp_path / "ours"
    (folder / "a" / "b").mkdir(parents=True)
    return folder


def test_a_plain_file_is_read_and_an_absent_one_is_absent(ours: Path) -> None:
    (ours / "a" / "b" / "f").write_bytes(b"12345")
    assert reading.read_regular(ours, ours / "a" / "b" / "f", most=5) == b"12345"
    for absent in ("g", "a/c/f"):
        with pytest.raises(FileNotFoundError):
            reading.read_regular(ours, ours / absent, most=5)
        assert not reading.stands(ours, ours / absent)


def test_what_is_larger_than_it_may_be_is_refused(ours: Path) -> None:
    (ours / "f").write_bytes(b"123456")
    with pytest.raises(FileUnsafe, match="6 bytes, and 5 are the most"):
        reading.read_regular(ours, ours / "f", most=5)


def test_links_at_every_depth_are_refused(ours: Path, outside: Path) -> None:
    (ours / "link").symlink_to(outside / "token")
    (ours / "a" / "c").symlink_to(outside)
    (ours / "d").symlink_to(outside.parent)
    (ours / "within").symlink_to(ours / "a")
    (ours / "a" / "f").write_bytes(b"x")
    for path in ("link", "a/c/token", "d/outside/token", "within/f"):
        with pytest.raises(FileUnsafe, match="a link"):
            reading.read_regular(ours, ours / path, most=100)
    assert reading.stands(ours, ours / "link")


def test_a_dangling_link_stands(ours: Path) -> None:
    (ours / "f").symlink_to(ours / "nowhere")
    assert reading.stands(ours, ours / "f")


def test_a_way_out_is_refused(ours: Path, outside: Path) -> None:
    with pytest.raises(FileUnsafe, match="leads out"):
        reading.read_regular(ours, ours / ".." / outside.name / "token", most=100)


def test_a_fifo_is_refused_and_nobody_waits(ours: Path) -> None:
    os.mkfifo(ours / "f")
    with pytest.raises(FileUnsafe, match="no regular file"):
        reading.read_regular(ours, ours / "f", most=100)


@pytest.mark.parametrize("path", ["a", "/dev/zero"])
def test_directories_and_devices_are_refused(ours: Path, path: str) -> None:
    trusted = Path("/dev") if path.startswith("/dev") else ours
    with pytest.raises(FileUnsafe):
        reading.read_regular(trusted, trusted / path, most=100)


def test_a_second_name_of_another_file_is_refused(ours: Path, outside: Path) -> None:
    (ours / "f").hardlink_to(outside / "token")
    with pytest.raises(FileUnsafe, match="second name"):
        reading.read_regular(ours, ours / "f", most=100)


def test_whoever_swaps_names_while_they_are_read_gains_nothing(ours: Path, outside: Path) -> None:
    (ours / "a" / "token").write_bytes(b"mine")
    (ours / "evil").symlink_to(outside)
    over = threading.Event()

    def swap() -> None:
        while not over.is_set():
            (ours / "a").rename(ours / "kept")
            (ours / "evil").rename(ours / "a")
            (ours / "a").rename(ours / "evil")
            (ours / "kept").rename(ours / "a")

    swapping = threading.Thread(target=swap)
    swapping.start()
    seen: list[bytes] = []
    refused = 0
    try:
        while refused < 20 or len(seen) < 20:
            try:
                seen.append(reading.read_regular(ours, ours / "a" / "token", most=100))
            except (FileUnsafe, FileNotFoundError):
                refused += 1
    finally:
        over.set()
        swapping.join()
    assert set(seen) == {b"mine"}
