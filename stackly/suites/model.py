"""What a suite asks for, what a resolved one will do, and what its samples said. Pure.

Named tuples, which cost a tenth of a data class to make: a command that checks a file makes all of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

Json = dict[str, Any]

PHASES = (
    "reserve",
    "provision",
    "enrol",
    "database",
    "install",
    "prepare",
    "warmup",
    "measure",
    "collect",
    "compare",
    "teardown",
    "verify",
)

# The first of these that is present is the verdict of several.
VERDICTS = ("invalid", "fail", "worse", "inconclusive", "better", "same", "pass")

PERCENTILES = ("p50", "p90", "p95", "p99")
LATENCIES = ("mean", *PERCENTILES, "max")
METRICS = (
    "transactions",
    "tps",
    "nopm",
    "tpm_c",
    *(f"latency_ms.{name}" for name in LATENCIES),
    "errors",
    "error_rate",
    "retries",
    "lost_clients",
    "duration_s",
    "db_commits",
    "checkpoints",
    "failover_s",
)
# More is better of these, less is better of the others; lists are disjoint and neutral metrics are in neither.
HIGHER_IS_BETTER = frozenset({"transactions", "tps", "nopm", "tpm_c"})
LOWER_IS_BETTER = frozenset(
    {f"latency_ms.{name}" for name in LATENCIES} | {"errors", "error_rate", "retries", "lost_clients", "failover_s"}
)


class Database(NamedTuple):
    engine: str
    version: str
    image: str = ""
    connection: str = ""  # name of a secret
    settings: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Node:
    """A group of like machines."""

    name: str
    roles: tuple[str, ...]
    count: int = 1
    cores: int = 2
    memory_gb: int = 4
    disk_gb: int = 20


class Topology(NamedTuple):
    """Shape: `preset` is '' when nodes were named; option maps are null when that program is off."""

    nodes: tuple[Node, ...]
    preset: str = ""
    patroni: Mapping[str, Any] | None = None
    pgbouncer: Mapping[str, Any] | None = None
    haproxy: Mapping[str, Any] | None = None
    backup: Mapping[str, Any] | None = None
    exporters: tuple[str, ...] = ()


class Workload(NamedTuple):
    """Shape: `driver_version` '' is the server's own or the platform's pinned one; `rate` 0 is closed loop."""

    driver: str
    name: str
    driver_version: str = ""
    scale_factor: int = 1
    clients: int = 8
    isolation: str = "read committed"
    pacing: bool = False
    rate: float = 0.0
    params: Mapping[str, Any] = MappingProxyType({})


class Measure(NamedTuple):
    prepare: str = "once"
    warmup_s: int = 60
    duration_s: int = 120
    repeats_min: int = 5
    repeats_max: int = 12


class Fault(NamedTuple):
    at_s: int
    kill: str


class Threshold(NamedTuple):
    metric: str
    min: float | None = None
    max: float | None = None


class DecidingMetric(NamedTuple):
    """Units: `min_effect` is a fraction."""

    metric: str
    min_effect: float = 0.05


class ComparisonRule(NamedTuple):
    """Shape: `baseline` '' is chosen by the event; `none` compares with nothing."""

    metrics: tuple[DecidingMetric, ...]
    baseline: str = ""
    order: str = "interleaved"
    alpha: float = 0.05


class Spec(NamedTuple):
    """What one cell of one test asks for, defaults filled in."""

    database: Database
    topology: Topology
    workload: Workload
    measure: Measure
    faults: tuple[Fault, ...]
    thresholds: tuple[Threshold, ...]
    comparison: ComparisonRule


class Cell(NamedTuple):
    values: Mapping[str, Any]
    spec: Spec


@dataclass(frozen=True, slots=True)
class Test:
    """Shape: without a matrix one cell without values. `path` leads into the suite's positions."""

    __test__ = False  # pytest: a model, not a test

    name: str
    path: str
    has_matrix: bool
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Suite:
    """A file that was read. Shape: `where` path of every key written -> (line, column)."""

    version: int
    name: str
    description: str
    parallel: int
    timeout_s: int
    tests: tuple[Test, ...]
    file: str = ""
    where: Mapping[str, tuple[int, int]] = field(default_factory=dict, compare=False)


class ResolvedTest(NamedTuple):
    """Shape: `test` is `name`, or `name.N` for cell N of a matrix, counted from 1."""

    test: str
    name: str
    cell: Mapping[str, Any]
    path: str
    phases: tuple[str, ...]
    database: Database
    topology: Topology
    workload: Workload
    measure: Measure
    faults: tuple[Fault, ...]
    thresholds: tuple[Threshold, ...]
    comparison: ComparisonRule


class ResolvedSuite(NamedTuple):
    name: str
    parallel: int
    timeout_s: int
    tests: tuple[ResolvedTest, ...]


Side = Literal["candidate", "baseline"]


class Latency(NamedTuple):
    """Units: milliseconds.

    Shape: `bound` says what a percentile is: `exact`, the `upper` edge of its bucket, or the `median` of several
    samples' percentiles.
    """

    mean: float | None = None
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None
    max: float | None = None
    bound: str = "exact"


class Result(NamedTuple):
    """What one sample, or several pooled, said; null where unknown. Units: rates per second but for nopm and tpm_c."""

    transactions: int | None = None
    tps: float | None = None
    nopm: float | None = None
    tpm_c: float | None = None
    latency_ms: Latency = Latency()
    errors: int | None = None
    error_rate: float | None = None
    retries: int | None = None
    lost_clients: int | None = None
    duration_s: float | None = None
    db_commits: int | None = None
    checkpoints: int | None = None
    failover_s: float | None = None


class Sample(NamedTuple):
    """A stored sample. Shape: `result` has the fields of Result, and whatever else the driver gave."""

    test: str
    side: Side
    n: int
    order: int
    valid: bool
    reason: str
    result: Mapping[str, Any]
    artifacts: Mapping[str, str] = MappingProxyType({})


def worst(verdicts: "list[str] | tuple[str, ...]") -> str | None:
    """The verdict of several: the first of VERDICTS that is present."""
    return next((v for v in VERDICTS if v in verdicts), None)


def value_of(result: Mapping[str, Any], metric: str) -> float | None:
    """The number at a metric's path; None when it is absent or null."""
    at: Any = result
    for part in metric.split("."):
        if not isinstance(at, Mapping):
            return None
        at = at.get(part)
    return float(at) if isinstance(at, int | float) and not isinstance(at, bool) else None
