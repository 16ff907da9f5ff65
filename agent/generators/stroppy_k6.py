"""Stroppy 4.1 to 5.x: k6 inside. Numbers come from k6's own summary file, options go through its environment."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

from agent.generators.model import Job, Latency, Measured
from agent.generators.stroppy import (
    MARGIN_S,
    NO_SERIES,
    Phase,
    Said,
    Stroppy,
    driver,
    family,
    parameters,
    start,
    write_config,
)
from agent.generators.taking import take

THRESHOLDS_CROSSED = 99  # k6 measured, and says that a limit of the script's own was crossed
# Off: k6's report home at the end of every run, and its control port, one per host and open to every local user.
_QUIET = ("--no-usage-report", "--address=")
_WORD = re.compile(r"(?<!^)(?=[A-Z])")


def environment(job: Job, phase: Phase) -> dict[str, str]:
    """The script's parameters in its own spelling: scaleFactor is SCALE_FACTOR."""
    spelled = {_WORD.sub("_", name).upper(): value for name, value in parameters(job.workload).items()}
    out = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in spelled.items()}
    out["POOL_SIZE"] = str(max(job.workload.clients, 1))
    if phase != "prepare":
        out |= {"VUS": str(job.workload.clients), "DURATION": f"{job.seconds:g}s"}
    return out


def crossed(metrics: dict[str, Any]) -> list[str]:
    """Thresholds that were crossed: in the export `true` says just that, `false` is a pass (trap 9)."""
    return sorted(
        f"{name} {limit}"
        for name, metric in metrics.items()
        for limit, was_crossed in metric.get("thresholds", {}).items()
        if was_crossed is True
    )


def latency(trend: dict[str, Any]) -> Latency:
    value = trend.get
    return Latency(value("avg"), value("med"), value("p(90)"), value("p(95)"), value("p(99)"), value("max"), "exact")


def _metrics(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text())["metrics"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def read(job: Job, said: Said, export: Path) -> Measured:
    metrics = _metrics(export)

    def count(name: str, key: str = "count") -> int:
        return int(metrics.get(name, {}).get(key, 0))

    # k6 divides by all the time it ran: the measured seconds, as this phase has no other step (trap 10).
    rate = float(metrics.get("iterations", {}).get("rate", 0))
    took = min(count("iterations") / rate if rate else said.ended.seconds, said.ended.seconds)
    transactions = count("tx_commit_rate", "passes")
    finished = count("iterations")
    limits = crossed(metrics)
    is_tpcc = family(job.workload.name) == "tpcc"
    return Measured(
        code=said.ended.code,
        stopped=said.ended.stopped,
        transactions=transactions,
        duration_s=round(took, 3),
        tps=round(transactions / max(took, 0.001), 3),
        latency=latency(metrics.get("tx_total_duration", {})),
        errors=max(0, finished - transactions - count("tpcc_rollback_done")),
        retries=count("tpcc_retry_attempts") + count("tpcb_retry_attempts"),
        lost_clients=max(0, job.workload.clients - count("vus", "max")) if metrics else 0,
        nopm=round(count("tpcc_new_order_total") / max(took, 0.001) * 60, 1) if is_tpcc else None,
        code_is_verdict=said.ended.code == THRESHOLDS_CROSSED,
        said=said.words.said,
        files={
            "stroppy.out": said.stdout,
            "stroppy.err": said.stderr,
            **({"summary.json": export} if metrics else {}),
        },
        series_reason=NO_SERIES,
        warnings=tuple(f"the script's own threshold was crossed: {limit}" for limit in limits),
    )


class StroppyK6(Stroppy):
    adapter = "stroppy-k6"

    def command(self, job: Job, phase: Phase) -> list[str]:
        """Every path is absolute: k6 works in a temporary directory of its own (trap 8)."""
        path = write_config(job, phase, {"version": "1", "drivers": {"0": driver(job)}})
        steps = ["--no-steps", "workload"] if phase == "prepare" else ["--steps", "workload"]
        told = [part for name, value in environment(job, phase).items() for part in ("-e", f"{name}={value}")]
        export = [f"--summary-export={self.export(job)}"] if phase == "measure" else []
        return ["run", job.workload.name, "-f", str(path), *steps, *told, "--", *_QUIET, *export]

    def export(self, job: Job) -> Path:
        return job.work / "summary.json"

    async def measure(self, job: Job) -> Measured:
        argv = self.command(job, "measure")
        said = await start(job, self._installed.path, argv, "measure", job.seconds + MARGIN_S)
        return await asyncio.to_thread(self._read, job, said)

    def _read(self, job: Job, said: Said) -> Measured:
        """Raises: FileUnsafe."""
        return read(job, said, next(iter(take(job, self.export(job).name)), job.directory / "absent"))
