"""Users for what root starts in a sandbox: one for each directory and part, given back when nothing of it is left."""

import contextlib
import fcntl
import itertools
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stackly import uids
from stackly.errors import Exhausted


def _write(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text)
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
        taken = {}
        for file in self.root.iterdir():
            if not file.name.isdigit():
                continue
            owner, part = json.loads(file.read_text())
            if int(file.name) not in alive and not Path(owner).exists():
                file.unlink()
            else:
                taken[int(file.name)] = (owner, part)
        return taken
