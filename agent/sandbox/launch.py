"""Start a command in a box, and end it: the same meaning in every kind of isolation."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from agent.sandbox import bwrap
from agent.sandbox.box import Box, Kind
from agent.sandbox.programs import located
from agent.sandbox.users import end_user
from stackly.errors import Unavailable

Sink = int | IO[bytes]


@dataclass(frozen=True, slots=True)
class Order:
    """One command. Shape: `launcher` goes before the sandbox; a `lasting` one outlives the agent. Units: seconds."""

    argv: Sequence[str]
    box: Box
    launcher: Sequence[str] = ()
    grace_s: float = 30.0
    lasting: bool = False


def dropped(box: Box) -> list[str]:
    """What makes root's command one of the box's user, without any right; the init stays root, out of its reach."""
    if os.geteuid() != 0 or not box.uid:
        return []
    ids = ("--reuid", str(box.uid), "--regid", str(box.uid), "--clear-groups")
    return [located("setpriv") or "setpriv", *ids, "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs", "--"]


def _most_processes() -> int:
    """Half of what this machine can have: a namespace of its own shows another number."""
    return int(Path("/proc/sys/kernel/pid_max").read_text()) // 2


def command_line(kind: Kind, order: Order, control: int) -> tuple[list[str], list[int]]:
    """Shape: (argv, descriptors that it names, to be closed by the caller once it was started)."""
    options, files = bwrap.view(order.box) if kind is Kind.BUBBLEWRAP else ([], [])
    life = f"{'lasting' if order.lasting else 'bound'}:{_most_processes()}"
    init = [os.path.realpath(sys.executable), "-I", "-S", str(bwrap.INIT), str(control), str(order.grace_s), life]
    drop = [] if kind is Kind.NONE else dropped(order.box)
    return [
        *order.launcher,
        *([located("bwrap") or "bwrap", *options, "--"] if options else []),
        *init,
        *drop,
        *order.argv,
    ], files


@dataclass(slots=True)
class Running:
    """A command in its box. Shape: `process` is bubblewrap's monitor, which a signal would end without an exit code."""

    process: asyncio.subprocess.Process
    kind: Kind
    order: Order
    _control: socket.socket
    _code: int | None = field(default=None)

    @property
    def returncode(self) -> int | None:
        return self.process.returncode

    def tell(self, signum: signal.Signals) -> None:
        """SIGTERM and SIGINT go to the command alone; SIGKILL ends all of its box."""
        word = {signal.SIGTERM: b"t", signal.SIGINT: b"i", signal.SIGKILL: b"k"}[signum]
        with contextlib.suppress(OSError):
            self._control.send(word, socket.MSG_NOSIGNAL)

    async def wait(self) -> int:
        """Its exit code, 128 + n when signal n ended it. Raises: Unavailable when the sandbox could not be made."""
        if self._code is not None:
            return self._code
        code = await self.process.wait()
        if self.kind is Kind.USER and self.order.box.uid:
            await asyncio.to_thread(end_user, self.order.box.uid)
        if not self._began():
            raise Unavailable(
                f"The sandbox of {Path(self.order.argv[0]).name} could not be made ({self.kind}, exit {code}); "
                "`stackly doctor` says what this machine offers.",
            )
        self._code = code if code >= 0 else 128 - code
        self.close()
        return self._code

    def _began(self) -> bool:
        try:
            return self._control.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK) == b"s"
        except OSError:
            return False

    def close(self) -> None:
        self._control.close()

    async def stop(self, grace_s: float, first: signal.Signals = signal.SIGTERM) -> int:
        """One signal to the command, the grace, then the end of everything in its box."""
        if self.process.returncode is None:
            self.tell(first)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.process.wait(), grace_s)
        self.tell(signal.SIGKILL)
        return await self.wait()


async def start(kind: Kind, order: Order, *, stdout: Sink, stderr: Sink) -> Running:
    """Shape: `stdout` and `stderr` are files of ours, or asyncio's PIPE and DEVNULL. Raises: OSError; Unavailable."""
    ours, theirs = socket.socketpair()
    with contextlib.ExitStack() as opened:
        opened.callback(theirs.close)
        argv, files = command_line(kind, order, theirs.fileno())
        for file in files:
            opened.callback(os.close, file)
        if shutil.which(argv[0]) is None:
            ours.close()
            raise Unavailable(f"{argv[0]} is not on this machine any more; install it, or run: stackly doctor")
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                cwd=order.box.cwd,
                env=dict(order.box.env),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                pass_fds=[theirs.fileno(), *files],
                start_new_session=True,
                umask=0o077,
            )
        except BaseException:
            ours.close()
            raise
    return Running(process, kind, order, ours)
