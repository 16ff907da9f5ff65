"""Exact numbers from pgbench's per-transaction logs.

A line is: client tx latency_us script epoch us [schedule_lag_us] [retries]; latency may be `failed`, `skipped`, or a
kind of failure. Memory is bounded by the number of different latencies, not by the number of transactions.
"""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.generators.model import Latency


@dataclass(slots=True)
class Histogram:
    """Units: whole microseconds."""

    counts: Counter[int] = field(default_factory=Counter)

    def percentile(self, percent: float) -> float | None:
        """Nearest rank, in milliseconds."""
        total = self.counts.total()
        rank = max(1, math.ceil(percent / 100 * total))
        seen = 0
        for value in sorted(self.counts):
            seen += self.counts[value]
            if seen >= rank:
                return value / 1000
        return None

    def latency(self) -> Latency:
        total = self.counts.total()
        if not total:
            return Latency()
        mean = sum(value * n for value, n in self.counts.items()) / total / 1000
        p50, p90, p95, p99 = (self.percentile(p) for p in (50, 90, 95, 99))
        return Latency(mean, p50, p90, p95, p99, max(self.counts) / 1000, "exact")


@dataclass(slots=True)
class Transactions:
    """All threads' logs together. Shape: `seconds` by the epoch second in which a transaction ended."""

    all: Histogram = field(default_factory=Histogram)
    seconds: dict[int, Histogram] = field(default_factory=dict)
    failed: int = 0
    skipped: int = 0
    failed_in: Counter[int] = field(default_factory=Counter)

    def add(self, line: str) -> None:
        parts = line.split()
        if len(parts) < 6:
            return
        latency, second = parts[2], parts[4]
        if latency.isdigit():
            self.all.counts[int(latency)] += 1
            self.seconds.setdefault(int(second), Histogram()).counts[int(latency)] += 1
        elif latency == "skipped":
            self.skipped += 1
        else:
            self.failed += 1
            self.failed_in[int(second)] += 1

    def series(self) -> list[dict[str, Any]]:
        """A point for every second from the first to the last, the empty ones too."""
        if not self.seconds:
            return []
        first, last = min(self.seconds), max(self.seconds)
        return [self._point(first, second) for second in range(first, last + 1)]

    def _point(self, first: int, second: int) -> dict[str, Any]:
        histogram = self.seconds.get(second, Histogram())
        return {
            "second": second - first + 1,
            "tps": float(histogram.counts.total()),
            "latency_ms": histogram.latency().mean,
            "p95_ms": histogram.percentile(95),
            "errors": self.failed_in[second],
        }


def read(paths: Iterable[Path]) -> Transactions:
    found = Transactions()
    for path in paths:
        with path.open(encoding="ascii", errors="replace") as lines:
            for line in lines:
                found.add(line)
    return found
