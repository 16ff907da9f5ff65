"""The one detached process of a home that keeps its components alive: `python -m stackly.local.supervisor HOME`."""

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from stackly import log
from stackly.errors import Conflict, StacklyError
from stackly.local import components, keeper, processes
from stackly.local.component import Component, State, Status
from stackly.local.home import Home, configured, write_private

_LOG = log.get("supervisor")


class AlreadyRunning(Conflict):
    title = "Another supervisor keeps this home."


def state_file(home: Home) -> Path:
    return home.supervisor / "status.json"


def read_state(home: Home) -> tuple[processes.Alive | None, list[Status]]:
    """The supervisor as last written, and its components; nothing before the first start or after a damage."""
    try:
        told = json.loads(state_file(home).read_text())
        who = processes.Alive(told["pid"], told["started"])
        return who, [Status.of(c) for c in told["components"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None, []


class Board:
    """What is known of every component, kept on disk: the next supervisor adopts by it."""

    def __init__(self, home: Home, given: Sequence[Component]) -> None:
        self._home = home
        self._self = processes.identify(os.getpid())
        _, before = read_state(home)
        known = {s.name: s for s in before}
        self.statuses = {c.name: known.get(c.name) or Status(c.name, c.address) for c in given}
        for c in given:
            status = self.statuses[c.name]
            status.address = c.address
            if status.state is State.STOPPED:  # it was stopped on purpose: its story starts anew
                status.restarts, status.reason = 0, None
            if not keeper.adoptable(c, status):  # nobody may read an old `running` as the new one's
                status.state, status.process = State.WAITING, None

    def write(self) -> None:
        assert self._self is not None
        told = {
            "pid": self._self.pid,
            "started": self._self.started,
            "components": [s.as_json() for s in self.statuses.values()],
        }
        write_private(state_file(self._home), json.dumps(told, indent=2))


@contextlib.contextmanager
def only_one(home: Home) -> Iterator[None]:
    """Raises: AlreadyRunning while another supervisor of this home lives."""
    with (home.supervisor / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning(f"Another supervisor keeps {home.path} already.") from None
        yield


async def supervise(home: Home, given: Sequence[Component]) -> None:
    """Keep the components until SIGTERM or SIGINT, then stop them in reverse order."""
    board = Board(home, given)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    board.write()
    keepers = {c.name: keeper.Keeper(c, board.statuses[c.name], home, board.write) for c in given}
    tasks = [
        asyncio.create_task(k.keep([keepers[n].is_ready for n in k.component.needs if n in keepers]), name=name)
        for name, k in keepers.items()
    ]
    _LOG.info("supervisor.started", home=str(home.path), components=list(keepers))
    ended = asyncio.create_task(stop.wait())
    await asyncio.wait([ended, *tasks], return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    for failed in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(failed, Exception):
            _LOG.error("keeper.failed", error=repr(failed))
    for k in reversed(keepers.values()):
        await k.stop()
    board.write()
    _LOG.info("supervisor.stopped")


def run(home: Home, given: Sequence[Component]) -> None:
    home.make()
    log.configure("supervisor")
    with only_one(home):
        asyncio.run(supervise(home, given))


def main(argv: list[str]) -> None:
    home = Home(Path(argv[0]).resolve())
    try:
        run(home, components.of(home, configured(home)))
    except StacklyError as e:
        sys.exit(e.detail)


if __name__ == "__main__":
    main(sys.argv[1:])
