"""What Terraform says with -json: progress for people, diagnostics for errors."""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.terraform.masking import Masker
from stackly.errors import Conflict, Faulty, StacklyError

Log = Callable[[str, str], None]  # text, level
_CHUNK = 256 * 1024
_LINE_MOST = 1024 * 1024

_TOLD = frozenset(
    {
        "apply_start",
        "apply_progress",
        "apply_complete",
        "apply_errored",
        "planned_change",
        "resource_drift",
        "change_summary",
        "provision_start",
        "provision_progress",
        "provision_errored",
    }
)

_UNDECLARED = "Value for undeclared variable"  # `environment` may be; our own check speaks of the others
_STALE = "Saved plan is stale"
_PREFACE = "Terraform encountered problems during initiali"  # it says nothing of them
_ABSENT = "no file exists at"
_CURE = (
    "A run has the stack's directory, the local modules that it calls, and files of the repository that are read by a "
    "constant path: write the path with path.module or path.root and no variable, or move the file below the stack's "
    "directory"
)


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """Shape: `file` relative to the module, `line` from 1; '' and 0 when Terraform names no place."""

    summary: str
    detail: str
    file: str = ""
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " if self.file else ""
        detail = " ".join(self.detail.split())
        return f"{place}{self.summary}" + (f": {detail}" if detail else "")


def _diagnostic(raw: dict[str, Any]) -> Diagnostic:
    area = raw.get("range") or {}
    start = area.get("start") or {}
    return Diagnostic(
        raw.get("summary", ""),
        raw.get("detail", ""),
        area.get("filename", ""),
        int(start.get("line", 0)),
        int(start.get("column", 0)),
    )


@dataclass(slots=True)
class Reader:
    """Takes the events of one command; keeps what the outcome needs, tells the log the rest."""

    log: Log
    mask: Masker
    version: str = ""
    changes: dict[str, int] = field(default_factory=dict)
    errors: list[Diagnostic] = field(default_factory=list)

    def line(self, raw: str) -> None:
        try:
            event = json.loads(raw)
        except ValueError:
            return  # a torn last line of a killed process
        if isinstance(event, dict):
            self.event(event)

    def event(self, event: dict[str, Any]) -> None:
        kind = event.get("type", "")
        if kind == "version":
            self.version = event.get("terraform", "")
        elif kind == "diagnostic":
            self._diagnose(event.get("diagnostic") or {})
        elif kind in _TOLD:
            if kind == "change_summary":
                self.changes = {k: v for k, v in event["changes"].items() if isinstance(v, int)}
            self.log(self.mask(event.get("@message", "")), "error" if kind.endswith("_errored") else "info")

    def _diagnose(self, raw: dict[str, Any]) -> None:
        found = _diagnostic(raw)
        error = raw.get("severity") == "error"
        if error:
            self.errors.append(found)
        if error or found.summary != _UNDECLARED:
            self.log(self.mask(str(found)), "error" if error else "warning")

    def failure(self, verb: str, code: int, stderr: str) -> StacklyError:
        """What a non-zero exit means, with the first three errors Terraform gave."""
        if any(_STALE in d.summary for d in self.errors):
            return Conflict("The plan is gone: the state moved since it was made. Plan again.")
        own = [d for d in self.errors if not d.summary.startswith(_PREFACE)] or self.errors
        said = [self.mask(str(d)) for d in own[:3]] or [self.mask(stderr.strip()[-2000:])]
        sentence = "; ".join(s for s in said if s) or "it said nothing"
        if any(_ABSENT in d.detail for d in self.errors):
            sentence = f"{sentence.rstrip('.')}. {_CURE}"
        return Faulty(
            f"terraform {verb} failed (exit {code}): {sentence}",
            errors=[
                {"file": d.file, "line": d.line, "column": d.column, "message": self.mask(f"{d.summary}: {d.detail}")}
                for d in self.errors[:3]
            ],
        )


class _Follower:
    """Remembers how far a growing file was read, and the part of a line at its end.

    What writes the file may be pushed code: a line longer than _LINE_MOST is left out, and never held.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0
        self._rest = b""
        self._skips = False  # the end of a line that was left out is still to come

    def lines(self) -> tuple[list[str], bool]:
        """The whole lines of the next _CHUNK bytes. Shape: and whether there was anything to read."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._position)
                data = file.read(_CHUNK)
        except FileNotFoundError:
            data = b""
        self._position += len(data)
        *lines, rest = (self._rest + data).split(b"\n")
        if self._skips and lines:
            self._skips = False
            del lines[0]
        self._skips = self._skips or len(rest) > _LINE_MOST
        self._rest = b"" if self._skips else rest
        return [line.decode(errors="replace") for line in lines if len(line) <= _LINE_MOST], bool(data)

    def rest(self) -> list[str]:
        """The last line, where no line feed ended it."""
        return [self._rest.decode(errors="replace")] if self._rest else []


async def tail(path: Path, take: Callable[[str], None], ended: asyncio.Event, *, every_s: float = 0.1) -> None:
    """Give every whole line of a growing file, until `ended` is set and the rest is read."""
    follower = _Follower(path)
    while True:
        last = ended.is_set()
        lines, more = follower.lines()
        for line in lines:
            take(line)
        if more:
            await asyncio.sleep(0)  # a child that prints without end keeps nothing else waiting
        elif last:
            for line in follower.rest():
                take(line)
            return
        else:
            with suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), every_s)
