"""The home's provider cache: filled by commands that know no pushed code, and read-only to every run.

Terraform takes a package from a cache only when the lock file has its hash; so a run is shown the packages that its
lock file names by their hash, and downloads everything else into a cache of its own, which goes with it.
"""

import asyncio
import base64
import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from agent import workdir
from agent.context import StepContext
from agent.terraform import bundle
from agent.terraform.process import Command, TerraformSettings, supervise
from stackly import ids
from stackly.errors import StacklyError

_BLOCK = re.compile(r'^provider\s+"([^"]*)"\s*\{\s*$(.*?)^\}', re.MULTILINE | re.DOTALL)
_SET = re.compile(r'^\s*version\s*=\s*"([^"]*)"\s*$', re.MULTILINE)
_HASH = re.compile(r'"(h1:[A-Za-z0-9+/=]{40,60})"')
_ADDRESS = re.compile(r"[a-z0-9][a-z0-9.-]{0,200}(:[0-9]{1,5})?(/[0-9A-Za-z][0-9A-Za-z_-]{0,63}){2}")
_VERSION = re.compile(r"[0-9]{1,9}\.[0-9]{1,9}\.[0-9]{1,9}(-[0-9A-Za-z.-]{1,40})?")
_FETCH_S = 300.0


@dataclass(frozen=True, slots=True)
class Locked:
    """One provider of a lock file. Shape: `hashes` are the h1 ones, of unpacked packages."""

    address: str
    version: str
    hashes: frozenset[str]

    @property
    def path(self) -> Path:
        return Path(self.address) / self.version


def locked(text: str) -> list[Locked]:
    """What could be kept of a lock file; whatever looks otherwise is Terraform's to judge."""
    found = []
    for address, body in _BLOCK.findall(text):
        version = _SET.search(body)
        hashes = frozenset(_HASH.findall(body))
        if version and hashes and _ADDRESS.fullmatch(address) and _VERSION.fullmatch(version[1]):
            found.append(Locked(address, version[1], hashes))
    return found


def package_hash(package: Path) -> str:
    """As Terraform hashes an unpacked package (`h1:`)."""
    files = sorted(str(path.relative_to(package)) for path in package.rglob("*") if path.is_file())
    lines = "".join(f"{_digest(package / name)}  {name}\n" for name in files)
    return "h1:" + base64.b64encode(hashlib.sha256(lines.encode()).digest()).decode()


def _digest(path: Path) -> str:
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def shared(home: Path) -> Path:
    """Shape: `<host>/<namespace>/<type>/<version>/<platform>`, beside each package `<platform>.h1` with its hash."""
    return workdir.private(home.absolute() / "providers", 0o755)


@dataclass(frozen=True, slots=True)
class Cache:
    home: Path
    executable: str
    settings: TerraformSettings

    async def offer(self, lock: str, work: workdir.RunDirectory, context: StepContext) -> None:
        """Show the run what its lock file names; what is missing is fetched once for all runs."""
        for one in locked(lock):
            if not self._packages(one):
                await self._bring(one, context)
            for package, digest in self._packages(one).items():
                if digest in one.hashes:
                    place = work.providers / one.path / package.name
                    place.parent.mkdir(parents=True, exist_ok=True)
                    place.unlink(missing_ok=True)
                    place.symlink_to(package)

    def _packages(self, one: Locked) -> dict[Path, str]:
        kept = shared(self.home) / one.path
        return {file.with_suffix(""): file.read_text() for file in kept.glob("*.h1")}

    async def _bring(self, one: Locked, context: StepContext) -> None:
        """A provider that cannot be fetched is left to the run's own init, which says why."""
        async with self._alone(one):
            if self._packages(one):
                return
            work = workdir.RunDirectory(self.home.absolute() / "fetches" / str(workdir.owned(ids.new_id(), "", "0")))
            try:
                await self._fetch(one, work, context)
                await asyncio.to_thread(self._keep, one, work)
            except (StacklyError, OSError) as error:
                context.log(f"{one.address} {one.version} is not kept for other runs: {error}")
            finally:
                await workdir.delete(work.root)

    @asynccontextmanager
    async def _alone(self, one: Locked) -> AsyncIterator[None]:
        """One fetch of a version at a time; a slow registry holds up nobody else."""
        folder = workdir.private(self.home.absolute() / "fetches", 0o711)
        name = hashlib.sha256(str(one.path).encode()).hexdigest()[:32]
        with (folder / f".{name}.lock").open("a") as lock:
            while not _taken(lock.fileno()):  # noqa: ASYNC110 - the other holder may be another process
                await asyncio.sleep(0.1)
            yield

    async def _fetch(self, one: Locked, work: workdir.RunDirectory, context: StepContext) -> None:
        """An init of a module of ours that needs this version and nothing else."""
        work.make()
        uid = self.settings.isolation.uid(work.root)
        needs = {"kept": {"source": one.address, "version": one.version}}
        workdir.write_private(
            work.tree / "main.tf.json", json.dumps({"terraform": {"required_providers": needs}}).encode()
        )
        bundle.write_cli_config(work, self.settings)
        work.make(uid)
        workdir.lend(work.cli_config, uid)
        out, err = work.output / "init.out", work.output / "init.err"
        arguments = ("init", "-input=false", "-no-color", "-backend=false")
        command = Command(self.executable, arguments, work, work.tree, shared(self.home), out, err, uid)
        code = await supervise(command, self.settings, context.cancelled, timeout_s=_FETCH_S)
        if code:
            raise OSError(f"terraform init ended with {code}")

    def _keep(self, one: Locked, work: workdir.RunDirectory) -> None:
        """Nobody lives there any more: what was unpacked becomes ours, plain and closed to writers."""
        target = shared(self.home) / one.path
        target.mkdir(parents=True, exist_ok=True)
        for package in (work.providers / one.path).iterdir():
            if package.is_symlink() or not package.is_dir() or (target / package.name).exists():
                continue
            _make_plain(package)
            digest = package_hash(package)
            package.rename(target / package.name)
            workdir.write_private(target / f"{package.name}.h1", digest.encode())


def _make_plain(package: Path) -> None:
    """Raises: OSError for what a package cannot hold."""
    for folder, _, files, at in os.fwalk(package, follow_symlinks=False):
        os.fchown(at, os.geteuid(), os.getegid())
        os.fchmod(at, 0o755)
        for name in files:
            if (Path(folder) / name).is_symlink() or not (Path(folder) / name).is_file():
                raise OSError(f"{name} is no plain file")
            os.chown(name, os.geteuid(), os.getegid(), dir_fd=at, follow_symlinks=False)
            os.chmod(name, 0o755, dir_fd=at)  # noqa: S103 - programs that every run's user starts


def _taken(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def forget_earlier(home: Path) -> None:
    """Earlier releases let every run write into one cache: what is in it may be anybody's."""
    shutil.rmtree(home.absolute() / "plugins", ignore_errors=True)
