"""Between the agent and a command in a sandbox: `init.py CONTROL GRACE_S bound|lasting[:PROCESSES] COMMAND…`.

CONTROL is a socket. The agent writes "t" or "i" (one SIGTERM or SIGINT, to the command alone) and "k" (end it now); the
init writes "s" when the command was started: without it, the sandbox itself failed. End of file says that the agent
died: one that is `bound` gets its SIGTERM, the grace, and is ended; one that is `lasting` (a database) lives on.

It is the first process of its PID namespace where there is one: with it, everything in there ends. Standard library
only, because it starts before every command.
"""

import os
import resource
import select
import signal
import sys
import time
from contextlib import suppress

_OURS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_FORWARDED = {b"t": signal.SIGTERM, b"i": signal.SIGINT}
_KILLED = 128 + signal.SIGKILL
_GOES_FIRST = "500"  # of 1000: as if it held half of the memory besides


def yield_to_the_platform(most: int) -> None:
    """Where memory runs out, the box is ended before the platform; it gets so many of the machine's processes.

    The init too: with it go the box's own file systems in memory.
    """
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:  # noqa: PTH123 - it starts faster so
        file.write(_GOES_FIRST)
    _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NPROC, (most, most))


def start(command: list[str]) -> int:
    """The command, leading a group and a session of its own: what is meant for these never reaches the init."""
    pid = os.fork()
    if pid:
        return pid
    for number in (*_OURS, signal.SIGPIPE, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    os.setsid()
    try:
        os.execvp(command[0], command)  # noqa: S606 - an argv list, no shell
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
    os._exit(127)


def reap(main: int) -> int | None:
    """Take the exit codes of whoever ended, orphans too. Shape: the command's own, as a shell counts, when it ended."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return _KILLED
        if pid == 0:
            return None
        if pid == main:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def heard(control: int) -> bytes:
    """The agent's next word; b'' when it died."""
    try:
        return os.read(control, 1)
    except ConnectionResetError:  # it died before it read our own word
        return b""


def watch(control: int, woken: int, main: int, grace_s: float, *, bound: bool) -> int:
    """Until the command ended, or was ended. Shape: its exit code."""
    watched, until = [control, woken], None
    while until is None or time.monotonic() < until:
        left = None if until is None else max(0.0, until - time.monotonic())
        ready, _, _ = select.select(watched, [], [], left)
        if woken in ready:
            os.read(woken, 512)
        code = reap(main)
        if code is not None:
            return code
        if control not in ready:
            continue
        word = heard(control)
        if word == b"k":
            break
        if not word:
            watched.remove(control)
            if not bound:
                continue
            until = time.monotonic() + grace_s
        with suppress(ProcessLookupError):
            os.kill(main, _FORWARDED.get(word, signal.SIGTERM))
    with suppress(ProcessLookupError, ChildProcessError):
        os.killpg(main, signal.SIGKILL)
        os.waitpid(main, 0)  # who is told that it ended may look for it
    return _KILLED


def main(argv: list[str]) -> None:
    control, grace_s, how, *command = argv
    life, _, most = how.partition(":")  # an agent from before an upgrade names no number
    os.set_inheritable(int(control), False)
    for number in _OURS:
        signal.signal(number, signal.SIG_IGN)
    if most:
        yield_to_the_platform(int(most))
    woken, wakes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    pid = start(command)
    with suppress(OSError):
        os.write(int(control), b"s")
    os._exit(watch(int(control), woken, pid, float(grace_s), bound=life == "bound"))


if __name__ == "__main__":
    main(sys.argv[1:])
