"""One part of a machine, its database or its load: a user and directories of its own for all of its commands."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from agent import workdir
from agent.sandbox.box import Box, Kind
from agent.sandbox.isolation import Isolation


@dataclass(frozen=True, slots=True)
class Part:
    """Shape: `home` is the machine's directory; `writable` are its own, `readable` is what it needs of ours.

    `launcher` goes before the sandbox: it enters a machine's network.
    """

    isolation: Isolation
    home: Path
    uid: int
    writable: tuple[Path, ...] = ()
    readable: tuple[Path, ...] = ()
    launcher: tuple[str, ...] = ()

    @property
    def kind(self) -> Kind:
        return self.isolation.kind

    def writing(self, *directories: Path) -> "Part":
        """Make directories its own. What lies above them is ours, and must let it through."""
        for directory in directories:
            workdir.private(directory)
            workdir.give(directory, self.uid)
        return replace(self, writable=(*self.writable, *directories))

    def seeing(self, *paths: Path) -> "Part":
        return replace(self, readable=(*self.readable, *paths))

    def box(self, cwd: Path, env: Mapping[str, str]) -> Box:
        return Box(cwd, self.writable, env, tuple(path for path in self.readable if path.exists()), self.uid)


def of(isolation: Isolation, owner: Path, name: str, launcher: tuple[str, ...] = ()) -> Part:
    """The part of the machine in directory `owner`. Raises: Exhausted, Unavailable."""
    owner.mkdir(mode=0o700, parents=True, exist_ok=True)
    uid = isolation.uid(owner, name)
    if uid:
        workdir.private(owner, 0o711)
    return Part(isolation, owner, uid, launcher=launcher)
