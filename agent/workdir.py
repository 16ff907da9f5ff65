"""Directories a site agent owns, and the processes that live in them.

A process belongs to a directory when its working directory lies under it: that holds for children that left their
group, started a session or blanked their environment (Postgres, providers, provisioners).
"""

import asyncio
import os
import re
import shutil
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from agent.sandbox import users
from stackly import clock
from stackly.errors import Faulty, Invalid

_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,80}")
_TEST = re.compile(r"([A-Za-z0-9][A-Za-z0-9_-]{0,80}(\.[0-9]{1,4})?)?")
_DELETED = " (deleted)"


@dataclass(frozen=True, slots=True)
class Owned:
    """A name `<run>.<test>.<last>`; `test` may be empty or hold one dot, `last` (epoch or machine) holds none."""

    run: str
    test: str
    last: str

    def __str__(self) -> str:
        return f"{self.run}.{self.test}.{self.last}"


def owned(run: str, test: str, last: str) -> Owned:
    """Raises: Invalid when a part could not be a file name of ours."""
    if not (_PART.fullmatch(run) and _TEST.fullmatch(test) and _PART.fullmatch(last)):
        raise Invalid(f"{run!r}, {test!r}, {last!r} do not make a directory name.")
    return Owned(run, test, last)


def parse_owned(name: str) -> Owned | None:
    run, _, rest = name.partition(".")
    test, dot, last = rest.rpartition(".")
    if not (dot and _PART.fullmatch(run) and _TEST.fullmatch(test) and _PART.fullmatch(last)):
        return None
    return Owned(run, test, last)


def private(path: Path, mode: int = 0o700) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(mode)
    return path


def write_private(path: Path, content: bytes) -> None:
    """Write a 0600 file in one step: a reader sees the old content or the new, and nobody else sees any."""
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def give(path: Path, uid: int) -> None:
    """Make a file or a whole directory that user's, without following a link. 0: it stays as it is."""
    if not uid:
        return
    os.chown(path, uid, uid, follow_symlinks=False)
    if path.is_dir() and not path.is_symlink():
        for _, folders, files, at in os.fwalk(path, follow_symlinks=False):
            for name in (*folders, *files):
                os.chown(name, uid, uid, dir_fd=at, follow_symlinks=False)


def lend(path: Path, uid: int) -> None:
    """Let that user read a file that stays ours. 0: it stays as it is."""
    if uid:
        os.chown(path, -1, uid, follow_symlinks=False)
        path.chmod(0o640)


def working_directories() -> Iterator[tuple[int, str]]:
    """(pid, working directory) of every process we may look at; a deleted directory under its old name."""
    for name in os.listdir("/proc"):  # noqa: PTH208 - names alone: a thousand of them, many times a step
        if not name.isdigit():
            continue
        with suppress(OSError):  # it ended, or is another user's
            cwd = os.readlink(f"/proc/{name}/cwd")  # noqa: PTH115 - the same
            yield int(name), cwd.removesuffix(_DELETED)


def occupants(directory: Path) -> list[int]:
    """Pids whose working directory is `directory` or lies under it, we ourselves never."""
    at = os.path.realpath(directory)
    return [pid for pid, cwd in working_directories() if (cwd == at or cwd.startswith(at + "/")) and pid != os.getpid()]


def arguments(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return []


async def end_occupants(directory: Path, *, within_s: float = 30.0) -> list[int]:
    """SIGKILL until nobody is left: a process may fork between the look and the kill. Raises: Faulty if some stay."""
    killed: set[int] = set()
    until = clock.monotonic() + within_s
    while alive := occupants(directory):
        if clock.monotonic() > until:
            raise Faulty(f"Processes {sorted(alive)} in {directory} survive SIGKILL.", pids=sorted(alive))
        for pid in alive:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        killed.update(alive)
        await asyncio.sleep(0.02)
    return sorted(killed)


async def await_empty(directory: Path, within_s: float) -> bool:
    until = clock.monotonic() + within_s
    while occupants(directory):
        if clock.monotonic() > until:
            return False
        await asyncio.sleep(0.05)
    return True


def _delete(directory: Path) -> bool:
    if not directory.exists():
        return False
    shutil.rmtree(directory)
    return True


async def delete(directory: Path) -> bool:
    """Whether it was there. Whoever lives in it ends first."""
    await end_occupants(directory)
    return await asyncio.to_thread(_delete, directory)


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """`<home>/runs/<run>.<test>.<epoch>`: the code, the variables, the saved plan, the state.

    What pushed code may write are the directories of `make`; all else is ours, and its output is not even seen by it.
    """

    root: Path

    @property
    def owner(self) -> Owned:
        found = parse_owned(self.root.name)
        assert found is not None, "only run directories are made into one"
        return found

    @property
    def tree(self) -> Path:
        return self.root / "tree"

    @property
    def state(self) -> Path:
        return self.root / "state" / "terraform.tfstate"

    @property
    def change(self) -> Path:
        """Says that a change began here. It lies outside, where the run's own code cannot write."""
        return self.root.parent / ".changes" / f"{self.root.name}.json"

    @property
    def data(self) -> Path:
        """Terraform's own directory, beside the tree: what a repository brings under its name counts for nothing."""
        return self.root / "data"

    @property
    def plan(self) -> Path:
        return self.root / "plan.tfplan"

    @property
    def approved(self) -> Path:
        """The plan that was approved, while the rest of it is planned anew."""
        return self.root / "approved.tfplan"

    @property
    def draft(self) -> Path:
        """Where Terraform writes a plan; what is applied is our copy of it."""
        return self.root / "draft" / "plan.tfplan"

    @property
    def providers(self) -> Path:
        """This run's provider cache: links to what the home has, and what only this run brought."""
        return self.root / "providers"

    @property
    def variables(self) -> Path:
        return self.root / "variables.tfvars.json"

    @property
    def cli_config(self) -> Path:
        return self.root / "terraform.tfrc"

    @property
    def output(self) -> Path:
        return self.root / "output"

    @property
    def scratch(self) -> Path:
        return self.root / "tmp"

    @property
    def lent(self) -> tuple[Path, ...]:
        """The directories in which pushed code may write."""
        return (self.tree, self.state.parent, self.data, self.scratch, self.draft.parent, self.providers)

    def make(self, uid: int = 0) -> None:
        """Shape: `uid` is the user of the run's code, who then has to walk through what is ours."""
        way = 0o711 if uid else 0o700
        private(self.root.parent, way)
        private(self.root, way)
        private(self.output)
        for path in self.lent:
            private(path)
            give(path, uid)


async def discard(work: RunDirectory) -> None:
    """The directory, and then the record that a change began in it."""
    await delete(work.root)
    await asyncio.to_thread(users.end, work.root.parents[1], work.root)
    work.change.unlink(missing_ok=True)


def run_directory(home: Path, run: str, test: str, epoch: int) -> RunDirectory:
    return RunDirectory(home.absolute() / "runs" / str(owned(run, test, str(epoch))))


def run_directories(home: Path) -> list[RunDirectory]:
    root = home.absolute() / "runs"
    if not root.is_dir():
        return []
    return [RunDirectory(p) for p in sorted(root.iterdir()) if p.is_dir() and parse_owned(p.name)]
