"""A machine's directory on this host: its enrolment, its edge agent, every process that lives in it."""

import asyncio
import hashlib
import json
import os
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path

from agent import workdir
from agent.context import StepContext
from agent.sandbox import users
from agent.targets.target import Resident, TargetSite
from agent.terraform.variables import enrolment_entry
from stackly import log
from stackly.engine.contracts.site import AGENT_ENDED, InventoryItem, MachineSpec
from stackly.errors import Faulty
from stackly.temporal.steps import StepKey

_log = log.get("agent.targets")
_STARTED = "started"  # a file: an edge agent was started here, and lived
_LAST_WORDS = 300
_LAST_BYTES = 16 * 1024
_STARTED_S = 0.3  # an edge agent that ends within this never started

# An edge agent sees of our environment what it needs to run at all.
_PASSED = ("PATH", "LANG", "LC_ALL", "TZ", "PYTHONPATH", "VIRTUAL_ENV")
_PASSED_PARTS = (
    *("STACKLY_ISOLATION", "STACKLY_SANDBOX_READABLE"),
    *("STACKLY_STROPPY", "STACKLY_STROPPY_MANIFEST", "STACKLY_POSTGRES_BINARIES"),
)


@dataclass(frozen=True, slots=True)
class Machines:
    """All machine directories of one target: `<home>/<folder>/<run>.<test>.<machine>`."""

    site: TargetSite
    folder: str

    @property
    def root(self) -> Path:
        return self.site.home.absolute() / self.folder

    def prepare(self) -> None:
        """0711: a database runs as a user of its own below it; every file with a secret is 0600."""
        workdir.private(self.root, 0o711)

    def directory(self, key: StepKey, machine: str) -> Path:
        return self.root / str(workdir.owned(key.run, key.test, machine))

    def booted(self, key: StepKey, machine: str) -> str:
        """The id of the edge agent that lives there, '' when none does."""
        directory = self.directory(key, machine)
        if not _lives(directory / "enrolment.json", directory):
            return ""
        return str(json.loads((directory / "machine.json").read_bytes())["agent_id"])

    async def boot(self, machine: MachineSpec, context: StepContext, **more: str) -> str:
        """Start the machine's edge agent, or keep the one that runs. `more` goes into the enrolment entry."""
        if agent_id := self.booted(context.key, machine.name):
            context.log(f"{machine.name}: its agent {agent_id} already runs")
            (self.directory(context.key, machine.name) / _STARTED).touch(mode=0o600)
            return agent_id
        directory = self.directory(context.key, machine.name)
        await workdir.delete(directory)
        enrolment = await context.issue_enrolment(machine.name)
        self.prepare()
        workdir.private(directory, 0o711)
        given = {**more, "users": str(users.of_home(self.site.home.absolute()).root)}
        entry = enrolment_entry(context.key, machine.name, machine.internal_ip, enrolment, str(directory), **given)
        shown = {k: v for k, v in entry.items() if k not in {"token", "ca_pem"}}
        workdir.write_private(directory / "machine.json", json.dumps(shown).encode())
        workdir.write_private(directory / "enrolment.json", json.dumps(entry).encode())
        await self._start(directory)
        (directory / _STARTED).touch(mode=0o600)
        context.log(f"{machine.name}: agent {enrolment.agent_id} started at {machine.internal_ip}")
        return enrolment.agent_id

    async def _start(self, directory: Path) -> None:
        process = self._spawn(directory)
        await asyncio.sleep(_STARTED_S)
        if process.returncode is not None:
            said = (directory / "agent.log").read_text(errors="replace")[-2000:]
            tail = log.redact_text(said).strip() or "it said nothing"
            raise Faulty(f"The edge agent ended at once (exit {process.returncode}): {tail}")

    def _spawn(self, directory: Path) -> "subprocess.Popen[bytes]":
        """It outlives us on purpose: a session of its own, no parent-death signal, output to its own file."""
        command = [*self.site.edge_command, "--enrolment", str(directory / "enrolment.json"), "--home", str(directory)]
        output = os.open(directory / "agent.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            process = subprocess.Popen(
                command,
                cwd=directory,
                env={n: os.environ[n] for n in _PASSED + _PASSED_PARTS if n in os.environ} | {"HOME": str(directory)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        finally:
            os.close(output)
        # asyncio would kill it when our loop closes; a waiting thread only takes its exit code.
        threading.Thread(target=process.wait, name=f"wait-{process.pid}", daemon=True).start()
        return process

    def ended(self) -> list[InventoryItem]:
        """Machines whose edge agent was started and does not live: nobody else would notice for minutes."""
        items = []
        for owned, directory in self.found("", ""):
            enrolment = directory / "enrolment.json"
            if not (directory / _STARTED).exists() or _lives(enrolment, directory):
                continue
            try:
                told = json.loads(enrolment.read_bytes())
                identity = f"{told['agent_id']}/{hashlib.sha256(told['token'].encode()).hexdigest()}"
            except (OSError, ValueError, KeyError):
                continue
            detail = f"{owned.last}:{_last_words(directory / 'agent.log')}"
            items.append(InventoryItem(AGENT_ENDED, identity, owned.run, owned.test, detail))
        return items

    def residents(self) -> list[Resident]:
        """A directory whose agent is not known (any more) counts as well: something was there."""
        return [
            Resident(_agent_of(directory), owned.run, owned.test, owned.last) for owned, directory in self.found("", "")
        ]

    def found(self, run: str, test: str) -> list[tuple[workdir.Owned, Path]]:
        """Directories on disk, and deleted ones that somebody still lives in."""
        names = {p.name for p in self.root.iterdir()} if self.root.is_dir() else set()
        at = os.path.realpath(self.root) + "/"
        names |= {cwd[len(at) :].split("/")[0] for _, cwd in workdir.working_directories() if cwd.startswith(at)}
        mine = [(owned, self.root / name) for name in sorted(names) if (owned := workdir.parse_owned(name))]
        return [(o, path) for o, path in mine if not run or (o.run, o.test) == (run, test)]

    async def remove(self, run: str, test: str) -> list[str]:
        removed = []
        for owned, directory in self.found(run, test):
            ended = await workdir.end_occupants(directory)
            await asyncio.to_thread(users.end, self.site.home.absolute(), directory)
            if await workdir.delete(directory) or ended:
                removed.append(str(owned))
                _log.info("machine.removed", machine=str(owned), processes=len(ended))
        return removed

    def inventory(self, run: str, test: str) -> list[InventoryItem]:
        items = []
        for owned, directory in self.found(run, test):
            if directory.exists():
                items.append(InventoryItem("directory", str(directory), owned.run, owned.test, owned.last))
            for pid in workdir.occupants(directory):
                what = " ".join(workdir.arguments(pid))[:120]
                items.append(InventoryItem("process", str(pid), owned.run, owned.test, f"{owned.last}: {what}"))
        return items


def _lives(enrolment: Path, directory: Path) -> bool:
    return any(str(enrolment) in workdir.arguments(pid) for pid in workdir.occupants(directory))


def _agent_of(directory: Path) -> str:
    try:
        return str(json.loads((directory / "machine.json").read_bytes())["agent_id"])
    except (OSError, ValueError, KeyError):
        return ""


def _last_words(file: Path) -> str:
    """What an agent that could not start gave as its reason; of any other end it knows nothing itself."""
    try:
        with file.open("rb") as log_file:
            log_file.seek(max(0, file.stat().st_size - _LAST_BYTES))
            last = json.loads(log_file.read().decode(errors="replace").strip().split("\n")[-1])
        return f" {log.redact_text(str(last['reason']))[:_LAST_WORDS]}" if last["event"] == "agent.cannot_start" else ""
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return ""
