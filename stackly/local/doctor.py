"""What this machine lacks, and the one command that mends each."""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from sqlalchemy.exc import DBAPIError

from stackly import clock, db
from stackly.errors import StacklyError, reason_of
from stackly.events import troubles_store
from stackly.local import components, isolation, platform, postgres, processes, terraform, unprivileged
from stackly.local.home import Config, Home, free, known

T = TypeVar("T")
# A doorbell that found its workflow busy once is nothing to tell.
_WORTH_TELLING = 3
_SHOWN = 10
_RECENT = timedelta(days=1)
_LEAST_DISK = 2 * 2**30
_LEAST_PYTHON = (3, 11)


@dataclass(frozen=True, slots=True)
class Finding:
    """Shape: `fix` is what to do, empty when `ok`; what is `optional` may be absent."""

    name: str
    ok: bool
    detail: str
    fix: str = ""
    optional: bool = False
    state: str = ""  # a word of its own, where something is neither missing nor absent


def doctor(home: Path) -> list[Finding]:
    """Look at everything a home needs; nothing is changed, and a home is not made."""
    place = Home(home.resolve())
    checks: list[Callable[[Home], Finding]] = [
        *(_python, _git, _terraform, _docker, _services, _postgres, _isolation, _disk, _ports),
        *(_waiting, _troubles),
    ]
    return [check(place) for check in checks]


def _python(_: Home) -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    ok = sys.version_info >= _LEAST_PYTHON
    return Finding("python", ok, f"{version} ({sys.executable})", "" if ok else "install Python 3.11 or newer")


def _git(_: Home) -> Finding:
    said = _said(["git", "--version"])
    return Finding("git", bool(said), said or "not found", "" if said else "apt-get install git")


def _terraform(home: Home) -> Finding:
    found = terraform.find(home)
    if found is None:
        return Finding("terraform", False, f"not found; `up` downloads {terraform.VERSION}", terraform.fix(home))
    said = _said([str(found), "version"])
    if said and not terraform.gives_verdicts(found):
        detail = f"{said} ({found}) does not say whether a plan is applyable"
        return Finding("terraform", False, detail, terraform.fix(home))
    return Finding("terraform", bool(said), f"{said or 'does not run'} ({found})", "" if said else terraform.fix(home))


def _docker(_: Home) -> Finding:
    said = _said(["docker", "version", "--format", "{{.Server.Version}}"])
    detail = f"server {said}" if said else "no daemon answers; only the target `docker` needs one"
    return Finding("docker", bool(said), detail, "" if said else "start Docker: systemctl start docker", optional=True)


def _services(_: Home) -> Finding:
    try:
        found = [components.program(name) for name in ("temporal", "weed")]
        found.append(str(postgres.binary("postgres")))
    except StacklyError as e:
        return Finding("services", False, e.detail, "make up")
    return Finding("services", True, ", ".join(found))


def _postgres(home: Home) -> Finding:
    way = unprivileged.how(postgres.binary("postgres"), home.run("postgres") / "data")
    ok = unprivileged.possible(way)
    detail = {
        "as_is": "runs as you",
        "setuid": "runs as a user of its own, because you are root",
        "namespace": "runs in a user namespace, because you are root and others may not look into this directory",
    }[way]
    fix = "start it as another user than root, or allow user namespaces: sysctl user.max_user_namespaces=10000"
    return Finding("postgres user", ok, detail, "" if ok else fix)


def _isolation(home: Home) -> Finding:
    found = isolation.tried(home)
    ok = found.kind != "none"
    return Finding(
        "isolation", ok, found.note, "" if ok else isolation.cure(found), optional=not isolation.is_required()
    )


def _disk(home: Home) -> Finding:
    place = next(p for p in (home.path, *home.path.parents) if p.exists())
    left = shutil.disk_usage(place).free
    ok = left >= _LEAST_DISK and os.access(place, os.W_OK)
    detail = f"{left / 2**30:.1f} GiB free at {place}{'' if os.access(place, os.W_OK) else ', not writable'}"
    return Finding(
        "disk", ok, detail, "" if ok else "free 2 GiB, or set STACKLY_HOME to a writable directory with room"
    )


def _ports(home: Home) -> Finding:
    try:
        config = known(home)
    except StacklyError as e:
        return Finding("ports", False, e.detail, "stackly down --wipe")
    if config is None:
        return Finding("ports", True, "chosen at the first `up`")
    taken = _taken(home, config)
    fix = "end what holds them, or forget this home: stackly down --wipe"
    return Finding("ports", not taken, ", ".join(taken) or "this home's ports are its own", fix if taken else "")


def _taken(home: Home, config: Config) -> list[str]:
    """Ports of stopped components that something else holds."""
    running = {c["name"] for c in platform.status(home.path)["components"] if c["pid"]}
    taken = []
    for name, port in config.ports.items():
        owner = "gateway" if name == "enrol" else name.split("_")[0]
        if owner not in running and not free(port):
            taken.append(f"{port} ({name}) is held by {processes.holder_of(port) or 'another program'}")
    return taken


def _waiting(home: Home) -> Finding:
    """Doorbells that failed and wait for their next try."""
    found = _asked(home, lambda session: troubles_store.put_off(session, limit=_SHOWN))
    if isinstance(found, str):
        return Finding("doorbells", True, found, optional=True)
    said = [
        f"{b.kind} {b.key}: {b.reason} (try {b.attempts + 1} at {clock.iso(b.next_try)})"
        for b in found
        if b.attempts >= _WORTH_TELLING
    ]
    fix = "nothing, where its reason says so; else look at: stackly logs dispatcher"
    detail, state = "; ".join(said) or "none waits", "put off" if said else ""
    return Finding("doorbells", not said, detail, fix if said else "", optional=True, state=state)


def _troubles(home: Home) -> Finding:
    """What failed in a background process as nobody foresaw, in the last day."""
    found = _asked(home, troubles_store.troubles)
    if isinstance(found, str):
        return Finding("background", True, found, optional=True)
    since = clock.now() - _RECENT
    said = [
        f"{t.act} {t.about}: {t.reason} ({t.count} times, last at {clock.iso(t.at)})"
        for t in found[:_SHOWN]
        if t.at > since
    ]
    fix = "its trace is in: stackly logs dispatcher"
    detail, state = "; ".join(said) or "nothing failed unforeseen", "failed" if said else ""
    return Finding("background", not said, detail, fix if said else "", optional=True, state=state)


def _asked(home: Home, work: Callable[[db.Session], Awaitable[list[T]]]) -> list[T] | str:
    """The answer of the home's Postgres, or why there is none: it does not run, or not yet with these tables."""
    running = {c["name"] for c in platform.status(home.path)["components"] if c["state"] == "running"}
    config = known(home)
    if "postgres" not in running or config is None:
        return "not asked: this home's Postgres does not run"

    async def ask() -> list[T]:
        engine = db.engine(config.settings["database_url"], size=1, application="doctor")
        try:
            async with db.transactions(engine)() as session:
                return await work(session)
        finally:
            await engine.dispose()

    try:
        return asyncio.run(ask())
    except (StacklyError, DBAPIError) as e:
        return f"not asked: {reason_of(e)}"


def _said(argv: list[str]) -> str:
    """The first line a program prints, or nothing when it is missing or fails."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip().partition("\n")[0] if done.returncode == 0 else ""
