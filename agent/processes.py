"""Children of the agent: started clean, watched, and ended whole.

Every child leads a process group of its own and works inside a given directory: that directory is how what it
leaves behind is found again.
"""

import asyncio
import contextlib
import os
import shutil
import signal
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from urllib.parse import quote

from agent.sandbox import launch
from agent.sandbox.part import Part
from stackly import clock
from stackly.errors import Faulty, NotFound
from stackly.log import MASK, redact_text

GRACE_S = 5.0
OUTPUT_CAP = 8 * 1024 * 1024
_LINE_CAP = 256 * 1024
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SHORTEST_SECRET = 6  # masking shorter texts would shred the output and hide nothing


class Redactor:
    """Masks known secrets, as they are and as a URL carries them, and whatever looks like one."""

    def __init__(self, secrets: Sequence[str] = ()) -> None:
        known = {form for s in secrets if len(s) >= _SHORTEST_SECRET for form in (s, quote(s, safe=""))}
        self._known = sorted(known, key=len, reverse=True)

    def text(self, text: str) -> str:
        for secret in self._known:
            text = text.replace(secret, MASK)
        return redact_text(text)


def clean_environment(cwd: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Nothing of the agent's own environment but PATH reaches a child.

    TMPDIR is the working directory: a child that moves to a temporary one (k6 does) stays below the directory,
    where remove and inventory look for it.
    """
    base = {"PATH": os.environ.get("PATH", _PATH), "HOME": str(cwd), "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
    return {**base, "TZ": "UTC", "TMPDIR": str(cwd), **(extra or {})}


def dying_with_parent(argv: Sequence[str], signum: signal.Signals = signal.SIGTERM) -> list[str]:
    """The command, ended by `signum` when the agent dies; unchanged where setpriv is missing."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", signum.name.removeprefix("SIG"), "--", *argv] if setpriv else list(argv)


class Capture:
    """One stream into one file, redacted line by line: the first half of the cap, and the newest half.

    `on_line` sees every line, the ones that are left out of the file too.
    """

    def __init__(
        self,
        path: Path,
        *,
        redactor: Redactor | None = None,
        on_line: Callable[[str], None] | None = None,
        cap: int = OUTPUT_CAP,
    ) -> None:
        self.path = path
        self._redactor = redactor or Redactor()
        self._on_line = on_line
        self._head_left = cap // 2
        self._tail_cap = cap // 2
        self._tail: deque[bytes] = deque()
        self._tail_size = 0
        self._left_out = 0

    async def pump(self, stream: asyncio.StreamReader) -> None:
        with self._create() as out:
            try:
                await self._copy(stream, out)
            finally:
                self._write_tail(out)

    def _create(self) -> IO[bytes]:
        return os.fdopen(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb", buffering=0)

    async def _copy(self, stream: asyncio.StreamReader, out: IO[bytes]) -> None:
        pending = b""
        while chunk := await stream.read(65536):
            *lines, pending = (pending + chunk).split(b"\n")
            for line in lines:
                self._line(line, out)
            if len(pending) > _LINE_CAP:
                self._line(pending, out)
                pending = b""
        if pending:
            self._line(pending, out)

    def _line(self, raw: bytes, out: IO[bytes]) -> None:
        text = self._redactor.text(raw.decode("utf-8", "replace"))
        if self._on_line is not None:
            self._on_line(text)
        line = text.encode() + b"\n"
        if not self._tail and len(line) <= self._head_left:
            self._head_left -= len(line)
            out.write(line)
            return
        self._tail.append(line)
        self._tail_size += len(line)
        while self._tail_size > self._tail_cap and len(self._tail) > 1:
            dropped = len(self._tail.popleft())
            self._tail_size -= dropped
            self._left_out += dropped

    def _write_tail(self, out: IO[bytes]) -> None:
        if self._left_out:
            out.write(f"... {self._left_out} bytes left out ...\n".encode())
        for line in self._tail:
            out.write(line)


@dataclass(frozen=True, slots=True)
class Ended:
    """Shape: `code` as the shell counts it (128 + signal when killed by one).

    `stopped` is '' when it ended by itself, else why we ended it: cancelled, timeout, closed.
    """

    code: int
    seconds: float
    stopped: str = ""


@dataclass(slots=True)
class Child:
    """A started process and the tasks that read its output. Shape: `box` is its sandbox, None for programs of ours."""

    process: asyncio.subprocess.Process
    began: float
    pumps: list[asyncio.Task[None]] = field(default_factory=list)
    box: launch.Running | None = None

    @property
    def pid(self) -> int:
        return self.process.pid

    def running(self) -> bool:
        return self.process.returncode is None

    def send(self, signum: signal.Signals) -> None:
        """To the whole group, or to the command of a sandbox; what is already gone needs none."""
        if self.box is not None:
            self.box.tell(signum)
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signum)

    async def wait(self, *, cancelled: asyncio.Event | None = None, timeout: float | None = None) -> Ended:
        """Wait for its end; on cancel or timeout end it: SIGTERM, grace, SIGKILL."""
        return await _wait(self, cancelled, timeout)

    async def stop(self, why: str = "closed", *, grace: float = GRACE_S, first: int = signal.SIGTERM) -> Ended:
        """End the group. SIGKILL goes out in every case: a grandchild may outlive its parent."""
        self.send(signal.Signals(first))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.process.wait(), grace)
        self.send(signal.SIGKILL)
        return await self._ended(why)

    async def _ended(self, why: str = "") -> Ended:
        code = await (self.box or self.process).wait()
        seconds = clock.monotonic() - self.began
        if self.pumps:
            # A grandchild that kept the pipe open must not hold us: what it says later is not ours.
            await asyncio.wait(self.pumps, timeout=2)
            for pump in self.pumps:
                pump.cancel()
            await asyncio.gather(*self.pumps, return_exceptions=True)
        return Ended(code if code >= 0 else 128 - code, seconds, why)


async def _wait(child: Child, cancelled: asyncio.Event | None, timeout: float | None) -> Ended:
    ended = asyncio.ensure_future(child.process.wait())
    cancel = asyncio.ensure_future((cancelled or asyncio.Event()).wait())
    try:
        await asyncio.wait({ended, cancel}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        await asyncio.shield(child.stop("cancelled"))
        raise
    finally:
        cancelled_now = cancel.done()
        cancel.cancel()
        still_running = not ended.done()
        ended.cancel()
    if still_running:
        return await child.stop("cancelled" if cancelled_now else "timeout")
    return await child._ended()  # noqa: SLF001 - the same module


async def spawn(
    argv: Sequence[str],
    *,
    cwd: Path,
    stdout: Capture | Path | None = None,
    stderr: Capture | Path | None = None,
    env: Mapping[str, str] | None = None,
    die_with_parent: signal.Signals | None = None,
    part: Part | None = None,
) -> Child:
    """Start a command in its own process group, with nothing on stdin and a clean environment.

    A `Path` gets the stream directly (it outlives the agent); a `Capture` is piped, redacted and capped. With a `part`
    it runs in that part's sandbox.
    Raises: NotFound when the program is not there; Faulty when it cannot be started.
    """
    if part is not None:
        return await _boxed(argv, cwd, stdout, stderr, env, part, lasting=die_with_parent is None)
    command = dying_with_parent(argv, die_with_parent) if die_with_parent is not None else list(argv)
    with contextlib.ExitStack() as files:
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                cwd=cwd,
                env=clean_environment(cwd, env),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=_target(stdout, files),
                stderr=_target(stderr, files),
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise NotFound(f"{command[0]} is not on this machine; install it.") from error
        except OSError as error:
            raise Faulty(f"{command[0]} cannot be started: {error.strerror}.") from error
    return _pumped(Child(process, clock.monotonic()), stdout, stderr)


async def _boxed(
    argv: Sequence[str],
    cwd: Path,
    stdout: Capture | Path | None,
    stderr: Capture | Path | None,
    env: Mapping[str, str] | None,
    part: Part,
    *,
    lasting: bool,
) -> Child:
    """Raises: NotFound; Faulty."""
    if shutil.which(argv[0]) is None:
        raise NotFound(f"{argv[0]} is not on this machine; install it.")
    box = part.box(cwd, clean_environment(cwd, env))
    order = launch.Order(argv, box, part.launcher, GRACE_S, lasting)
    with contextlib.ExitStack() as files:
        try:
            running = await launch.start(part.kind, order, stdout=_target(stdout, files), stderr=_target(stderr, files))
        except OSError as error:
            raise Faulty(f"{argv[0]} cannot be started: {error.strerror}.") from error
    return _pumped(Child(running.process, clock.monotonic(), box=running), stdout, stderr)


def _pumped(child: Child, stdout: Capture | Path | None, stderr: Capture | Path | None) -> Child:
    for sink, stream in ((stdout, child.process.stdout), (stderr, child.process.stderr)):
        if isinstance(sink, Capture) and stream is not None:
            child.pumps.append(asyncio.create_task(sink.pump(stream)))
    return child


def _target(sink: Capture | Path | None, files: contextlib.ExitStack) -> int | IO[bytes]:
    if sink is None:
        return asyncio.subprocess.DEVNULL
    if isinstance(sink, Capture):
        return asyncio.subprocess.PIPE
    opened = os.fdopen(os.open(sink, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab", buffering=0)
    return files.enter_context(opened)


async def run(
    argv: Sequence[str],
    *,
    cwd: Path,
    stdout: Capture | Path | None = None,
    stderr: Capture | Path | None = None,
    env: Mapping[str, str] | None = None,
    cancelled: asyncio.Event | None = None,
    timeout: float | None = None,
    part: Part | None = None,
) -> Ended:
    """Start, wait, and end what must be ended. The child never outlives the agent."""
    child = await spawn(
        argv,
        cwd=cwd,
        stdout=stdout,
        stderr=stderr,
        env=env,
        die_with_parent=signal.SIGTERM,
        part=part,
    )
    return await child.wait(cancelled=cancelled, timeout=timeout)


def tail(path: Path, lines: int = 12) -> str:
    """The last lines of a file that may be absent; for messages."""
    try:
        with path.open("rb") as source:
            source.seek(max(0, path.stat().st_size - 65536))
            text = source.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join(text.rstrip("\n").split("\n")[-lines:])
