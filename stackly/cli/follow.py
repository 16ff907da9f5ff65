"""Following a run to its end: what is told on the way, and when to stop waiting."""

import re
import sys
from typing import TYPE_CHECKING, Any, Protocol

from stackly import clock
from stackly.cli.command import Invocation
from stackly.cli.exits import CommandFailed, Exit, waits_for_person
from stackly.cli.speech import Speech, has_colour
from stackly.spec.runs import ENDED

if TYPE_CHECKING:
    from rich.progress import Progress

    from stackly.cli.server import Event

Json = dict[str, Any]
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Watcher(Protocol):
    """Who shows the progress. Events may come twice after a restart of the server."""

    def see(self, event: "Event") -> None: ...

    def close(self) -> None: ...


class Lines:
    """A line for each thing that is new."""

    def __init__(self, say: Speech) -> None:
        self._say = say
        self._told: set[str] = set()

    def see(self, event: "Event") -> None:
        said = _line(event)
        if said and said not in self._told:
            self._told.add(said)
            self._say.note(said)

    def close(self) -> None:
        """Lines stay as they are."""


class Bar:
    """Phase, percentage and tps in one line, on a terminal."""

    def __init__(self, say: Speech, run: str) -> None:
        self._lines = Lines(say)
        self._bar = _progress_bar()
        self._task = self._bar.add_task(f"run {run}", total=100, phase="", tps="")
        self._bar.start()

    def see(self, event: "Event") -> None:
        if event.name == "progress":
            shown: dict[str, Any] = {"completed": event.data["percent"]}
            if event.data.get("phase"):
                shown["phase"] = " ".join(w for w in (event.data.get("test"), event.data["phase"]) if w)
            if event.data.get("tps") is not None:
                shown["tps"] = f"{event.data['tps']:,.0f} tps"
            self._bar.update(self._task, **shown)
        else:
            self._lines.see(event)

    def close(self) -> None:
        self._bar.stop()


def _progress_bar() -> "Progress":
    # Late: rich costs more than many a command.
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TextColumn("{task.fields[phase]}", markup=False),
        TextColumn("{task.fields[tps]}", markup=False),
        TimeElapsedColumn(),
        console=Console(stderr=True, no_color=not has_colour(sys.stderr)),
        transient=True,
    )


def _line(event: "Event") -> str | None:
    data = event.data
    if event.name == "run":
        waiting = data.get("waiting")
        return f"run {data['id']} of {data['repo']}: {data['status']}" + (f", {_waiting(waiting)}" if waiting else "")
    if event.name == "phase" and data.get("ended_at"):
        where = f"{data['test']} " if data.get("test") else ""
        return f"  {where}{data['name']} {data['status']}" + _took(data)
    if event.name == "progress" and data.get("tps") is not None:
        where = " ".join(w for w in (data.get("test"), data.get("phase")) if w)
        return f"  {where} {data['tps']:,.0f} tps"
    return None


def _waiting(waiting: Json) -> str:
    # Without the time of the next look: each look would be a new line that says the same.
    said = f"waits for {waiting['blocker']}" + (f" since {waiting['since']}" if waiting.get("since") else "")
    return f"{said}: {waiting['reason']}" if waiting.get("reason") else said


def _took(phase: Json) -> str:
    try:
        seconds = (clock.parse(phase["ended_at"]) - clock.parse(phase["started_at"])).total_seconds()
    except (TypeError, ValueError):
        return ""
    return f" in {length(seconds)}"


def length(seconds: float) -> str:
    """Shape: 52m 10s, 1h 2m, 12.3s."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60}s"
    return f"{whole // 3600}h {whole % 3600 // 60}m"


def seconds_of(text: str | None) -> float | None:
    """Units: from 90, 90s, 10m, 1h30m. Raises: CommandFailed."""
    if text is None:
        return None
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", text)
    if not parts or "".join(n + u for n, u in parts) != text:
        said = f"{text!r} is no duration; write for example 90s, 10m or 1h30m."
        raise CommandFailed(Exit.USAGE, "Invalid value for --timeout.", said)
    return sum(float(n) * _UNITS[u] for n, u in parts)


def wait(
    call: Invocation,
    run: str,
    *,
    timeout_s: float | None = None,
    for_person: bool = True,
    watcher: Watcher | None = None,
) -> Json:
    """The run when it has ended, or, with `for_person` false, when only a person can go on.

    Raises: CommandFailed with TIMED_OUT; the run goes on.
    """
    deadline = None if timeout_s is None else clock.monotonic() + timeout_s
    shown = watcher or watching(call, run)
    try:
        return _follow(call, run, deadline, for_person, shown)
    except TimeoutError:
        said = f"Run {run} goes on; wait again with: stackly run wait {run}"
        raise CommandFailed(Exit.TIMED_OUT, f"Not over after {length(timeout_s or 0)}.", said, run=run) from None
    finally:
        shown.close()


def watching(call: Invocation, run: str) -> Watcher:
    return Bar(call.say, run) if sys.stderr.isatty() and not call.say.is_json else Lines(call.say)


def _follow(call: Invocation, run: str, deadline: float | None, for_person: bool, watcher: Watcher) -> Json:
    for event in call.server.events(f"/runs/{run}/stream", deadline=deadline):
        watcher.see(event)
        if event.name == "end":
            return event.data
        if event.name == "run" and (event.data["status"] in ENDED or _stuck(event.data, for_person)):
            # Its last lines are still to come, but nothing that matters to who waits.
            return event.data
    raise CommandFailed(Exit.INTERNAL, "The stream of the run ended early.", run=run)


def _stuck(run: Json, for_person: bool) -> bool:
    return not for_person and waits_for_person(run)
