"""One Terraform process: in its sandbox, with a clean environment, ended with its agent, output to files of ours."""

import asyncio
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agent import workdir
from agent.context import Cancelled
from agent.processes import tail
from agent.sandbox import launch
from agent.sandbox.box import Box
from agent.sandbox.isolation import Isolation
from stackly.errors import Faulty, Unavailable
from stackly.temporal.steps import STEP_GRACE

# What Terraform and its providers may see of ours: nothing of the platform, no credentials.
_PASSED = ("PATH", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR")
_PASSED_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")


@dataclass(frozen=True, slots=True)
class TerraformSettings:
    """Shape: `plugin_mirror` is an unpacked filesystem mirror; `readable` is what every run may see besides.

    `installation` are lines of Terraform's CLI configuration: where providers come from when there is no mirror.
    Units: `grace_s` seconds from SIGTERM to SIGKILL.
    """

    isolation: Isolation
    executable: str = "terraform"
    plugin_mirror: Path | None = None
    installation: tuple[str, ...] = ()
    readable: tuple[Path, ...] = ()
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
    """Shape: `arguments` without the executable; `out` and `err` are ours; `shared` are the home's providers."""

    executable: str
    arguments: Sequence[str]
    work: workdir.RunDirectory
    directory: Path
    shared: Path
    out: Path
    err: Path
    uid: int = 0


def box(command: Command, settings: TerraformSettings) -> Box:
    """The run's own directories; read-only what Terraform needs of us."""
    work = command.work
    env = environment(work)
    certificates = [Path(env[name]) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if name in env]
    ours = [
        work.cli_config,
        work.variables,
        work.plan,
        work.approved,
        command.shared,
        Path(command.executable),
        *certificates,
    ]
    ours += [*settings.readable, *([settings.plugin_mirror.absolute()] if settings.plugin_mirror else [])]
    return Box(command.directory, work.lent, env, tuple(path for path in ours if path.exists()), command.uid)


async def spawn(command: Command, settings: TerraformSettings) -> launch.Running:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    out, err = os.open(command.out, flags, 0o600), os.open(command.err, flags, 0o600)
    order = launch.Order([command.executable, *command.arguments], box(command, settings), grace_s=settings.grace_s)
    try:
        return await launch.start(settings.isolation.kind, order, stdout=out, stderr=err)
    finally:
        os.close(out)
        os.close(err)


async def stop(running: launch.Running, work: workdir.RunDirectory, grace_s: float) -> None:
    """One SIGTERM to Terraform alone: its providers must finish what they create. After the grace, all of them."""
    try:
        await running.stop(grace_s)
    except Unavailable:
        pass  # there was no sandbox: nothing of it runs, and who waits for it is told
    finally:
        running.close()
    await workdir.end_occupants(work.root)


async def supervise(
    command: Command, settings: TerraformSettings, cancelled: asyncio.Event, *, timeout_s: float
) -> int:
    """Run to the end: the exit code.

    Raises: Cancelled, Faulty on timeout, Unavailable without a sandbox; the process is gone in each case.
    """
    if cancelled.is_set():
        raise Cancelled
    running = await spawn(command, settings)
    ended = asyncio.create_task(running.wait())
    told = asyncio.create_task(cancelled.wait())
    try:
        await asyncio.wait({ended, told}, timeout=max(timeout_s, 0.0), return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            return _code(ended, command)
        if told.done():
            raise Cancelled
        raise Faulty(f"terraform {command.arguments[0]} did not end within {timeout_s:.0f} s and was stopped.")
    finally:
        told.cancel()
        await asyncio.shield(stop(running, command.work, settings.grace_s))
        await asyncio.gather(ended, return_exceptions=True)


def _code(ended: "asyncio.Task[int]", command: Command) -> int:
    try:
        return ended.result()
    except Unavailable as error:
        raise Unavailable(f"{error.detail} {tail(command.err, 1)}".strip()) from None
