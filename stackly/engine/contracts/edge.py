"""What an edge agent does on its one machine: a database, or load. What each step is given, and tells."""

from dataclasses import dataclass, field
from typing import Any

from stackly.temporal.steps import StepKey


@dataclass(frozen=True)
class DatabaseInput:
    """Start a server and wait for evidence that it answers as asked (version, settings in effect)."""

    key: StepKey
    engine: str  # postgres
    version: str  # the major asked for
    listen: str  # this machine's address
    port: int
    admit: list[str]  # addresses that clients appear from
    settings: dict[str, str] = field(default_factory=dict)
    image: str = ""
    timeout_s: float = 120.0


@dataclass(frozen=True)
class DatabaseOutcome:
    """Shape: `settings` as the server reports them for what was asked; `fingerprint` describes machine and server."""

    server_version: str
    settings: dict[str, str]
    fingerprint: dict[str, Any]
    seconds: float


@dataclass(frozen=True)
class Endpoint:
    """Where the load finds the database. Credentials never travel here: each agent got them when it enrolled."""

    host: str
    port: int
    database: str


@dataclass(frozen=True)
class WorkloadSpec:
    """Shape: `params` as the driver spells them; durations in seconds; `rate` 0 is closed loop."""

    driver: str  # pgbench, stroppy
    driver_version: str
    name: str
    scale_factor: int
    clients: int
    isolation: str = "read committed"
    pacing: bool = False
    rate: float = 0.0
    params: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class InstallInput:
    key: StepKey
    workload: WorkloadSpec
    endpoint: Endpoint


@dataclass(frozen=True)
class InstallOutcome:
    """Shape: `adapter` is the one chosen by what the executable says (pgbench, stroppy-k6, stroppy-go)."""

    driver: str
    driver_version: str
    adapter: str
    sha256: str
    seconds: float


@dataclass(frozen=True)
class PrepareInput:
    key: StepKey
    workload: WorkloadSpec
    endpoint: Endpoint
    timeout_s: float = 3600.0


@dataclass(frozen=True)
class PrepareOutcome:
    seconds: float
    size_bytes: int
    effective_config: dict[str, Any]  # what the driver was really told, without secrets


@dataclass(frozen=True)
class WarmupInput:
    """Reset the load (a fresh copy of the prepared database), CHECKPOINT, then load that is not counted."""

    key: StepKey
    workload: WorkloadSpec
    endpoint: Endpoint
    seconds: float
    sample: int


@dataclass(frozen=True)
class WarmupOutcome:
    seconds: float


@dataclass(frozen=True)
class MeasureInput:
    key: StepKey
    workload: WorkloadSpec
    endpoint: Endpoint
    seconds: float
    sample: int


@dataclass(frozen=True)
class MeasureOutcome:
    """One sample. `valid` false carries the reason; `result` has the fields of `suites.model.Result`.

    Shape: `artifacts` name -> storage key (raw output); `series` is a storage key, or '' with `series_reason`.
    """

    valid: bool
    reason: str
    result: dict[str, Any]
    artifacts: dict[str, str]
    series: str
    series_reason: str
    warnings: list[str]
    seconds: float


@dataclass(frozen=True)
class CollectInput:
    """After the last sample, on the database machine: server log and settings to storage."""

    key: StepKey


@dataclass(frozen=True)
class CollectOutcome:
    artifacts: dict[str, str]
    seconds: float
