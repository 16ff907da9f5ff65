"""Numbers of users that are nobody's on this machine, for what must not share a user with anything."""

import grp
import os
import pwd
import random
import re
from collections.abc import Iterator
from pathlib import Path

from stackly.errors import Unavailable

# Above what systems give to people, services and their subordinate ranges; and, where a container maps few numbers,
# between those of people and `nobody`. Shape: (first, behind the last, how many a home takes).
_WIDE = (1 << 30, 1 << 31, 4096)
_NARROW = (20_000, 60_000, 512)
# The kernel escapes line feeds of a process's name, and puts its groups behind what is looked for.
_STATUS_MOST = 4096
_OF_PROCESS = re.compile(rb"^State:\t(\w)[^\0]*?^Uid:\t(\d+)\t(\d+)\t(\d+)\t(\d+)$", re.MULTILINE)


def _mapped() -> list[range]:
    """The numbers that exist in our user namespace; elsewhere setuid fails."""
    try:
        lines = Path("/proc/self/uid_map").read_text().rstrip("\n").split("\n")
    except OSError:
        return [range(1 << 32)]
    found = [[int(word) for word in line.split()] for line in lines]
    return [range(inner, inner + count) for inner, _, count in found]


def _subordinate() -> list[range]:
    found = []
    for name in ("/etc/subuid", "/etc/subgid"):
        try:
            lines = Path(name).read_text(errors="replace").split("\n")
        except OSError:
            continue
        for line in lines:
            parts = line.split(":")
            if len(parts) == 3 and parts[1].isdigit() and parts[2].isdigit():
                found.append(range(int(parts[1]), int(parts[1]) + int(parts[2])))
    return found


def choose() -> range:
    """A block that no account and no subordinate range has. Raises: Unavailable where there is none."""
    taken = {user.pw_uid for user in pwd.getpwall()} | {group.gr_gid for group in grp.getgrall()}
    others = _subordinate()
    for first, last, size in (_WIDE, _NARROW):
        blocks = list(range(first, last, size))
        for start in random.SystemRandom().sample(blocks, min(64, len(blocks))):
            block = range(start, start + size)
            exists = any(block.start in m and block[-1] in m for m in _mapped())
            meets = any(block.start < other.stop and other.start < block.stop for other in others)
            if exists and not meets and not taken & set(block):
                return block
    raise Unavailable("This machine has no free block of user numbers; start Stackly as an ordinary user.")


def alive() -> set[int]:
    """Every number that a process has as any of its users."""
    return {uid for pid in _processes() for uid in of_process(pid)}


def processes_of(uid: int) -> list[int]:
    """Shape: pids of those that have it as any of their users."""
    return [pid for pid in _processes() if uid in of_process(pid)]


def _processes() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208 - names alone, a thousand


def of_process(pid: int) -> tuple[int, ...]:
    """Real, effective, saved and file-system user; () for one that is gone, also for a zombie.

    Asked of every process before each command of a run, so its file is searched as it is: on a machine with many
    processes a parser costs more than the command.
    """
    try:
        with open(f"/proc/{pid}/status", "rb", buffering=0) as file:  # noqa: PTH123 - the same
            found = _OF_PROCESS.search(file.read(_STATUS_MOST))
    except OSError:
        return ()
    return tuple(map(int, found.group(2, 3, 4, 5))) if found and found[1] not in b"ZX" else ()
