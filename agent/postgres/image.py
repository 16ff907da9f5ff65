"""A container image made of this machine's own Postgres binaries: no registry is asked.

Everything keeps the path it has here, so that the libraries beside the binaries are found as they are here.
"""

import hashlib
import io
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from agent.postgres.binaries import Binaries
from stackly.errors import Faulty

REPOSITORY = "stackly-postgres"
UID = 70
_SHELL = Path("/bin/sh")  # initdb starts the server through it
_PROGRAMS = ("postgres", "initdb", "pgbench", "psql", "pg_ctl", "pg_isready", "pg_basebackup")
_MODULES = ("plpgsql.so", "libpqwalreceiver.so", "dict_snowball.so")
_RESOLVED = re.compile(r"(?:=> )?(/\S+) \(0x")
_LEFT_OUT = {"include", "doc", "man"}
_PASSWD = f"root:x:0:0:root:/:/bin/sh\npostgres:x:{UID}:{UID}:postgres:/:/bin/sh\n"
_GROUP = f"root:x:0:\npostgres:x:{UID}:\n"


def _libraries(programs: Iterable[Path]) -> set[Path]:
    """What the loader resolves for each. Raises: Faulty when one is missing here."""
    found: set[Path] = set()
    for program in programs:
        done = subprocess.run(["ldd", str(program)], capture_output=True, text=True, timeout=30, check=False)
        if "not found" in done.stdout:
            raise Faulty(f"{program} lacks a library on this machine:\n{done.stdout}")
        found |= {Path(path) for path in _RESOLVED.findall(done.stdout)}
    return found


def _members(binaries: Binaries) -> list[Path]:
    root = binaries.root
    tree = [p for p in root.rglob("*") if p.is_file() and not _LEFT_OUT & set(p.relative_to(root).parts[:-1])]
    programs = [root / "bin" / name for name in _PROGRAMS if (root / "bin" / name).exists()]
    modules = [p for name in _MODULES for p in root.rglob(name)]
    kept = [p for p in tree if p.parent.name != "bin" or p in programs]
    return sorted({*kept, *_libraries([*programs, *modules, _SHELL]), _SHELL})


def _contents(binaries: Binaries) -> Iterator[tuple[str, bytes, int]]:
    """Shape: (path without its slash, bytes, mode), in one order; links are followed."""
    # A loader names libraries in ways that climb (`bin/../lib/x`): written once, as the place they lead to.
    for name, path in sorted({"/".join(_climbed(p)): p for p in _members(binaries)}.items()):
        yield name, path.read_bytes(), 0o755 if path.stat().st_mode & 0o100 else 0o644
    yield "etc/passwd", _PASSWD.encode(), 0o644
    yield "etc/group", _GROUP.encode(), 0o644


def _climbed(path: Path) -> list[str]:
    parts: list[str] = []
    for part in path.parts[1:]:
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    return parts


def _tar(binaries: Binaries, out: Path) -> str:
    """Shape: hex of the content's SHA-256; times and owners are fixed, so equal content is an equal name."""
    digest = hashlib.sha256()
    with tarfile.open(out, "w") as archive:
        for name, data, mode in _contents(binaries):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), mode
            archive.addfile(member, io.BytesIO(data))
            digest.update(f"{name}\0{mode}\0{len(data)}\0".encode() + data)
        scratch = tarfile.TarInfo("tmp")
        scratch.type, scratch.mode = tarfile.DIRTYPE, 0o1777
        archive.addfile(scratch)
    return digest.hexdigest()


def ensure(client: Any, binaries: Binaries) -> str:
    """Build on first use. Shape: repository:tag; the tag names the major and the content."""
    import docker.errors  # late: only machines of target docker have it in use

    with tempfile.TemporaryDirectory(prefix="stackly-image-") as scratch:
        path = Path(scratch) / "image.tar"
        tag = f"{binaries.major}-{_tar(binaries, path)[:16]}"
        name = f"{REPOSITORY}:{tag}"
        try:
            client.images.get(name)
        except docker.errors.ImageNotFound:
            programs = "/".join(["", *_climbed(binaries.root.absolute()), "bin"])
            changes = [f"ENV PATH={programs}:/bin", "USER postgres", "LABEL stackly.image=postgres"]
            client.api.import_image_from_file(str(path), repository=REPOSITORY, tag=tag, changes=changes)
        return name
