"""Whose processes live: asked of a kernel that shows whatever a process calls itself."""

import ctypes
import os
from pathlib import Path

import pytest

from stackly import uids

_PR_SET_NAME = 15


@pytest.mark.parametrize(
    "name", [b"caf\xe9", b"\xff\xfe", "a\u2028State: Z".encode(), "a\x85Uid:\t0".encode(), b"a\nUid:\t7", b"a:b"]
)
def test_what_a_process_calls_itself_hides_and_stops_nothing(name: bytes) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    before = Path(f"/proc/{os.getpid()}/comm").read_bytes().rstrip(b"\n")
    assert libc.prctl(_PR_SET_NAME, name, 0, 0, 0) == 0
    try:
        assert uids.of_process(os.getpid()) == (os.getuid(), os.geteuid(), os.geteuid(), os.geteuid())
        assert os.geteuid() in uids.alive()
    finally:
        libc.prctl(_PR_SET_NAME, before, 0, 0, 0)
