"""Terraform's state on its way from the file it writes to the platform that keeps it."""

import asyncio
from pathlib import Path

from agent import reading, workdir
from agent.context import StepContext
from agent.sandbox import users
from agent.terraform.leftovers import errored, read, read_all
from agent.terraform.state import Version, newest, parse
from stackly.errors import Conflict, Faulty
from stackly.temporal.steps import STEP_GRACE


class StateMirror:
    """Sends each new version while Terraform works: in order, newest only, the last one before `finish` returns."""

    def __init__(
        self, work: workdir.RunDirectory, context: StepContext, base: Version | None, *, every_s: float = 0.1
    ) -> None:
        self._work = work
        self._context = context
        self._every_s = every_s
        self._sent = base
        self._refused = ""
        self._unsafe = ""
        self._lacks = False  # at the end there was no whole state
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
        self._unsafe = ""
        self._lacks = force
        try:
            found = self._work.state.lstat()
            mark = (found.st_mtime_ns, found.st_size)
            if mark == self._seen and not force:
                return
            version = read(self._work, self._work.state)
        except FileNotFoundError:
            return
        except reading.FileUnsafe as error:
            self._unsafe = error.detail
            return
        if version is None:
            return  # in the middle of a write: look again
        self._lacks = False
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

    async def finish(self, *, complete: bool = False) -> None:
        """Send the last version. Shape: `complete` says that Terraform ended well, and so wrote one.

        Raises: Conflict when it was refused; FileUnsafe when something else stands in the file's place; Faulty when
        the platform stayed away after a cancel, or a state that must be there is not.
        """
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
        if self._unsafe:
            raise reading.FileUnsafe(self._unsafe)
        if self._refused:
            raise Conflict(f"The state was refused: {self._refused}")
        if complete and self._lacks:
            raise Faulty(
                "Terraform ended, and no whole state is there: what it made may exist, and the last version that was "
                "stored stays. Code of the run replaced or removed the file; check the target's inventory."
            )


async def settle(work: workdir.RunDirectory, grace_s: float) -> None:
    """A Terraform whose agent died was told to stop: let it write its state first."""
    if not await workdir.await_empty(work.root, grace_s):
        await workdir.end_occupants(work.root)
    await asyncio.to_thread(users.end, work.root.parents[1], work.root)


async def restore(home: Path, work: workdir.RunDirectory, context: StepContext, grace_s: float) -> Version | None:
    """Put the newest valid version in place, and send it if only a file had it. None: there never was one.

    Files of other run directories count when they are of the stored lineage: an apply may have died there.
    Raises: Faulty when a state was begun and no readable version of it exists.
    """
    stored = parse(await context.read_state())
    files: list[Version] = []
    broken: dict[Path, str] = {}
    for each in workdir.run_directories(home):
        ours = (each.owner.run, each.owner.test) == (work.owner.run, work.owner.test)
        if not ours and not (stored and _shares(each, stored.lineage)):
            continue
        await settle(each, grace_s)
        versions, unreadable = read_all(each)
        files += versions
        broken |= unreadable
        for why in unreadable.values():
            context.log(why, "warning")
    chosen = newest(stored, files)
    if chosen is None:
        if broken:
            raise Faulty(
                f"{next(iter(broken.values()))} And no valid version was stored: what it held may exist. "
                "Check the target's inventory, then remove the file.",
            )
        return None
    workdir.write_private(work.state, chosen.content)
    if stored is None or chosen.serial > stored.serial:
        accepted, reason = await context.write_state(chosen.content)
        context.log(f"State {chosen.serial} was recovered from a file" + ("" if accepted else f": {reason}"))
    return chosen


def _shares(work: workdir.RunDirectory, lineage: str) -> bool:
    return any(version.lineage == lineage for version in read_all(work)[0])


async def send_errored(work: workdir.RunDirectory, context: StepContext) -> None:
    """A change failed and Terraform could not write its state file: what it kept instead is stored."""
    found = errored(work)
    if found is None:
        return
    accepted, reason = await context.write_state(found.content)
    told = "was stored" if accepted else f"was refused: {reason}"
    context.log(f"Terraform could not write its state file; state {found.serial} of errored.tfstate {told}", "warning")
