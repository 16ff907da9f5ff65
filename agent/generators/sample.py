"""One sample: the load, what was observed around it, the judgement, and what is kept of it."""

import asyncio
import gzip
import ipaddress
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from agent.generators.judge import Around, judge
from agent.generators.model import Generator, Installed, Job, Measured
from agent.postgres import fingerprint, observe
from agent.postgres.connection import Door
from agent.postgres.fingerprint import CpuTimes
from stackly import clock
from stackly.engine.contracts import series
from stackly.engine.contracts.edge import MeasureOutcome
from stackly.errors import Unavailable


@dataclass(frozen=True, slots=True)
class Machine:
    """Shape: `shared` when its machines are containers of one host; `isolation` is the load's."""

    directory: Path
    name: str
    shared: bool
    isolation: str


async def take_sample(
    generator: Generator, installed: Installed, job: Job, door: Door, machine: Machine
) -> MeasureOutcome:
    """Once. What goes wrong with the load makes it invalid, with the reason; it is an outcome, no error."""
    before = await observe.counters(door, job.endpoint.database)
    cpu, began, wall = CpuTimes.now(), clock.monotonic(), clock.now()
    measured = await generator.measure(job)
    elapsed, wall_s = clock.monotonic() - began, (clock.now() - wall).total_seconds()
    used = CpuTimes.now().since(cpu)
    around = Around(
        before=before,
        after=await _after(door, job.endpoint.database),
        elapsed_s=elapsed,
        wall_s=wall_s,
        steal_percent=used.steal_percent(),
        beside_database=machine.shared or _is_here(job.endpoint.host),
    )
    judged = judge(measured, job.seconds, job.workload.clients, around)
    # The server is another machine's to describe; ours and the driver are this one's (trap 19).
    described = fingerprint.of_machine(machine.directory) | {
        "driver": job.workload.driver,
        "driver_version": installed.version,
        "driver_sha256": installed.sha256,
        "adapter": generator.adapter,
        "isolation": machine.isolation,
        "server_version": before.version,
    }
    artifacts, stored = await _keep(job, measured)
    return MeasureOutcome(
        valid=judged.valid,
        reason=judged.reason,
        result=result(measured, around, used, machine.name, described),
        artifacts=artifacts,
        series=stored,
        series_reason="" if stored else measured.series_reason or "no transaction was logged",
        warnings=judged.warnings,
        seconds=elapsed,
    )


def result(
    measured: Measured, around: Around, used: CpuTimes, machine: str, described: dict[str, Any]
) -> dict[str, Any]:
    """The fields of `stackly.suites.model.Result`; null is "not known", never "none"."""
    return {
        "transactions": measured.transactions,
        "tps": measured.tps,
        "nopm": measured.nopm,
        "tpm_c": measured.tpm_c,
        "latency_ms": measured.latency.as_dict(),
        "errors": measured.errors,
        "error_rate": round(measured.error_rate, 6),
        "retries": measured.retries,
        "lost_clients": measured.lost_clients,
        "duration_s": measured.duration_s,
        "db_commits": around.commits if around.after else None,
        "checkpoints": around.checkpoints if around.after else None,
        "failover_s": None,
        "cpu": {machine: {"busy_percent": used.busy_percent(), "steal_percent": used.steal_percent()}},
        "fingerprint": described,
    }


async def _after(door: Door, database: str) -> observe.Counters | None:
    try:
        return await observe.settled(door, database)
    except Unavailable:
        return None


def _is_here(host: str) -> bool:
    try:
        if ipaddress.ip_address(host).is_loopback:
            return True
    except ValueError:
        return host == "localhost"
    return any(a.address == host for found in psutil.net_if_addrs().values() for a in found)


async def _keep(job: Job, measured: Measured) -> tuple[dict[str, str], str]:
    """Raw output and series, compressed, to storage. Shape: (name -> key, the series' key or '')."""
    artifacts = {}
    for name, path in measured.files.items():
        if not path.exists():
            continue
        packed = path if path.suffix == ".gz" else await asyncio.to_thread(_packed, path)
        kept = name if name.endswith(".gz") else f"{name}.gz"
        artifacts[kept] = await job.context.put_artifact(f"sample-{job.sample}/{kept}", packed, "application/gzip")
    if not measured.series:
        return artifacts, ""
    path = job.directory / series.NAME
    path.write_bytes(await asyncio.to_thread(series.pack, job.sample, measured.series))
    key = await job.context.put_artifact(f"sample-{job.sample}/{series.NAME}", path, "application/gzip")
    return artifacts, key


def _packed(path: Path) -> Path:
    target = path.with_name(path.name + ".gz")
    with path.open("rb") as source, gzip.open(target, "wb") as out:
        shutil.copyfileobj(source, out)
    return target
