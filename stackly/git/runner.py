"""git as a subprocess that trusts nothing: clean environment, closed protocols, limits on time, memory and output."""

import asyncio
import base64
import contextlib
import os
import re
import resource
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from stackly import addresses, log, texts
from stackly.errors import Faulty, Invalid, Unavailable
from stackly.log import redact_text

_log = log.get("git")

_KNOWN_PROTOCOLS = frozenset({"https", "http", "file"})
_STDERR_CAP = 64 * 1024
_CHUNK = 256 * 1024
_DYING = 10.0  # seconds in which a killed process has to be gone
# What old programs wrote into commits, tags and trees, and what harms nobody: names, addresses, times, padded modes.
# All else that git's check finds is refused as ever: trees that are out of order or hold a name twice, `.git`, links.
_HARMLESS: tuple[str, ...] = (
    *("badDate", "badDateOverflow", "badTimezone", "missingSpaceBeforeDate", "zeroPaddedDate"),
    *("badEmail", "badName", "missingEmail", "missingNameBeforeEmail", "missingSpaceBeforeEmail"),
    *("multipleAuthors", "nulInCommit", "badFilemode", "zeroPaddedFilemode", "badTagName", "missingTaggerEntry"),
)
_FLAGS: tuple[str, ...] = (
    *(f"fetch.fsck.{name}=ignore" for name in _HARMLESS),
    "core.hooksPath=/dev/null",
    "core.symlinks=false",
    "core.fsmonitor=false",
    "core.bigFileThreshold=16m",  # a huge blob is streamed to disk, not held in memory
    "gc.auto=0",
    "maintenance.auto=false",
    "fetch.fsckObjects=true",
    "fetch.recurseSubmodules=false",
    "submodule.recurse=false",
    "http.followRedirects=initial",
    "transfer.credentialsInUrl=die",
    "http.lowSpeedLimit=1000",
    "http.lowSpeedTime=30",
    "protocol.allow=never",
)
# git says these in English (LC_ALL=C) when it refuses what the other side sent or what we asked it to open.
_HOSTILE = re.compile(
    r"fsck error|error in object|error: object [0-9a-f]+: |not allowed|strange (hostname|pathname)"
    r"|credentialsInUrl|uses plaintext credentials|(invalid|malformed) (object|tree|path|index-pack|pack)",
)
_FOUND = re.compile(r"object [0-9a-f]+: ([A-Za-z]+): ")
_NETWORK = re.compile(
    r"unable to access|Could not (resolve|read from)|Failed to connect|Connection (refused|reset|timed out)"
    r"|timed out|early EOF|RPC failed|unexpected disconnect|hung up|expected flush|returned error: (5\d\d|429)"
    r"|repository '.*' not found|Authentication failed|could not read Username|does not appear to be a git",
)


@dataclass(frozen=True, slots=True)
class Result:
    code: int
    out: bytes
    err: str


@dataclass(frozen=True, slots=True)
class Runner:
    """Runs git. `protocols` says what a remote may be: https; http for a local hub; file for tests.

    Units: seconds and bytes.
    """

    protocols: frozenset[str] = frozenset({"https"})
    timeout: float = 120.0
    output_cap: int = 64 * 1024 * 1024
    memory_cap: int = 2 * 1024**3
    disk_cap: int = 4 * 1024**3
    program: str = "git"
    path: str = field(default_factory=lambda: os.environ.get("PATH", os.defpath))

    def __post_init__(self) -> None:
        unknown = self.protocols - _KNOWN_PROTOCOLS
        if unknown:
            raise Invalid(f"git may not speak {', '.join(sorted(unknown))}; choose of https, http, file.")

    def check_url(self, url: str) -> None:
        """Raises: Invalid for anything but a plain URL of an allowed protocol, without credentials in it."""
        parts = addresses.parsed(url)
        allowed = parts is not None and parts.scheme in self.protocols and parts.username is parts.password is None
        if parts is None or not allowed or not url.isprintable() or " " in url:
            wanted = ", ".join(sorted(self.protocols))
            raise Invalid(f"The clone URL must be a plain {wanted} URL without credentials.")
        if parts.scheme != "file" and not parts.hostname:
            raise Invalid("The clone URL names no host.")

    async def run(
        self,
        directory: Path,
        *args: str,
        stdin: bytes = b"",
        ok: Sequence[int] = (0,),
        url: str | None = None,
        token: str | None = None,
        config: Sequence[str] = (),
    ) -> Result:
        """Run `git -C directory args`. `url` is the remote spoken to (checked), `token` goes there alone.

        `config` are settings of this one call, as `name=value`.

        Raises: Unavailable (network), Invalid (hostile or refused), Faulty (git failed, or said too much).
        """
        out = bytearray()
        async with self.open(directory, *args, stdin=stdin, url=url, token=token, config=config) as git:
            async for chunk in git.chunks():
                out += chunk
                if len(out) > self.output_cap:
                    raise Faulty(f"git {args[0]} printed more than {self.output_cap} bytes and was stopped.")
            code, err = await git.end()
        if code not in ok:
            raise failure(args[0], code, err)
        return Result(code, bytes(out), err)

    @contextlib.asynccontextmanager
    async def open(
        self,
        directory: Path,
        *args: str,
        stdin: bytes = b"",
        url: str | None = None,
        token: str | None = None,
        config: Sequence[str] = (),
    ) -> AsyncIterator["Running"]:
        """Run git and read its output as it comes. Its whole process group is dead when this ends."""
        if url is not None:
            self.check_url(url)
        settings = [part for name in config for part in ("-c", name)]
        with _presented(url, token) as (fds, told):
            process = await self._spawn(directory, (*settings, *args), self._environment() | told, fds)
        running = Running(process, stdin)
        try:
            async with asyncio.timeout(self.timeout):
                yield running
        except TimeoutError:
            kind = Unavailable if url is not None else Faulty
            raise kind(f"git {args[0]} did not end within {self.timeout:g} seconds.") from None
        finally:
            await asyncio.shield(running.kill())

    async def _spawn(
        self, directory: Path, args: tuple[str, ...], env: dict[str, str], fds: tuple[int, ...]
    ) -> asyncio.subprocess.Process:
        try:
            process = await asyncio.create_subprocess_exec(
                self.program,
                "-C",
                str(directory),
                *self._flags(),
                *args,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=env,
                pass_fds=fds,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise Faulty(f"git could not be started: {error}. Is it installed and on PATH?") from error
        self._limit(process.pid)
        return process

    def _limit(self, pid: int) -> None:
        seconds = int(self.timeout) + 1
        with contextlib.suppress(OSError, ValueError):  # it may have ended already
            resource.prlimit(pid, resource.RLIMIT_AS, (self.memory_cap, self.memory_cap))
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (self.disk_cap, self.disk_cap))
            resource.prlimit(pid, resource.RLIMIT_CPU, (seconds, seconds))

    def _flags(self) -> list[str]:
        allowed = [f"protocol.{name}.allow=always" for name in sorted(self.protocols)]
        return [part for flag in (*_FLAGS, *allowed) for part in ("-c", flag)]

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": self.path,
            "HOME": "/nonexistent",
            "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "/bin/false",
            "GIT_ALLOW_PROTOCOL": ":".join(sorted(self.protocols)),
            "GIT_NO_LAZY_FETCH": "1",
            "GIT_LFS_SKIP_SMUDGE": "1",
            "GIT_OPTIONAL_LOCKS": "0",
        }


class Running:
    """One git on its way: read `chunks`, then `end`."""

    def __init__(self, process: asyncio.subprocess.Process, stdin: bytes) -> None:
        self._process = process
        self._feeding = asyncio.create_task(self._feed(stdin))
        self._erring = asyncio.create_task(self._drain())

    async def chunks(self) -> AsyncIterator[bytes]:
        stdout = self._process.stdout
        assert stdout is not None
        while chunk := await stdout.read(_CHUNK):
            yield chunk

    async def end(self) -> tuple[int, str]:
        """The exit code, and what it said on stderr with secrets masked."""
        await self._feeding
        err = await self._erring
        return await self._process.wait(), redact_text(texts.legible(err))

    async def kill(self) -> None:
        """End the whole process group, and wait until it is gone."""
        group = self._process.pid
        with contextlib.suppress(ProcessLookupError, PermissionError):
            # The leader may be gone while a child of its session lives on.
            os.killpg(group, signal.SIGKILL)
        for task in (self._feeding, self._erring):
            task.cancel()
        await asyncio.gather(self._feeding, self._erring, return_exceptions=True)
        try:
            async with asyncio.timeout(_DYING):
                await self._finish()
                while _runs(group):  # noqa: ASYNC110 - SIGKILL is carried out some time after it was sent
                    await asyncio.sleep(0.002)
        except TimeoutError:
            _log.error("git.outlived", group=group, seconds=_DYING)

    async def _finish(self) -> None:
        # asyncio reports the end of a child only when its pipes are at their ends, and a full one is paused.
        async for _ in self.chunks():
            pass
        await self._process.wait()

    async def _feed(self, stdin: bytes) -> None:
        pipe = self._process.stdin
        assert pipe is not None
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            pipe.write(stdin)
            await pipe.drain()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            pipe.close()
            await pipe.wait_closed()

    async def _drain(self) -> bytes:
        stderr = self._process.stderr
        assert stderr is not None
        kept = bytearray()
        while chunk := await stderr.read(_CHUNK):
            kept += chunk[: _STDERR_CAP - len(kept)]
        return bytes(kept)


def _runs(group: int) -> bool:
    """Whether any process of a group still runs; what is dead and only waits to be collected does not."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    states = [_state(place) for place in Path("/proc").glob("[0-9]*/stat")]
    return not states or any(of == group and state not in "ZX" for state, of in states)


def _state(place: Path) -> tuple[str, int]:
    """State and process group, as the kernel tells them."""
    try:
        told = place.read_text().rpartition(")")[2].split()
    except OSError:  # it ended meanwhile
        return "X", 0
    return told[0], int(told[2])


def is_harmless(detail: str) -> bool:
    """Whether a fetch was refused for an object that is only old."""
    found = _FOUND.search(detail)
    return found is not None and found[1] in _HARMLESS


def failure(command: str, code: int, err: str) -> Faulty | Invalid | Unavailable:
    """The error that git's own words mean."""
    said = err.strip().split("\n")
    last = "; ".join(texts.shown(line.strip()) for line in said[-3:])[:500] or "it said nothing"
    text = f"git {command} failed with exit code {code}: {last}"
    if _HOSTILE.search(err):
        return Invalid(text)
    if _NETWORK.search(err):
        return Unavailable(text)
    return Faulty(text)


@contextlib.contextmanager
def _presented(url: str | None, token: str | None) -> Iterator[tuple[tuple[int, ...], dict[str, str]]]:
    """The token as a header for this one host, in memory that git and its children inherit.

    Not in argv, not on disk, and not in the environment either: that of every process can be read in /proc.
    Shape: (descriptors to pass on, environment that names them).
    """
    if url is None or token is None:
        yield (), {}
        return
    parts = urlsplit(url)
    basic = base64.b64encode(f"x-access-token:{token}".encode()).decode()
    setting = f'[http "{parts.scheme}://{parts.netloc}/"]\n\textraHeader = Authorization: Basic {basic}\n'
    held = os.memfd_create("git-config", os.MFD_CLOEXEC)
    try:
        os.write(held, setting.encode())
        included = {"GIT_CONFIG_KEY_0": "include.path", "GIT_CONFIG_VALUE_0": f"/proc/self/fd/{held}"}
        yield (held,), {"GIT_CONFIG_COUNT": "1", **included}
    finally:
        os.close(held)
