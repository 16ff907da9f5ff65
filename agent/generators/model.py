"""What a load generator is given and what it says. Three adapters, one shape."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from agent import workdir
from agent.context import StepContext
from agent.processes import Redactor
from agent.sandbox.part import Part
from stackly.engine.contracts.edge import Endpoint, WorkloadSpec


@dataclass(frozen=True, slots=True)
class Job:
    """One start of a generator.

    Shape: `directory` is absolute and ours; `work` in it is the generator's own and its working directory; `part` is
    its sandbox. Units: `seconds` of load, 0 for a prepare; `timeout_s` ends a prepare.
    """

    workload: WorkloadSpec
    endpoint: Endpoint
    user: str
    password: str
    directory: Path
    context: StepContext
    redactor: Redactor
    part: Part
    seconds: float = 0.0
    sample: int = 0
    live: bool = False
    timeout_s: float = 3600.0

    @property
    def work(self) -> Path:
        return self.directory / "work"

    def lent(self, *files: Path) -> Part:
        """The sandbox of one start, which reads these files of ours."""
        for file in files:
            workdir.lend(file, self.part.uid)
        return self.part.writing(self.work).seeing(*files)


@dataclass(frozen=True, slots=True)
class Latency:
    """Units: milliseconds. `bound` is "exact", or "upper" where values are bucket edges (trap 14)."""

    mean: float | None = None
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None
    max: float | None = None
    bound: Literal["exact", "upper"] = "exact"

    def as_dict(self) -> dict[str, Any]:
        names = ("mean", "p50", "p90", "p95", "p99", "max", "bound")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True)
class Measured:
    """What one start of the generator reports, not yet judged.

    Shape: `transactions` are those that committed; `errors` those that did not in the end; `code` and `stopped` as in
    processes.Ended, `code_is_verdict` where a code that is not 0 does not mean that the measurement failed.
    """

    code: int
    stopped: str
    transactions: int
    duration_s: float
    tps: float
    latency: Latency
    errors: int = 0
    retries: int = 0
    lost_clients: int = 0
    nopm: float | None = None
    tpm_c: float | None = None
    code_is_verdict: bool = False
    said: str = ""
    files: dict[str, Path] = field(default_factory=dict)
    series: list[dict[str, Any]] | None = None
    series_reason: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def error_rate(self) -> float:
        tried = self.transactions + self.errors
        return self.errors / tried if tried else 0.0


@dataclass(frozen=True, slots=True)
class Installed:
    """Shape: `version` is what the program says, 'unknown' where it does not know; `sha256` of the program."""

    version: str
    sha256: str
    path: Path


class Generator(Protocol):
    """Shape: `adapter` is part of the fingerprint: results of different adapters are never compared (trap 19).

    `repeatable` says whether a copy that was warmed up may be measured too (trap 3).
    """

    adapter: str
    repeatable: bool

    async def install(self) -> Installed:
        """Find it, prove it is the right one. Raises: NotFound, Invalid."""
        ...

    def check(self, workload: WorkloadSpec) -> None:
        """Raises: Invalid when this driver cannot do what the workload asks."""
        ...

    async def prepare(self, job: Job) -> dict[str, Any]:
        """Load the data. Shape: what the driver was really told. Raises: Faulty, Cancelled."""
        ...

    async def warm(self, job: Job) -> None:
        """Load that nobody counts. Raises: Faulty when it could not run, Cancelled."""
        ...

    async def measure(self, job: Job) -> Measured:
        """Once, never again by itself. Raises: Cancelled."""
        ...
