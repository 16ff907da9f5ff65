"""Stroppy's Go-native line: a text summary on stderr, TPC-C's compliance report as one JSON line on stdout."""

import asyncio
import json
import re
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

_SCALAR = re.compile(r"^ {2}(\w+) +(-?[\d.]+)$", re.MULTILINE)
_HISTOGRAM = re.compile(r"^ {2}(\w+) +(count=\S+ .*)$", re.MULTILINE)
_FIELD = re.compile(r"(count|avg|p\(\d+\))~?=([\d.]+)")
_MARK = "=== bench summary ==="


def config(job: Job, phase: Phase) -> dict[str, Any]:
    """The file's parser is strict; k6's own fields would be read and ignored, so none is written."""
    out: dict[str, Any] = {
        "version": "1",
        "drivers": {"0": driver(job)},
        "params": parameters(job.workload),
        "global": {"logger": {"logLevel": "LOG_LEVEL_INFO"}},
    }
    if phase != "prepare":
        run = {"executor": "constant-vus", "vus": job.workload.clients, "duration": f"{job.seconds:g}s"}
        out["run"] = run
    return out


def summary(text: str) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Shape: (counters, histograms) of the last summary; empty where there is none."""
    block = text.rpartition(_MARK)[2] if _MARK in text else ""
    scalars = {m[1]: float(m[2]) for m in _SCALAR.finditer(block)}
    found = {m[1]: {k: float(v) for k, v in _FIELD.findall(m[2])} for m in _HISTOGRAM.finditer(block)}
    return scalars, found


def compliance(text: str) -> dict[str, Any]:
    for line in text.split("\n"):
        if line.startswith('{"compliance"'):
            try:
                return dict(json.loads(line)["compliance"])
            except (ValueError, TypeError):
                return {}
    return {}


def latency(histogram: dict[str, float]) -> Latency:
    """Percentiles are the upper edges of buckets: never to be compared as exact values (trap 14)."""
    edge = histogram.get
    return Latency(edge("avg"), edge("p(50)"), edge("p(90)"), edge("p(95)"), edge("p(99)"), None, "upper")


def read(job: Job, said: Said, stderr: str, stdout: str) -> Measured:
    counters, histograms = summary(stderr)
    report = compliance(stdout)
    took = float(report.get("elapsed_seconds") or said.ended.seconds)
    transactions = int(counters.get("tx_commits_total", 0))
    rolled_back = int(counters.get("tpcc_rollback_done", 0))  # TPC-C asks for 1 % of these: no errors
    iterations = int(counters.get("iterations_total", 0))
    minutes = max(took, 0.001) / 60
    is_tpcc = family(job.workload.name) == "tpcc"
    compliant = report.get("paced") and report.get("mix_compliant") and report.get("response_compliant")
    return Measured(
        code=said.ended.code,
        stopped=said.ended.stopped,
        transactions=transactions,
        duration_s=round(took, 3),
        tps=round(transactions / max(took, 0.001), 3),
        latency=latency(histograms.get("tx_total_duration", {})),
        errors=max(0, iterations - transactions - rolled_back),
        retries=int(counters.get("tpcc_retry_attempts", 0) + counters.get("tpcb_retry_attempts", 0)),
        lost_clients=len(said.words.lost),
        nopm=round(counters.get("tpcc_new_order_total", 0) / minutes, 1) if is_tpcc else None,
        tpm_c=report.get("tpm_c") if is_tpcc and compliant else None,
        said=said.words.said,
        files={"stroppy.out": said.stdout, "stroppy.err": said.stderr},
        series_reason=NO_SERIES,
    )


class StroppyGo(Stroppy):
    adapter = "stroppy-go"

    def command(self, job: Job, phase: Phase) -> list[str]:
        path = write_config(job, phase, config(job, phase))
        steps = ["--no-steps", "workload"] if phase == "prepare" else ["--steps", "workload"]
        return ["run", job.workload.name, "-f", str(path), *steps]

    async def measure(self, job: Job) -> Measured:
        argv = self.command(job, "measure")
        said = await start(job, self._installed.path, argv, "measure", job.seconds + MARGIN_S)
        texts = await asyncio.to_thread(lambda: (said.stderr.read_text(), said.stdout.read_text()))
        return read(job, said, *texts)
