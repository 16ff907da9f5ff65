"""What a change of ours left in a run directory: its state file, and errored.tfstate where that could not be written.

A directory counts only once a change began in it. That stands beside the directory, where no code of a run can write:
what a repository holds, or a plan's code writes, is no state.
"""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from agent import reading, workdir
from agent.terraform.state import Version, parse
from stackly import log

STATE_MOST = 64 * 1024 * 1024  # what the gateway takes of a state
_log = log.get("agent.terraform")
_ERRORED = "errored.tfstate"


@dataclass(frozen=True, slots=True)
class Change:
    """A change that began. Shape: the base's lineage, '' without one; `module` is Terraform's directory in the tree."""

    lineage: str
    serial: int
    module: str

    def admits(self, version: Version) -> bool:
        return self.lineage in ("", version.lineage) and version.serial >= self.serial


def begin(work: workdir.RunDirectory, module: Path, base: Version | None) -> None:
    """From now on what Terraform leaves here counts. What stands in the way of its own files goes."""
    path = module / _ERRORED
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    change = Change(base.lineage if base else "", base.serial if base else 0, str(module.relative_to(work.tree)))
    workdir.private(work.change.parent)
    workdir.write_private(work.change, json.dumps(asdict(change)).encode())


def begun(work: workdir.RunDirectory) -> Change | None:
    try:
        return Change(**json.loads(work.change.read_bytes()))
    except FileNotFoundError:
        return None


def read(work: workdir.RunDirectory, path: Path) -> Version | None:
    """None: no file, or no whole state. Raises: FileUnsafe for what is no plain file of the run."""
    try:
        return parse(reading.read_regular(work.root, path, most=STATE_MOST))
    except FileNotFoundError:
        return None


def errored(work: workdir.RunDirectory) -> Version | None:
    """What Terraform kept when it could not write the state. Raises: FileUnsafe."""
    change = begun(work)
    found = read(work, _errored_path(work, change)) if change else None
    if change is None or found is None or not change.admits(found):
        return None
    beside = _quietly(work, work.state)
    return found if beside is None or beside.lineage == found.lineage else None


def _errored_path(work: workdir.RunDirectory, change: Change) -> Path:
    return work.tree / change.module / _ERRORED


def _quietly(work: workdir.RunDirectory, path: Path) -> Version | None:
    try:
        return read(work, path)
    except reading.FileUnsafe:
        return None


def read_all(work: workdir.RunDirectory) -> tuple[list[Version], dict[Path, str]]:
    """What a change left here. Shape: (whole states, why each other file is none)."""
    change = begun(work)
    if change is None:
        return [], {}
    versions: list[Version] = []
    broken: dict[Path, str] = {}
    for path in (work.state, _errored_path(work, change)):
        try:
            stands = reading.stands(work.root, path)
            version = read(work, path) if path == work.state else errored(work)
        except reading.FileUnsafe as error:
            _log.warning("state.not_read", path=str(path), reason=error.detail)
            broken[path] = error.detail
            continue
        if version is not None and change.admits(version):
            versions.append(version)
        elif stands and version is None and path == work.state:
            broken[path] = f"{path} is empty or torn."
    return versions, broken


def adopt_earlier(home: Path) -> None:
    """Directories of an earlier release have no record of their changes: once, whatever they hold counts."""
    root = home.absolute() / "runs"
    stamp = root / ".layout"
    if stamp.exists():
        return
    for work in workdir.run_directories(home):
        paths = [work.state, *sorted(work.tree.rglob(_ERRORED))]
        found = [version for path in paths if (version := _quietly(work, path))]
        if found:
            best = max(found, key=lambda version: version.serial)
            workdir.write_private(work.state, best.content)
        if found or reading.stands(work.root, work.state):
            _record_earlier(work, found)
    workdir.private(root)
    workdir.write_private(stamp, b"2\n")


def _record_earlier(work: workdir.RunDirectory, found: list[Version]) -> None:
    best = max(found, key=lambda version: version.serial, default=None)
    change = Change(best.lineage if best else "", best.serial if best else 0, ".")
    workdir.private(work.change.parent)
    workdir.write_private(work.change, json.dumps(asdict(change)).encode())
