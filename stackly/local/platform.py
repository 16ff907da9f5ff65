"""What the CLI does with a home: up, down, status, logs. Raises its problems as StacklyError, prints nothing."""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stackly.errors import Faulty, Invalid, NotFound, StacklyError, Unavailable
from stackly.local import isolation, machines, processes, release
from stackly.local.component import State, Status
from stackly.local.components import NAMES
from stackly.local.home import Home, configured
from stackly.local.supervisor import note_stopped, read_note, read_release, read_state

Progress = Callable[[str, str, str | None], None]
_LEAST_BYTES = 1024 * 1024
_LET_GO_S = 10.0
_SUPERVISOR = (sys.executable, "-m", "stackly.local.supervisor")


@dataclass(frozen=True, slots=True)
class Started:
    """Shape: `endpoints` as in endpoints.json; `adopted` when it was running before, `replaced` when by other code."""

    endpoints: dict[str, str]
    adopted: bool
    isolation: dict[str, str] | None = None
    replaced: bool = False


@dataclass(frozen=True, slots=True)
class Stopped:
    """Shape: `machines` kind of thing -> how many were ended, or with `kept` go on running."""

    machines: Mapping[str, int]
    kept: bool


def default_home() -> Path:
    """STACKLY_HOME, else `.stackly` beside the Makefile of a checkout, else the user's data directory."""
    told = os.environ.get("STACKLY_HOME")
    if told:
        return Path(told).resolve()
    checkout = Path(__file__).resolve().parents[2]
    if (checkout / "Makefile").exists() and (checkout / "pyproject.toml").exists():
        return checkout / ".stackly"
    return Path.home() / ".local" / "share" / "stackly"


def _silent(_component: str, _state: str, _reason: str | None) -> None:
    """Nobody watches."""


def up(
    home: Path,
    progress: Progress = _silent,
    *,
    timeout_s: float = 300.0,
    supervisor: Sequence[str] = _SUPERVISOR,
) -> Started:
    """Start the home's supervisor, or adopt the running one, and wait until every component runs.

    One of other code, of an earlier release say, is replaced with all that runs our code: an upgrade needs no `down`.
    Postgres, Temporal and S3 go on, machines as long as their agents' code is this one's.
    `progress(component, state, reason)` is called at every change. Raises: Unavailable with the component's own reason
    when one cannot start; what did start stays, so that `status` and `logs` can be asked. Unavailable before anything
    is touched where there is no sandbox and must be one.
    """
    place = Home(home.resolve())
    place.make()
    with _alone(place):
        found = _supervisor_of(place)
        replaced = found is not None and read_release(place) != release.fingerprint()
        adopted = found is not None and not replaced
        isolation.check(place, running=adopted)
        if found is not None and replaced:
            _let_go(found)
        if not adopted:
            _launch(place, supervisor)
    _wait_running(place, progress, timeout_s)
    if adopted:
        _sign_in_link(place, timeout_s)
    kind = isolation.recorded(place)
    return Started(endpoints(home), adopted, kind.as_json() if kind else None, replaced)


def down(
    home: Path,
    *,
    wipe: bool = False,
    keep_machines: bool = False,
    progress: Progress = _silent,
    timeout_s: float = 120.0,
) -> Stopped:
    """Stop everything, machines last; with `wipe`, forget everything. Harmless when nothing runs.

    Raises: Faulty when something goes on running.
    """
    if wipe and keep_machines:
        raise Invalid("Machines cannot be kept by a home that is forgotten; leave out --wipe or --keep-machines.")
    place = Home(home.resolve())
    with _alone(place):
        who = _supervisor_of(place)
        if who:
            processes.signal_to(who, signal.SIGTERM)
            _follow_stop(place, who, progress, timeout_s)
        _clear_leftovers(place)
        note_stopped(place)
        found = machines.look(place) if keep_machines else machines.end(place, remember=not wipe)
        if found.counts:
            progress("machines", "kept" if keep_machines else State.STOPPED.value, str(found))
        if wipe and place.path.exists():
            _wipe(place)
    return Stopped(found.counts, keep_machines)


@contextlib.contextmanager
def _alone(home: Home) -> Iterator[None]:
    """A supervisor that just starts is not known to anybody yet: a `down` waits for it, and an `up` for a `down`."""
    try:
        lock = (home.supervisor / "command.lock").open("a")
    except OSError:  # there is no home, or nothing can be written to it, which keeps nobody from ending what runs
        yield
        return
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


_UNWATCHED = "The supervisor is gone without `stackly down`: nothing is watched or started again. Run: stackly up"


def status(home: Path) -> dict[str, Any]:
    """Shape: {"components": [{"name", "state", "pid", "address", "restarts", "reason"}], "trouble", "isolation"}.

    `supervised`: a supervisor runs. Without one nothing is watched, and no sign-in link is sure to be answered.
    """
    place = Home(home.resolve())
    who, known = read_state(place)
    supervised = who is not None and processes.runs(who)
    by_name = {s.name: s for s in known}
    names = [*(n for n in NAMES if n in by_name or not known), *(n for n in by_name if n not in NAMES)]
    components = [_live(by_name.get(n) or Status(n, ""), supervised) for n in names]
    found = isolation.recorded(place)
    told = found.as_json() if found else None
    trouble = _trouble(place, supervised)
    if not supervised and any(s.state is not State.STOPPED for s in known):
        trouble = " ".join(filter(None, [_UNWATCHED, trouble]))
    return {"components": components, "supervised": supervised, "trouble": trouble, "isolation": told}


def _trouble(home: Home, supervised: bool) -> str | None:
    """What the home as a whole lacks. The supervisor's own word first; else what anybody can see."""
    said = read_note(home) if supervised else ""
    if supervised and not said and read_release(home) != release.fingerprint():
        said = "What runs is not the code that is installed; replace it with: stackly up"
    if said or not home.path.exists():
        return said or None
    if not os.access(home.path, os.W_OK):
        return f"{home.path} cannot be written: its file system is read-only, or its owner is another."
    left = shutil.disk_usage(home.path).free
    return f"The disk of {home.path} is full: {left // 1024} KiB are left." if left < _LEAST_BYTES else None


def logs(home: Path, component: str, *, follow: bool = False) -> Iterator[str]:
    """The lines of a component's log, without line ends; with `follow` until the caller stops, across rotations.

    Raises: Invalid for a name that is no component; NotFound before its first start.
    """
    known = {c["name"] for c in status(home)["components"]} | {"supervisor"}
    if component not in known:
        raise Invalid(f"{component} is no component; there are: {', '.join(sorted(known))}.")
    file = Home(home.resolve()).logs / f"{component}.log"
    if not file.exists():
        raise NotFound(f"{component} has not been started in {home}; run: stackly up")
    return _lines(file, follow)


def endpoints(home: Path) -> dict[str, str]:
    """As in endpoints.json; empty before the first `up`."""
    file = Home(home.resolve()).endpoints
    try:
        told: dict[str, str] = json.loads(file.read_text())
    except FileNotFoundError:
        return {}
    return told


def _supervisor_of(home: Home) -> processes.Alive | None:
    who, _ = read_state(home)
    return who if who and processes.runs(who) else None


def _let_go(who: processes.Alive) -> None:
    """End a supervisor alone: asked politely it would end its components too, also those that may go on."""
    processes.signal_to(who, signal.SIGKILL)
    until = time.monotonic() + _LET_GO_S
    while processes.runs(who):
        if time.monotonic() > until:
            raise Unavailable(f"The supervisor of the code before does not end (pid {who.pid}).")
        time.sleep(0.02)


def _launch(home: Home, supervisor: Sequence[str]) -> None:
    configured(home)
    log_file = home.logs / "supervisor.log"
    log_file.touch(mode=0o600)
    before, _ = read_state(home)
    with log_file.open("ab") as out:
        child = subprocess.Popen(
            [*supervisor, str(home.path)],
            cwd=home.path,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    until = time.monotonic() + 30
    while (now := read_state(home)[0]) is None or now == before:
        if child.poll() is not None:
            # Another `up` at the same moment won: its supervisor is as good as ours.
            if _supervisor_of(home):
                return
            said = log_file.read_text(errors="replace").strip().split("\n")[-1]
            raise Unavailable(f"The supervisor ended at once: {said or 'it said nothing'}")
        if time.monotonic() > until:
            raise Unavailable(f"The supervisor does not answer; its log: {log_file}")
        time.sleep(0.05)


def _wait_running(home: Home, progress: Progress, timeout_s: float) -> None:
    told: dict[str, tuple[str, str | None]] = {}
    until = time.monotonic() + timeout_s
    while True:
        who, known = read_state(home)
        for one in known:
            if told.get(one.name) != (one.state.value, one.reason):
                told[one.name] = (one.state.value, one.reason)
                progress(one.name, one.state.value, one.reason)
        if known and all(s.state is State.RUNNING for s in known):
            return
        failed = [s for s in known if s.state is State.FAILED]
        if failed:
            raise Unavailable(f"{failed[0].name}: {failed[0].reason}", component=failed[0].name)
        if who is None or not processes.runs(who):
            raise Unavailable(f"The supervisor ended; its log: {home.logs / 'supervisor.log'}")
        if time.monotonic() > until:
            slow = ", ".join(f"{s.name} ({s.reason or s.state.value})" for s in known if s.state is not State.RUNNING)
            raise Unavailable(f"Not running after {timeout_s:.0f} s: {slow}; look at: stackly logs COMPONENT")
        time.sleep(0.1)


_LINK_S = 20.0  # a `status` waits so long for a sign-in link


def fresh_link(home: Path) -> str | None:
    """A sign-in link that nobody has used; None while the platform cannot make one."""
    place = Home(home.resolve())
    try:
        _sign_in_link(place, _LINK_S)
        link: str = json.loads(place.endpoints.read_text())["ui_url"]
    except (StacklyError, OSError, ValueError, KeyError):
        return None
    return link


def _sign_in_link(home: Home, timeout_s: float) -> None:
    """Give the page a new one-time link: the last one may have been used. Raises: Faulty, Unavailable."""
    if not home.endpoints.exists():
        return
    try:
        done = subprocess.run(
            [sys.executable, "-m", "stackly.local.bootstrap", "link"],
            cwd=home.path,
            env=os.environ | {"STACKLY_HOME": str(home.path)},
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired as e:
        raise Unavailable(f"The platform runs; no new sign-in link was made within {timeout_s:.0f} s.") from e
    if done.returncode != 0:
        raise Faulty(f"No new sign-in link could be made: {done.stderr.strip()[-400:]}")


def _follow_stop(home: Home, who: processes.Alive, progress: Progress, timeout_s: float) -> None:
    told: dict[str, str] = {}
    until = time.monotonic() + timeout_s
    while processes.runs(who):
        for one in read_state(home)[1]:
            if one.state is State.STOPPED and told.get(one.name) != one.state.value:
                told[one.name] = one.state.value
                progress(one.name, one.state.value, None)
        if time.monotonic() > until:
            processes.signal_to(who, signal.SIGKILL)
        time.sleep(0.05)


def _clear_leftovers(home: Home) -> None:
    """What a killed supervisor left behind, by working directory."""
    for directory in (home.run("postgres"), home.path / "run"):
        left = processes.clear(directory) if directory.exists() else []
        if left:
            raise Faulty(f"Processes in {directory} do not end: {', '.join(str(w.pid) for w in left)}.")


def _wipe(home: Home) -> None:
    if home.config.exists() or home.supervisor.exists():
        for directory in ("agent", "hub"):  # machines of local targets, git's own processes
            processes.clear(home.path / directory)
        try:
            shutil.rmtree(home.path)
        except OSError as e:
            there = ", ".join(str(who.pid) for who in processes.below(home.path)) or "none has its directory there"
            raise Faulty(
                f"{home.path} is stopped and not wholly deleted: {e.strerror} ({e.filename}). End what writes there"
                f" (processes: {there}), then run: stackly down --wipe"
            ) from e
    elif any(home.path.iterdir()):
        raise Invalid(f"{home.path} is no home of Stackly; it is left as it is.")


def _live(known: Status, supervised: bool) -> dict[str, Any]:
    state, reason = known.state, known.reason
    alive = known.process is not None and processes.runs(known.process)
    if not supervised:
        state = State.RUNNING if alive else State.STOPPED
        reason = "its supervisor is gone; run: stackly up" if alive else reason
    elif state is State.RUNNING and not alive:
        state = State.RESTARTING
    pid = known.process.pid if alive and known.process else None
    return {
        "name": known.name,
        "state": state.value,
        "pid": pid,
        "address": known.address,
        "restarts": known.restarts,
        "reason": reason,
    }


def _lines(file: Path, follow: bool) -> Iterator[str]:
    opened = file.open(errors="replace")
    try:
        while True:
            line = opened.readline()
            if line:
                yield line.rstrip("\n")
            elif not follow:
                return
            elif file.exists() and file.stat().st_ino != os.fstat(opened.fileno()).st_ino:
                opened.close()
                opened = file.open(errors="replace")
            else:
                time.sleep(0.2)
    finally:
        opened.close()
