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
from stackly.errors import Conflict, StacklyError, reason_of
from stackly.local import components, keeper, machines, processes, release, replacing
from stackly.local.component import Component, State, Status
from stackly.local.home import Home, configured, write_private

_LOG = log.get("supervisor")
_AGAIN_S = 1.0
_REPLACED = "what ran by other code, or another command, is ended first"


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


def note_stopped(home: Home) -> None:
    """Write for a supervisor that was killed what it would have written itself: its components were ended."""
    try:
        told = json.loads(state_file(home).read_text())
        stopped = {"state": State.STOPPED.value, "pid": None, "started": None}
        told["components"] = [{**each, **stopped} for each in told["components"]]
        write_private(state_file(home), json.dumps(told, indent=2))
    except (OSError, ValueError, KeyError, TypeError):
        return  # nothing was started here, or nothing can be written: `status` then looks by itself


def read_release(home: Home, whose: str = "release") -> str:
    """The code that the supervisor was started with; '' where it did not say, as an earlier release did not.

    `whose` is `release`, or `agents` for the code of the machines' agents alone.
    """
    try:
        return str(json.loads(state_file(home).read_text()).get(whose, ""))
    except (OSError, ValueError, AttributeError):
        return ""


class Note:
    """One sentence for `status`, kept where it can be written without a free block or a new file handle."""

    _BYTES = 4096

    def __init__(self, home: Home) -> None:
        self._handle: int | None = None
        with contextlib.suppress(OSError):  # then status looks at the home by itself
            self._handle = os.open(note_file(home), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.posix_fallocate(self._handle, 0, self._BYTES)
        self.write("")

    def write(self, sentence: str) -> None:
        if self._handle is not None:
            with contextlib.suppress(OSError):
                os.pwrite(self._handle, sentence.encode()[: self._BYTES].ljust(self._BYTES), 0)


def note_file(home: Home) -> Path:
    return home.supervisor / "note"


def read_note(home: Home) -> str:
    try:
        return note_file(home).read_bytes().decode(errors="replace").strip()
    except OSError:
        return ""


class Board:
    """What is known of every component, kept on disk: the next supervisor adopts by it."""

    def __init__(self, home: Home, given: Sequence[Component]) -> None:
        self._home = home
        self._self = processes.identify(os.getpid())
        self._note = Note(home)
        self.is_saved = True
        _, before = read_state(home)
        known = {s.name: s for s in before}
        self._given = {c.name for c in given}
        self.outdated = replacing.outdated(given, known)
        self._agents = read_release(home, "agents") if known else release.of_agents()
        self.statuses = {c.name: known.get(c.name) or Status(c.name, c.address) for c in given}
        for c in given:
            status = self.statuses[c.name]
            status.address = c.address
            if status.state is State.STOPPED:  # it was stopped on purpose: its story starts anew
                status.restarts, status.reason = 0, None
            if not keeper.adoptable(c, status):  # nobody may read an old `running` as the new one's
                status.state, status.process = State.WAITING, None
        for one in self.outdated:  # known until it has ended, whatever becomes of us
            status = self.statuses.setdefault(one.name, known[one.name])
            status.state, status.process, status.reason, status.restarts = State.WAITING, one.who, _REPLACED, 0

    def write(self) -> None:
        """Never raises: where nothing can be written, what is known stays in memory, and the note says so."""
        assert self._self is not None
        told = {
            "pid": self._self.pid,
            "started": self._self.started,
            "release": release.fingerprint(),
            "agents": self._agents,
            "components": [s.as_json() for s in self.statuses.values()],
        }
        try:
            write_private(state_file(self._home), json.dumps(told, indent=2))
        except OSError as e:
            if self.is_saved:
                self._note.write(f"The supervisor lives and cannot write what it knows. {reason_of(e)}")
                _LOG.warning("supervisor.cannot_write", reason=reason_of(e))
            self.is_saved = False
            return
        if not self.is_saved:
            self._note.write("")
            self.is_saved = True
            _LOG.info("supervisor.writes_again")

    async def replace(self) -> None:
        """End what is of other code. Machines too, where their agents' code is other: they are processes as well."""
        await replacing.end(self.outdated)
        if self._agents != release.of_agents():
            await self._end_machines()
            self._agents = release.of_agents()
        for one in self.outdated:
            status = self.statuses[one.name]
            status.process, status.reason = None, None
            if one.name not in self._given:
                del self.statuses[one.name]
        self.outdated = []
        self.write()

    async def _end_machines(self) -> None:
        try:
            await asyncio.to_thread(machines.end, self._home, remember=True, reason=machines.REPLACED)
        except StacklyError as e:  # the site agent looks at them too, and the platform has to start
            _LOG.warning("machines.not_ended", reason=reason_of(e))

    async def keep_trying(self) -> None:
        """What could not be written is written when it can be."""
        while True:
            await asyncio.sleep(_AGAIN_S)
            if not self.is_saved:
                self.write()


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
    await board.replace()
    keepers = {c.name: keeper.Keeper(c, board.statuses[c.name], home, board.write) for c in given}
    tasks = [
        asyncio.create_task(_kept(k, [keepers[n].is_ready for n in k.component.needs if n in keepers]), name=name)
        for name, k in keepers.items()
    ]
    tasks.append(asyncio.create_task(board.keep_trying()))
    _LOG.info("supervisor.started", home=str(home.path), components=list(keepers))
    await stop.wait()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for k in reversed(keepers.values()):
        await _stopped(k)
    board.write()
    _LOG.info("supervisor.stopped")


async def _kept(one: keeper.Keeper, needs: Sequence[asyncio.Event]) -> None:
    """A keeper that fails as nobody foresaw is started anew; the supervisor and the other keepers live."""
    while True:
        try:
            await one.keep(needs)
        except Exception:  # noqa: BLE001 - as this function is for
            _LOG.exception("keeper.failed", name=one.component.name)
        await asyncio.sleep(_AGAIN_S)


async def _stopped(one: keeper.Keeper) -> None:
    try:
        await one.stop()
    except Exception:  # noqa: BLE001 - the others have to be stopped as well
        _LOG.exception("keeper.not_stopped", name=one.component.name)


def run(home: Home, given: Sequence[Component]) -> None:
    home.make()
    log.configure("supervisor")
    with only_one(home):
        asyncio.run(supervise(home, given))


def main(argv: list[str]) -> None:
    home = Home(Path(argv[0]).resolve())
    try:
        run(home, components.of(home, configured(home)))
    except (StacklyError, OSError) as e:
        sys.exit(reason_of(e))


if __name__ == "__main__":
    main(sys.argv[1:])
