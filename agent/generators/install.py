"""Stroppy on this machine: from a pinned archive, or a person's own executable; proven by what it says of itself."""

import asyncio
import contextlib
import hashlib
import json
import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from agent import workdir
from agent.context import Cancelled
from agent.generators import manifest
from agent.generators.model import Installed
from agent.generators.stroppy import Stroppy
from agent.generators.stroppy_go import StroppyGo
from agent.generators.stroppy_k6 import StroppyK6
from agent.processes import Capture, run, tail
from agent.sandbox.part import Part
from stackly.errors import Faulty, Invalid, NotFound, StacklyError, Unavailable

ATTEMPTS = 4
BACKOFF_S = 0.5
_UNKNOWN = ("", "0.0.0", "unknown", "dev")
_VERSION = re.compile(r"v?\d+\.\d+\.\d+[\w.+-]*")


@dataclass(frozen=True, slots=True)
class Source:
    """Shape: `executable` is STACKLY_STROPPY; `manifest` a person's own pins; `cache` holds <version>/stroppy."""

    cache: Path
    executable: Path | None = None
    manifest: Path | None = None
    backoff_s: float = BACKOFF_S


def sha256(path: Path) -> str:
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


@contextlib.contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """A private directory next to the target: gone in every case, so that a cancel leaves nothing."""
    target.parent.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".install-", dir=target.parent.parent))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


async def ensure(source: Source, version: str, cancelled: asyncio.Event) -> Path:
    """The executable, always at a path that ends in `/stroppy`: under another name v5 is plain k6 (trap 6)."""
    if source.executable is not None:
        return await asyncio.to_thread(_own, source.cache, source.executable)
    if not version:
        raise Invalid("workload.driver_version is required for Stroppy, for instance 5.7.3.")
    if not _VERSION.fullmatch(version):
        raise Invalid(f"{version} is no version of Stroppy; write it as 5.7.3.")
    archive = manifest.find(version, source.manifest)
    target = source.cache / "stroppy" / f"{archive.version}-{archive.sha256[:12]}" / "stroppy"
    if not target.exists():
        with _beside(target) as work:
            await _download(archive, work / "archive.tar.gz", cancelled, source.backoff_s)
            unpacked = await asyncio.to_thread(_unpack, work)
            _place(unpacked, target)
    return target


def _own(cache: Path, executable: Path) -> Path:
    """A copy by content: the person may replace theirs while a run uses it."""
    if not executable.is_file() or not os.access(executable, os.X_OK):
        raise NotFound(f"STACKLY_STROPPY names {executable}, which is not an executable file.")
    target = cache / "stroppy" / f"own-{sha256(executable)[:16]}" / "stroppy"
    if not target.exists():
        with _beside(target) as work:
            shutil.copy2(executable, work / "stroppy")
            _place(work / "stroppy", target)
    return target


def _place(executable: Path, target: Path) -> None:
    executable.chmod(0o755)
    target.parent.mkdir(parents=True, exist_ok=True)
    executable.replace(target)


async def _download(archive: manifest.Archive, path: Path, cancelled: asyncio.Event, backoff_s: float) -> None:
    for attempt in range(ATTEMPTS):
        try:
            await _fetch(archive, path, cancelled)
        except (httpx.HTTPError, OSError) as error:
            if attempt == ATTEMPTS - 1:
                raise Unavailable(f"{archive.url} could not be downloaded in {ATTEMPTS} attempts: {error}") from error
            await asyncio.sleep(backoff_s * 2**attempt)
        else:
            break
    found = await asyncio.to_thread(sha256, path)
    if found != archive.sha256:
        raise Invalid(
            f"The archive of Stroppy {archive.version} is not the pinned one: its SHA-256 is {found}, "
            f"pinned is {archive.sha256}. Nothing was installed.",
            sha256=found,
        )


async def _fetch(archive: manifest.Archive, path: Path, cancelled: asyncio.Event) -> None:
    async with (
        httpx.AsyncClient(follow_redirects=True, timeout=30, trust_env=True) as client,
        client.stream("GET", archive.url) as answer,
    ):
        answer.raise_for_status()
        with path.open("wb") as out:
            async for chunk in answer.aiter_bytes():
                if cancelled.is_set():
                    raise Cancelled
                out.write(chunk)


def _unpack(work: Path) -> Path:
    """Only the one member we want: nothing else of an archive touches the disk."""
    try:
        with tarfile.open(work / "archive.tar.gz") as archive:
            member = next((m for m in archive if m.isfile() and Path(m.name).name == "stroppy"), None)
            content = archive.extractfile(member) if member else None
            if content is None:
                raise Invalid("The archive holds no file named stroppy.")
            with (work / "stroppy").open("wb") as out:
                shutil.copyfileobj(content, out)
    except tarfile.TarError as error:
        raise Invalid(f"The archive cannot be read: {error}") from error
    return work / "stroppy"


async def told(path: Path, cancelled: asyncio.Event, part: Part) -> dict[str, Any]:
    """What `version --json` says. Raises: Invalid for a program that is not Stroppy, or too old to say."""
    with _scratch(part) as (work, inner):
        ended = await run(
            [str(path), "version", "--json"],
            cwd=inner.writable[-1],
            stdout=Capture(work / "out"),
            stderr=Capture(work / "err"),
            cancelled=cancelled,
            timeout=30,
            part=inner.seeing(path),
        )
        if ended.stopped == "cancelled":
            raise Cancelled
        text, wrong = (work / "out").read_text(), tail(work / "err")
    try:
        said = json.loads(text)
    except ValueError:
        said = None
    if ended.code or not isinstance(said, dict) or "stroppy" not in said:
        raise Invalid(
            f"{path} does not answer `version --json` as Stroppy 4.1 or later does (exit code {ended.code}). {wrong}",
            exit_code=ended.code,
        )
    return said


@contextlib.contextmanager
def _scratch(part: Part) -> Iterator[tuple[Path, Part]]:
    """A directory of ours for the output, and the part with one in it that is the program's own."""
    with tempfile.TemporaryDirectory(prefix="version-", dir=part.home) as made:
        work = Path(made).resolve()
        workdir.private(work, 0o711 if part.uid else 0o700)
        yield work, part.writing(work / "own")


def adapter_for(said: dict[str, Any], installed: Installed) -> Stroppy:
    """The generation is what it carries, not what it calls itself: only the k6 line names k6 (trap 7)."""
    return StroppyK6(installed) if "k6" in said else StroppyGo(installed)


def check_version(asked: str, said: str) -> None:
    """Builds that do not know their version are told by their SHA-256 alone; one that names another is refused."""
    wanted, has = asked.removeprefix("v"), said.removeprefix("v")
    if wanted and has not in _UNKNOWN and has != wanted:
        raise Invalid(f"The suite asks for Stroppy {wanted}, and the executable says it is {has}.")


async def stroppy(source: Source, version: str, cancelled: asyncio.Event, part: Part) -> Stroppy:
    """Install where needed and choose the adapter. Raises: Invalid, NotFound, Unavailable, Faulty, Cancelled."""
    try:
        path = await ensure(source, version, cancelled)
        said = await told(path, cancelled, part)
    except (StacklyError, Cancelled):
        raise
    except OSError as error:
        raise Faulty(f"Stroppy could not be installed: {error}") from error
    name = str(said.get("stroppy", ""))
    check_version(version, name)
    digest = await asyncio.to_thread(sha256, path)
    return adapter_for(said, Installed("unknown" if name in _UNKNOWN else name.removeprefix("v"), digest, path))
