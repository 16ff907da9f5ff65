"""What the numbers depend on besides the code: results of different fingerprints are not compared."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil


def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    named = [line.partition(":")[2].strip() for line in text.split("\n") if line.startswith("model name")]
    return named[0] if named else platform.machine()


def _filesystem(directory: Path) -> str:
    at = directory.resolve()
    below = [p for p in psutil.disk_partitions(all=True) if at.is_relative_to(p.mountpoint)]
    return max(below, key=lambda p: len(p.mountpoint)).fstype if below else "unknown"


def of_machine(directory: Path) -> dict[str, Any]:
    """What stays equal from run to run: steal is measured per sample, beside it. Units: memory in whole MiB."""
    return {
        "cpu_model": _cpu_model(),
        "cores": os.cpu_count() or 1,
        "memory_mb": psutil.virtual_memory().total // 2**20,
        "kernel": platform.release(),
        "arch": platform.machine(),
        "filesystem": _filesystem(directory),
    }


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """Units: seconds of all cores since boot."""

    total: float
    idle: float
    steal: float

    @staticmethod
    def now() -> "CpuTimes":
        t = psutil.cpu_times()
        # guest time is already in user time
        total = sum(v for k, v in t._asdict().items() if not k.startswith("guest"))
        return CpuTimes(total, t.idle + getattr(t, "iowait", 0.0), getattr(t, "steal", 0.0))

    def since(self, earlier: "CpuTimes") -> "CpuTimes":
        return CpuTimes(self.total - earlier.total, self.idle - earlier.idle, self.steal - earlier.steal)

    def steal_percent(self) -> float:
        return round(100 * self.steal / self.total, 2) if self.total > 0 else 0.0

    def busy_percent(self) -> float:
        return round(100 * (self.total - self.idle) / self.total, 2) if self.total > 0 else 0.0
