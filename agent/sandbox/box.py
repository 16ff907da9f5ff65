"""What a command in a sandbox may see."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Kind(StrEnum):
    """How a command is kept from what is not its own."""

    BUBBLEWRAP = "bubblewrap"  # own view of the file system, own processes; as root, a user of its own besides
    USER = "user"  # a user of its own, which only root can give
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Box:
    """Shape: paths are absolute and appear where they are: recovery and inventory look for working directories.

    `writable` and `readable` may name files; `uid` is a user of its own, 0 where we are not root. The programs and
    certificates of the system and the network are there besides.
    """

    cwd: Path
    writable: tuple[Path, ...]
    env: Mapping[str, str]
    readable: tuple[Path, ...] = ()
    uid: int = 0
