"""Users for what root starts in a sandbox: one for each directory and part, given back when nothing of it is left."""

import contextlib
import fcntl
import itertools
import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stackly import uids
from stackly.errors import Exhausted


def _write(path: Path, text: str) -> None:
    """Whole or not at all, also when the machine loses power: one that cannot be read would stop every claim."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with draft.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


@dataclass(frozen=True, slots=True)
class Users:
    """Shape: `root` holds one file for each number given out; `given` is the range, else one is chosen and kept."""

    root: Path
    given: range | None = None

    def claim(self, owner: Path, part: str = "") -> int:
        """The number of (directory, part), as long as the directory is there and after it until its last process ended.

        Raises: Exhausted; Unavailable when this machine has no numbers to give.
        """
        with self._locked() as numbers:
            alive = uids.alive()
            taken = self._swept(alive)
            wanted = (str(owner), part)
            for uid, holder in taken.items():
                if holder == wanted:
                    return uid
            last = max(taken, default=numbers.start - 1)
            for free in itertools.chain(range(last + 1, numbers.stop), numbers):
                if free not in taken and free not in alive:
                    _write(self.root / str(free), json.dumps(wanted))
                    return free
        raise Exhausted(
            f"All {len(numbers)} users of {self.root} are in use; end runs that are over: stackly inventory"
        )

    def end(self, owner: Path) -> None:
        """SIGKILL whatever runs as a user of that directory; meanwhile its numbers are given to nobody else."""
        if not self.root.is_dir():
            return
        with self._locked():
            for uid, (holder, _) in self._known().items():
                if holder == str(owner):
                    end_user(uid)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[range]:
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.root / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield self._range()

    def _range(self) -> range:
        if self.given is not None:
            return self.given
        kept = self.root / "range"
        try:
            first, last = json.loads(kept.read_text())
        except (FileNotFoundError, ValueError):
            chosen = uids.choose()
            _write(kept, json.dumps([chosen.start, chosen.stop]))
            return chosen
        return range(first, last)

    def _swept(self, alive: set[int]) -> dict[int, tuple[str, str]]:
        """Who has which number, after those were given back whose directory and processes are gone."""
        taken = self._known()
        for uid, (owner, _) in list(taken.items()):
            if uid not in alive and not Path(owner).exists():
                (self.root / str(uid)).unlink()
                del taken[uid]
        return taken

    def _known(self) -> dict[int, tuple[str, str]]:
        found = {}
        for file in self.root.iterdir():
            if file.name.isdigit():
                owner, part = json.loads(file.read_text())
                found[int(file.name)] = (owner, part)
        return found


def of_home(home: Path) -> Users:
    """The users that a site agent gives, on its machines too."""
    return Users(home / "users")


def end(home: Path, owner: Path) -> None:
    """SIGKILL whatever runs as a user of that directory: by now it may work elsewhere."""
    of_home(home).end(owner)


def end_user(uid: int) -> None:
    """SIGKILL until that user has no process: what left its group and its directory is still that user's."""
    while found := uids.processes_of(uid):
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
