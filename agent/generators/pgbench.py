"""pgbench, the second driver: exact percentiles from its full logs, a live series from its progress lines."""

import asyncio
import gzip
import hashlib
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.context import Cancelled
from agent.generators import pgbench_log
from agent.generators.model import Installed, Job, Measured
from agent.generators.passfile import passfile
from agent.generators.taking import take
from agent.postgres.binaries import Binaries
from agent.processes import Capture, Ended, run, tail
from stackly.engine.contracts.edge import WorkloadSpec
from stackly.errors import Faulty, Invalid

BUILTINS = ("tpcb-like", "simple-update", "select-only")
_MARGIN_S = 60.0
_PROGRESS = re.compile(
    r"progress: ([\d.]+) s, ([\d.]+) tps, lat ([\d.]+|NaN|-?nan) ms stddev (?:[\d.]+|NaN|-?nan), (\d+) failed"
)
_ABORTED = re.compile(r"client (\d+) (?:aborted|script)|connection for client (\d+) (?:failed|could not)")
_SUMMARY = {
    "transactions": re.compile(r"^number of transactions actually processed: (\d+)", re.MULTILINE),
    "failed": re.compile(r"^number of failed transactions: (\d+)", re.MULTILINE),
    "retried": re.compile(r"^total number of retries: (\d+)", re.MULTILINE),
    "tps": re.compile(r"^tps = ([\d.]+)", re.MULTILINE),
}


@dataclass(frozen=True, slots=True)
class Param:
    """Shape: `phase` is load or run: when the option is given."""

    kind: type
    option: str
    phase: str
    choices: tuple[str, ...] = ()


PARAMS = {
    "protocol": Param(str, "--protocol", "run", ("simple", "extended", "prepared")),
    "jobs": Param(int, "--jobs", "run"),
    "max_tries": Param(int, "--max-tries", "run"),
    "fillfactor": Param(int, "--fillfactor", "load"),
    "partitions": Param(int, "--partitions", "load"),
    "foreign_keys": Param(bool, "--foreign-keys", "load"),
    "unlogged_tables": Param(bool, "--unlogged-tables", "load"),
}


def options(params: Mapping[str, Any], phase: str) -> list[str]:
    """Raises: Invalid naming the parameter that pgbench does not have or that has the wrong type."""
    out = []
    for name, value in params.items():
        known = PARAMS.get(name)
        if known is None:
            raise Invalid(f"pgbench has no parameter {name}; it has {', '.join(sorted(PARAMS))}.")
        if type(value) is not known.kind or (known.choices and value not in known.choices):
            wanted = " or ".join(known.choices) or known.kind.__name__
            raise Invalid(f"workload.params.{name} must be {wanted}, not {value!r}.")
        if known.phase == phase and value is not False:
            out.append(known.option if value is True else f"{known.option}={value}")
    return out


@dataclass(slots=True)
class Progress:
    """Live points from pgbench's progress lines, and the clients it gave up."""

    job: Job
    lost: set[str] = field(default_factory=set)
    said: str = ""

    def line(self, text: str) -> None:
        found = _PROGRESS.match(text)
        if found:
            self._point(*found.groups())
            return
        aborted = _ABORTED.search(text)
        if aborted:
            self.lost.add(aborted[1] or aborted[2])
        if "error:" in text and not self.said:
            self.said = text.strip()
        if text.strip():
            self.job.context.log(text.strip(), "error" if "error:" in text else "info")

    def _point(self, at: str, tps: str, latency: str, failed: str) -> None:
        if not self.job.live:
            return
        # A second without transactions has no latency; some releases print 0.000 for it, some NaN.
        known = None if "nan" in latency.lower() or float(tps) == 0 else float(latency)
        self.job.context.point(
            sample=self.job.sample, second=round(float(at)), tps=float(tps), latency_ms=known, errors=int(failed)
        )


class Pgbench:
    adapter = "pgbench"
    # Its tables have no key that a second run would meet again: the copy that was warmed up is the one measured.
    repeatable = True

    def __init__(self, binaries: Binaries) -> None:
        self._binaries = binaries

    async def install(self) -> Installed:
        path = Path(self._binaries.program("pgbench"))
        digest = await asyncio.to_thread(lambda: hashlib.sha256(path.read_bytes()).hexdigest())
        return Installed(self._binaries.version, digest, path)

    def check(self, workload: WorkloadSpec) -> None:
        if workload.name not in BUILTINS:
            raise Invalid(f"pgbench has no workload {workload.name}; it has {', '.join(BUILTINS)}.")
        if workload.pacing:
            raise Invalid("pgbench has no keying and think times; remove workload.pacing.")
        options(workload.params, "run")

    async def prepare(self, job: Job) -> dict[str, Any]:
        self.check(job.workload)
        loading = options(job.workload.params, "load")
        argv = ["--initialize", "--quiet", f"--scale={job.workload.scale_factor}", *loading]
        ended, progress = await self._run(job, argv, "prepare", job.timeout_s)
        if ended.code or ended.stopped:
            raise Faulty(f"pgbench could not prepare the load: {progress.said or tail(job.directory / 'prepare.err')}")
        return {
            "driver": "pgbench",
            "driver_version": self._binaries.version,
            "isolation": job.workload.isolation,
            "load": loading,
            "run": [o for o in self._load_options(job, 0) if not o.startswith("--time")],
        }

    def _load_options(self, job: Job, seconds: float) -> list[str]:
        workload = job.workload
        given = options(workload.params, "run")
        defaults = {
            "--protocol": "prepared",
            "--jobs": str(max(1, min(workload.clients, os.cpu_count() or 1))),
            "--max-tries": "1",
        }
        named = {g.partition("=")[0] for g in given}
        out = [f"--builtin={workload.name}", f"--client={workload.clients}", f"--time={max(1, round(seconds))}"]
        out += [*given, *(f"{k}={v}" for k, v in defaults.items() if k not in named)]
        # The copy was vacuumed when it was prepared; a vacuum here would be counted as load.
        out += ["--no-vacuum", "--progress=1", "--failures-detailed", "--report-per-command"]
        return [*out, f"--rate={workload.rate:g}"] if workload.rate else out

    async def warm(self, job: Job) -> None:
        ended, progress = await self._run(job, self._load_options(job, job.seconds), "warm", job.seconds + _MARGIN_S)
        if ended.code or ended.stopped:
            raise Faulty(f"The warm-up failed: {progress.said or ended.stopped or ended.code}")

    async def measure(self, job: Job) -> Measured:
        logging = ["--log", f"--log-prefix={job.work / 'tx'}"]
        argv = [*self._load_options(job, job.seconds), *logging]
        ended, progress = await self._run(job, argv, "measure", job.seconds + _MARGIN_S)
        return await asyncio.to_thread(_measured, job, ended, progress)

    async def _run(self, job: Job, argv: list[str], name: str, timeout: float) -> tuple[Ended, Progress]:
        progress = Progress(job)
        end = job.endpoint
        where = ["-h", end.host, "-p", str(end.port), "-U", job.user]
        level = job.workload.isolation.replace(" ", "\\ ")
        with passfile(job.directory, end, job.user, job.password, job.part.uid) as env:
            part = job.lent().seeing(*self._binaries.needs, Path(env["PGPASSFILE"]))
            ended = await run(
                [self._binaries.program("pgbench"), *where, *argv, end.database],
                cwd=job.work,
                stdout=Capture(job.directory / f"{name}.out", redactor=job.redactor),
                stderr=Capture(job.directory / f"{name}.err", redactor=job.redactor, on_line=progress.line),
                env={**env, "PGOPTIONS": f"-c default_transaction_isolation={level}", "PGSSLMODE": "disable"},
                cancelled=job.context.cancelled,
                timeout=timeout,
                part=part,
            )
        if ended.stopped == "cancelled":
            raise Cancelled
        return ended, progress


def summary(text: str) -> dict[str, float]:
    return {name: float(m[1]) for name, r in _SUMMARY.items() if (m := r.search(text))}


def _measured(job: Job, ended: Ended, progress: Progress) -> Measured:
    logs = take(job, "tx.*")
    found = pgbench_log.read(logs)
    report = summary((job.directory / "measure.out").read_text())
    transactions, tps = found.all.counts.total(), report.get("tps", 0.0)
    # pgbench's own rate leaves the connecting out; what it does not say is taken from the process.
    took = min(ended.seconds, report["transactions"] / tps) if tps and "transactions" in report else ended.seconds
    files = {"pgbench.out": job.directory / "measure.out", "pgbench.err": job.directory / "measure.err"}
    return Measured(
        code=ended.code,
        stopped=ended.stopped,
        transactions=transactions,
        duration_s=round(took, 3),
        tps=round(tps or transactions / max(took, 0.001), 3),
        latency=found.all.latency(),
        errors=int(report.get("failed", found.failed)) + found.skipped,
        retries=int(report.get("retried", 0)),
        lost_clients=len(progress.lost),
        said=progress.said,
        files={**files, "transactions.log.gz": _joined(logs, job.directory / "transactions.log.gz")},
        series=found.series(),
    )


def _joined(logs: list[Path], target: Path) -> Path:
    """All threads' logs in one compressed file; the originals go, they are large."""
    with gzip.open(target, "wb", compresslevel=3) as out:
        for path in logs:
            with path.open("rb") as source:
                shutil.copyfileobj(source, out)
            path.unlink()
    return target
