"""Keep one component: clear leftovers, start, probe, watch, start again."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from stackly import clock, log, texts
from stackly.errors import StacklyError, Unavailable, reason_of
from stackly.local import processes
from stackly.local.component import Component, Health, State, Status
from stackly.local.home import Home, free
from stackly.local.progress import Progress

_LOG = log.get("supervisor")
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 5.0
_STABLE_S = 30.0  # a component that lived so long starts its back-off anew
_HEALTH_S = 5.0
_PROGRESS_S = 5.0
_LOG_BYTES = 10_000_000
_OLD_LOGS = 3
# A caller's login is not the components' business.
_OURS_ALONE = ("STACKLY_TOKEN", "STACKLY_SERVER", "TF_CLI_CONFIG_FILE")


class Keeper:
    """`status` is shared with the board; `changed` writes it down."""

    def __init__(self, component: Component, status: Status, home: Home, changed: Callable[[], None]) -> None:
        self.component = component
        self.is_ready = asyncio.Event()
        self._status = status
        self._home = home
        self._changed = changed
        self._child: subprocess.Popen[bytes] | None = None
        self._set_up = False
        self._lacks: str | None = None

    async def keep(self, needs: Sequence[asyncio.Event]) -> None:
        """Runs until it is cancelled, whatever happens to the component or is missing on the machine."""
        adopted = self._adopt()
        if not adopted:
            self._tell(State.WAITING, None)
            for need in needs:
                await need.wait()
        pause = _FIRST_PAUSE_S
        while True:
            began = clock.monotonic()
            try:
                if not adopted:
                    await self._start()
                why = await self._watch()
                self._status.restarts += 1
                self._tell(State.RESTARTING, why)
                _LOG.warning("component.ended", name=self.component.name, reason=why)
            except Exception as e:  # noqa: BLE001 - nothing that one component meets may end the others
                await self._failed(e)
            adopted = False
            self._status.process = None
            pause = _FIRST_PAUSE_S if clock.monotonic() - began > _STABLE_S else pause
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_S)

    async def _failed(self, error: Exception) -> None:
        reason = reason_of(error)
        unforeseen = None if isinstance(error, StacklyError | OSError) else error
        _LOG.warning("component.failed", name=self.component.name, reason=reason, exc_info=unforeseen)
        self._tell(State.FAILED, reason)
        try:
            await self.stop(State.FAILED)
        except Exception as e:  # noqa: BLE001 - the first error is the one to tell; the next start clears up first
            _LOG.warning("component.not_cleared", name=self.component.name, reason=reason_of(e))

    async def stop(self, end: State = State.STOPPED) -> None:
        """Gracefully, then hard; whatever else ran in its directory goes with it."""
        who = self._status.process
        if who:
            processes.signal_to(who, self.component.stop_signal)
            until = clock.monotonic() + self.component.grace_s
            while self._lives(who) and clock.monotonic() < until:  # noqa: ASYNC110 - no event tells of an adopted one
                await asyncio.sleep(0.02)
            processes.signal_to(who, signal.SIGKILL)
        if self.component.cwd.exists():
            await asyncio.to_thread(processes.clear, self.component.cwd)
        self._status.process = None
        self._tell(end, self._status.reason if end is State.FAILED else None)

    def _adopt(self) -> bool:
        """Take over a process that a supervisor before us started by the same command."""
        found = adoptable(self.component, self._status)
        if found and self._status.process:
            _LOG.info("component.adopted", name=self.component.name, pid=self._status.process.pid)
        return found

    async def _start(self) -> None:
        """Raises: Unavailable when it cannot be started; the message says what to do."""
        component = self.component
        self._tell(State.STARTING, self._status.reason)
        component.cwd.mkdir(mode=0o711, parents=True, exist_ok=True)
        left = await asyncio.to_thread(processes.clear, component.cwd)
        if left:
            raise Unavailable(f"Processes in {component.cwd} do not end: {', '.join(str(w.pid) for w in left)}.")
        self._check_ports()
        commands = [*component.before] if self._set_up else [*component.once, *component.before]
        log_file = self._log()
        for command in commands:
            await self._run(command, log_file)
        self._set_up = True
        self._spawn(log_file)

    def _check_ports(self) -> None:
        for port in self.component.ports:
            if not free(port):
                holder = processes.holder_of(port)
                raise Unavailable(
                    f"Port {port} on 127.0.0.1, which this home keeps for {self.component.name}, is taken"
                    f"{f' by {holder}' if holder else ''}; end that program, or forget this home with: "
                    "stackly down --wipe"
                )

    async def _run(self, command: list[str], log_file: Path) -> None:
        with log_file.open("ab") as out:
            try:
                child = await asyncio.create_subprocess_exec(
                    *command,
                    cwd=self.component.cwd,
                    env=self._environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                )
            except OSError as e:
                raise Unavailable(_missing(command, e)) from e
            try:
                code = await child.wait()
            finally:
                if child.returncode is None:
                    child.kill()
        if code != 0:
            raise Unavailable(f"{_last_line(log_file) or f'{command[0]} exited with {code}'} (log: {log_file})")

    def _spawn(self, log_file: Path) -> None:
        with log_file.open("ab") as out:
            try:
                # A session of its own: it survives our terminal and us.
                self._child = subprocess.Popen(
                    self.component.argv,
                    cwd=self.component.cwd,
                    env=self._environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    start_new_session=True,
                )
            except OSError as e:
                raise Unavailable(_missing(self.component.argv, e)) from e
        self._status.process = processes.identify(self._child.pid) or processes.Alive(self._child.pid, 0)
        self._status.digest = self.component.digest
        self._changed()

    async def _watch(self) -> str:
        """Until it ended. Shape: why. Raises: Unavailable when it lives, and is neither ready nor getting on."""
        who = self._status.process
        assert who is not None
        is_known = self.is_ready.is_set() and self._status.state is State.RUNNING
        if not is_known and not await self._gets_ready(who):
            return self._ending()
        self.is_ready.set()
        asked_at = clock.monotonic()
        while self._lives(who):
            if self.component.health and clock.monotonic() - asked_at > _HEALTH_S:
                await self._ask_health(self.component.health)
                asked_at = clock.monotonic()
            await asyncio.sleep(0.05)
        return self._ending()

    async def _gets_ready(self, who: processes.Alive) -> bool:
        """False: it ended before. Raises: Unavailable when it did nothing for too long."""
        progress = Progress(self._home.logs / f"{self.component.name}.log")
        patience = self.component.ready_s
        began = moved_at = looked_at = clock.monotonic()
        while self._lives(who):
            now = clock.monotonic()
            try:
                if await asyncio.to_thread(self.component.ready, who.pid) and self._lives(who):
                    self._tell(State.RUNNING, self._status.reason if self._status.restarts else None)
                    return True
            except OSError as e:  # we could not ask: that is no sign of it
                self._tell(State.STARTING, f"it cannot be asked whether it is ready: {reason_of(e)}")
                moved_at = now
            if now - looked_at > min(_PROGRESS_S, patience / 4):
                looked_at = now
                if await asyncio.to_thread(progress.gets_on, who.pid):
                    moved_at = now
                    if now - began > patience:
                        self._tell(State.STARTING, f"not ready after {now - began:.0f} s, and still at work")
            if now - moved_at > patience:
                raise Unavailable(
                    f"{self.component.name} was not ready after {now - began:.0f} s, and did nothing for "
                    f"{patience:.0f} s (log: {self._home.logs / self.component.name}.log)"
                )
            await asyncio.sleep(0.05)
        return False

    async def _ask_health(self, health: Health) -> None:
        try:
            lacks = await asyncio.to_thread(health)
        except Exception as e:  # noqa: BLE001 - a question that fails is an answer of its own
            lacks = f"it cannot be asked how it is: {reason_of(e)}"
        if lacks != self._lacks:
            self._lacks = lacks
            self._tell(State.RUNNING, lacks)
            _LOG.warning("component.lacks", name=self.component.name, reason=lacks or "nothing any more")

    def _lives(self, who: processes.Alive) -> bool:
        if self._child is not None and self._child.pid == who.pid:
            return self._child.poll() is None
        return processes.runs(who)

    def _ending(self) -> str:
        code = self._child.returncode if self._child is not None else None
        said = _last_line(self._home.logs / f"{self.component.name}.log")
        if code is None:
            how = "it ended"
        else:
            how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
        return f"{how}: {said}" if said else how

    def _tell(self, state: State, reason: str | None) -> None:
        self._status.state = state
        self._status.reason = reason
        self._changed()

    def _environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if k not in _OURS_ALONE}
        path = f"{self._home.tools}{os.pathsep}{kept.get('PATH', os.defpath)}"
        return kept | {"STACKLY_HOME": str(self._home.path), "PATH": path} | dict(self.component.env)

    def _log(self) -> Path:
        """The component's log; a long one is put aside first."""
        file = self._home.logs / f"{self.component.name}.log"
        if file.exists() and file.stat().st_size > _LOG_BYTES:
            for n in range(_OLD_LOGS, 1, -1):
                older = file.with_suffix(f".log.{n - 1}")
                if older.exists():
                    older.rename(file.with_suffix(f".log.{n}"))
            file.rename(file.with_suffix(".log.1"))
        file.touch(mode=0o600)
        return file


def adoptable(component: Component, status: Status) -> bool:
    """Whether the process that was last written down is this component, alive, and was ready."""
    who = status.process
    same = status.digest == component.digest and status.state is State.RUNNING
    return same and who is not None and processes.runs(who)


def _missing(argv: list[str], e: OSError) -> str:
    return f"{argv[0]} cannot be started: {e.strerror or e}; run: stackly doctor"


def _last_line(file: Path) -> str:
    try:
        with file.open("rb") as log_file:
            log_file.seek(max(0, file.stat().st_size - 4000))
            said = log_file.read().decode(errors="replace").strip()
    except OSError:
        return ""
    return texts.shown(log.redact_text(said.split("\n")[-1].strip()[:400]))
