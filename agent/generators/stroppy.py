"""What both living Stroppy generations share: the driver's configuration, one start of the program, its words."""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from agent import workdir
from agent.context import Cancelled
from agent.generators.model import Installed, Job, Measured
from agent.generators.passfile import passfile
from agent.processes import Capture, Ended, run, tail
from stackly.engine.contracts.edge import WorkloadSpec
from stackly.errors import Faulty, Invalid

WORKLOADS = ("tpcb/tx", "tpcb/procs", "tpcc/tx", "tpcc/procs")
NO_SERIES = "Stroppy prints totals only; its per-second metrics are not collected"
MARGIN_S = 60.0
_LOG_LINES = 300  # one failing client writes thousands; all of them are in the artifact
_ATTEMPTS = {"tpcc": 20, "tpcb": 3}
_COMMON: dict[str, type] = {"retryAttempts": int, "loadWorkers": int}
_TPCC: dict[str, type] = {**_COMMON, "warehouseStart": int, "loadItems": bool, "pgUnlogged": bool}
_FATAL = re.compile(r"\t(?:ERROR|FATAL)\t|level=(?:error|fatal)|^(?:Error|error):", re.MULTILINE)
_LOST = re.compile(r"\titeration failed\t(\{.*\})\s*$")


def family(name: str) -> str:
    return name.partition("/")[0]


def check(workload: WorkloadSpec) -> None:
    """Raises: Invalid naming what Stroppy does not have, before anything is loaded."""
    if workload.name not in WORKLOADS:
        raise Invalid(f"Stroppy's workload {workload.name} is not supported; use {', '.join(WORKLOADS)}.")
    if workload.rate:
        raise Invalid("Stroppy runs a closed loop; workload.rate is for pgbench.")
    known = _TPCC if family(workload.name) == "tpcc" else _COMMON
    for name, value in workload.params.items():
        if name not in known:
            raise Invalid(f"{workload.name} has no parameter {name}; it has {', '.join(sorted(known))}.")
        if type(value) is not known[name]:
            raise Invalid(f"workload.params.{name} must be {known[name].__name__}, not {value!r}.")


def parameters(workload: WorkloadSpec) -> dict[str, Any]:
    """The workload's own parameters, typed, with the defaults that lose no client (trap 2)."""
    kind = family(workload.name)
    out: dict[str, Any] = {
        "scaleFactor": workload.scale_factor,
        "txIsolation": workload.isolation.replace(" ", "_"),
        "retryAttempts": _ATTEMPTS[kind],
    }
    if kind == "tpcc":
        out["pacing"] = workload.pacing
    return {**out, **workload.params}


def driver(job: Job) -> dict[str, Any]:
    """No password in the URL: this text is printed (trap 1). `sslmode` always, else TLS is tried first (trap 16)."""
    end = job.endpoint
    url = f"postgres://{job.user}@{end.host}:{end.port}/{end.database}?sslmode=disable"
    size = max(job.workload.clients, 1)
    return {"driverType": "postgres", "url": url, "pool": {"maxConns": size, "minConns": size}}


def config_file(job: Job, phase: str) -> Path:
    return job.directory / f"{phase}.json"


def write_config(job: Job, phase: str, config: Mapping[str, Any]) -> Path:
    path = config_file(job, phase)
    workdir.write_private(path, json.dumps(config, indent=1).encode())
    return path


@dataclass(slots=True)
class Words:
    """What the program says while it runs: to the log, within bounds; lost clients are counted on every line."""

    job: Job
    lost: set[int] = field(default_factory=set)
    said: str = ""
    seen: int = 0

    def line(self, text: str) -> None:
        found = _LOST.search(text)
        if found:
            self._lose(found[1])
        if not self.said and _FATAL.search(text):
            self.said = text.strip()[:300]
        self.seen += 1
        if self.seen <= _LOG_LINES and text.strip():
            self.job.context.log(text[:2000], "error" if _FATAL.search(text) else "info")
        elif self.seen == _LOG_LINES + 1:
            self.job.context.log("... more in the raw output of this step", "warning")

    def _lose(self, fields: str) -> None:
        """An error ends that client for the rest of the run; a line we cannot read is one more lost client."""
        try:
            told = json.loads(fields)
            self.lost.add(int(told["vu"]))
            self.said = self.said or str(told.get("error", ""))[:300]
        except (ValueError, KeyError, TypeError):
            self.lost.add(-len(self.lost) - 1)


@dataclass(frozen=True, slots=True)
class Said:
    ended: Ended
    words: Words
    stdout: Path
    stderr: Path


async def start(job: Job, program: Path, argv: list[str], phase: str, timeout: float) -> Said:
    """One start. It leads a group of its own and is ended whole: SIGTERM, 5 s, SIGKILL (trap 5). Raises: Cancelled."""
    words = Words(job)
    stdout, stderr = job.directory / f"{phase}.out", job.directory / f"{phase}.err"
    with passfile(job.directory, job.endpoint, job.user, job.password, job.part.uid) as env:
        part = job.lent(config_file(job, phase)).seeing(program, Path(env["PGPASSFILE"]))
        ended = await run(
            [str(program), *argv],
            cwd=job.work,
            stdout=Capture(stdout, redactor=job.redactor),
            stderr=Capture(stderr, redactor=job.redactor, on_line=words.line),
            env=env,
            cancelled=job.context.cancelled,
            timeout=timeout,
            part=part,
        )
    if ended.stopped == "cancelled":
        raise Cancelled
    return Said(ended, words, stdout, stderr)


Phase = Literal["prepare", "warm", "measure"]


class Stroppy(ABC):
    """What the two adapters do alike; each renders its command and reads its own numbers."""

    adapter: str
    # History ids restart: a load that was run once fails on its keys (trap 3). Warm-up and measure get a copy each.
    repeatable = False

    def __init__(self, installed: Installed) -> None:
        self._installed = installed

    async def install(self) -> Installed:
        return self._installed

    def check(self, workload: WorkloadSpec) -> None:
        check(workload)

    @abstractmethod
    def command(self, job: Job, phase: Phase) -> list[str]:
        """The arguments of one start; what it reads is written first."""

    @abstractmethod
    async def measure(self, job: Job) -> Measured: ...

    def effective(self, job: Job) -> dict[str, Any]:
        workload = job.workload
        return {
            "driver": "stroppy",
            "driver_version": self._installed.version,
            "driver_sha256": self._installed.sha256,
            "adapter": self.adapter,
            "workload": workload.name,
            "clients": workload.clients,
            "params": parameters(workload),
        }

    async def prepare(self, job: Job) -> dict[str, Any]:
        """What it prints here looks like a result, zeros and all: it is never read (trap 13)."""
        check(job.workload)
        said = await start(job, self._installed.path, self.command(job, "prepare"), "prepare", job.timeout_s)
        if said.ended.code or said.ended.stopped or said.words.lost:
            raise Faulty(f"Stroppy could not prepare the load: {said.words.said or tail(said.stderr)}")
        return self.effective(job)

    async def warm(self, job: Job) -> None:
        said = await start(job, self._installed.path, self.command(job, "warm"), "warm", job.seconds + MARGIN_S)
        if said.ended.stopped or said.ended.code not in (0, 99):
            raise Faulty(f"The warm-up failed: {said.words.said or tail(said.stderr)}")
