"""Terraform's state between the file it writes and the platform that keeps it.

During an apply most reads of the file are empty or half written: only a version that parses counts.
"""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent import workdir
from agent.context import StepContext
from stackly.engine.contracts.steps import STEP_GRACE
from stackly.errors import Conflict, Faulty


@dataclass(frozen=True, slots=True)
class Version:
    """One readable state. Shape: `content` are the exact bytes; serials grow within a lineage."""

    content: bytes
    serial: int
    lineage: str

    @property
    def outputs(self) -> dict[str, Any]:
        return dict(json.loads(self.content).get("outputs") or {})

    @property
    def empty(self) -> bool:
        return not json.loads(self.content).get("resources")


def parse(content: bytes) -> Version | None:
    """None for what is no whole state: empty, torn, or something else."""
    try:
        raw = json.loads(content)
        serial, lineage = raw["serial"], raw["lineage"]
    except (ValueError, KeyError, TypeError):
        return None
    if not isinstance(serial, int) or not isinstance(lineage, str) or not lineage:
        return None
    return Version(content, serial, lineage)


def read(path: Path) -> Version | None:
    try:
        return parse(path.read_bytes())
    except FileNotFoundError:
        return None


def newest(stored: Version | None, files: Sequence[Version]) -> Version | None:
    """The highest serial of the stored lineage; without a stored version, of whatever is left."""
    lineage = stored.lineage if stored else None
    choices = [v for v in files if lineage is None or v.lineage == lineage]
    if stored:
        choices.insert(0, stored)  # first of equals
    return max(choices, key=lambda v: v.serial, default=None)


class StateMirror:
    """Sends each new version while Terraform works: in order, newest only, the last one before `finish` returns."""

    def __init__(self, path: Path, context: StepContext, base: Version | None, *, every_s: float = 0.1) -> None:
        self._path = path
        self._context = context
        self._every_s = every_s
        self._sent = base
        self._refused = ""
        self._seen: tuple[int, int] | None = None
        self._ended = asyncio.Event()
        self._task = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while True:
            last = self._ended.is_set()
            await self._look(force=last)
            if last:
                return
            try:
                await asyncio.wait_for(self._ended.wait(), self._every_s)
            except TimeoutError:
                continue

    async def _look(self, *, force: bool) -> None:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return
        mark = (found.st_mtime_ns, found.st_size)
        if mark == self._seen and not force:
            return
        version = read(self._path)
        if version is None:
            return  # in the middle of a write: look again
        self._seen = mark
        if self._sent and (version.lineage != self._sent.lineage or version.serial <= self._sent.serial):
            return
        await self._send(version)

    async def _send(self, version: Version) -> None:
        accepted, reason = await self._context.write_state(version.content)
        self._refused = "" if accepted else reason or "no reason given"
        if accepted:
            self._sent = version
        else:
            self._context.log(f"State {version.serial} was refused: {self._refused}", "warning")

    async def finish(self) -> None:
        """Raises: Conflict when the last version was refused; Faulty when the platform stayed away after a cancel."""
        self._ended.set()
        while not self._task.done():
            # Nobody waits for a cancelled step for ever: its file stays, and the agent sends it when it starts again.
            if self._context.cancelled.is_set():
                await asyncio.wait({self._task}, timeout=STEP_GRACE.total_seconds())
                break
            told = asyncio.create_task(self._context.cancelled.wait())
            await asyncio.wait({self._task, told}, return_when=asyncio.FIRST_COMPLETED)
            told.cancel()
        if not self._task.done():
            self._task.cancel()
            raise Faulty("The state could not be sent; the agent keeps it and sends it later.")
        await self._task
        if self._refused:
            raise Conflict(f"The state was refused: {self._refused}")


def candidates(work: workdir.RunDirectory) -> list[Path]:
    """State files Terraform may have left here; it writes errored.tfstate when it could not write the real one."""
    found = [work.state] if work.state.exists() else []
    return found + sorted(work.tree.rglob("errored.tfstate"))


async def settle(work: workdir.RunDirectory, grace_s: float) -> None:
    """A Terraform whose agent died was told to stop: let it write its state first."""
    if not await workdir.await_empty(work.root, grace_s):
        await workdir.end_occupants(work.root)


async def restore(home: Path, work: workdir.RunDirectory, context: StepContext, grace_s: float) -> Version | None:
    """Put the newest valid version in place, and send it if only a file had it. None: there never was one.

    Files of other run directories count when they are of the stored lineage: an apply may have died there.
    Raises: Faulty when a state was begun and no readable version of it exists.
    """
    stored = parse(await context.read_state())
    files: list[Version] = []
    broken: list[Path] = []
    for each in workdir.run_directories(home):
        ours = (each.owner.run, each.owner.test) == (work.owner.run, work.owner.test)
        if not ours and not (stored and _shares(each, stored.lineage)):
            continue
        await settle(each, grace_s)
        for path in candidates(each):
            version = read(path)
            files.append(version) if version else broken.append(path)
    chosen = newest(stored, files)
    if chosen is None:
        if broken:
            raise Faulty(
                f"{broken[0]} is empty or torn and no valid version was stored: what it held may exist. "
                "Check the target's inventory, then remove the file.",
            )
        return None
    workdir.write_private(work.state, chosen.content)
    if stored is None or chosen.serial > stored.serial:
        accepted, reason = await context.write_state(chosen.content)
        context.log(f"State {chosen.serial} was recovered from a file" + ("" if accepted else f": {reason}"))
    return chosen


def _shares(work: workdir.RunDirectory, lineage: str) -> bool:
    return any((v := read(p)) is not None and v.lineage == lineage for p in candidates(work))
