"""One Terraform process: its own group, a clean environment, ended with its parent, output to files."""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from agent import workdir
from agent.context import Cancelled
from stackly.engine.contracts.steps import STEP_GRACE
from stackly.errors import Faulty, Unavailable

# The kernel sends SIGTERM to what this becomes when the *thread* that forked it dies; the event loop's thread lives
# as long as the agent. Set by a launcher, because code between fork and exec may deadlock beside gRPC's threads.
_LAUNCHER = """
import ctypes, os, signal, sys
ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGTERM)
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
if os.getppid() != int(sys.argv[1]):
    os._exit(143)
os.execv(sys.argv[2], sys.argv[2:])
"""

# What Terraform and its providers may see of ours: nothing of the platform, no credentials.
_PASSED = ("PATH", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR")
_PASSED_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")


@dataclass(frozen=True, slots=True)
class TerraformSettings:
    """Shape: `plugin_mirror` is an unpacked filesystem mirror. Units: `grace_s` seconds from SIGTERM to SIGKILL."""

    executable: str = "terraform"
    plugin_mirror: Path | None = None
    grace_s: float = STEP_GRACE.total_seconds()


def locate(executable: str) -> str:
    """Raises: Unavailable."""
    found = shutil.which(executable)
    if found is None:
        raise Unavailable(f"No Terraform at {executable!r}: install it or set its path; `stackly doctor` checks.")
    return str(Path(found).absolute())


def environment(work: workdir.RunDirectory) -> dict[str, str]:
    passed = {name: value for name, value in os.environ.items() if name in _PASSED + _PASSED_PROXIES}
    return passed | {
        "HOME": str(work.scratch),
        "TMPDIR": str(work.scratch),
        "TF_DATA_DIR": str(work.data),
        "TF_IN_AUTOMATION": "1",
        "TF_INPUT": "0",
        "TF_CLI_CONFIG_FILE": str(work.cli_config),
        "CHECKPOINT_DISABLE": "1",
    }


@dataclass(frozen=True, slots=True)
class Command:
    """Shape: `arguments` without the executable; `out` and `err` are files that the child writes itself."""

    executable: str
    arguments: Sequence[str]
    work: workdir.RunDirectory
    directory: Path
    out: Path
    err: Path


async def spawn(command: Command) -> asyncio.subprocess.Process:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    out, err = os.open(command.out, flags, 0o600), os.open(command.err, flags, 0o600)
    try:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *("-I", "-S", "-c", _LAUNCHER, str(os.getpid()), command.executable, *command.arguments),
            cwd=command.directory,
            env=environment(command.work),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
    finally:
        os.close(out)
        os.close(err)


async def stop(process: asyncio.subprocess.Process, work: workdir.RunDirectory, grace_s: float) -> None:
    """One SIGTERM to Terraform alone: its providers must finish what they create. After the grace, all of them."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), grace_s)
        except TimeoutError:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    await workdir.end_occupants(work.root)


async def supervise(command: Command, cancelled: asyncio.Event, *, timeout_s: float, grace_s: float) -> int:
    """Run to the end: the exit code. Raises: Cancelled, Faulty on timeout; the process is gone in each case."""
    if cancelled.is_set():
        raise Cancelled
    process = await spawn(command)
    ended = asyncio.create_task(process.wait())
    told = asyncio.create_task(cancelled.wait())
    try:
        await asyncio.wait({ended, told}, timeout=max(timeout_s, 0.0), return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            return ended.result()
        if told.done():
            raise Cancelled
        raise Faulty(f"terraform {command.arguments[0]} did not end within {timeout_s:.0f} s and was stopped.")
    finally:
        told.cancel()
        await asyncio.shield(stop(process, command.work, grace_s))
        await ended
