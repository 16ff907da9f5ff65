"""What workflows ask of the control plane itself. Run activities are local ones: one transaction each, repeatable."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

from temporalio import activity

from stackly.engine.contracts.edge import DatabaseOutcome, Endpoint, InstallOutcome, MeasureOutcome
from stackly.engine.contracts.site import InventoryOutcome, MachineSpec, PlanOutcome
from stackly.temporal.steps import StepKey


@dataclass(frozen=True)
class RefChange:
    """A ref whose commit is not the one processed last.

    Shape: `commit` '' means that the ref is gone, `seen` '' that it was never processed; `moved_from` is the ref
    that was the default branch before this one.
    """

    repo: str
    ref: str
    commit: str
    seen: str
    generation: int
    moved_from: str = ""


@dataclass(frozen=True)
class SyncPlan:
    changes: list[RefChange]


@dataclass(frozen=True)
class SyncOutcome:
    registered: int
    updated: int
    removed: int
    rejected: int
    runs: list[str]
    failed: str = ""  # why nothing was registered


class SyncActivities(ABC):
    @activity.defn(name="sync.fetch")
    @abstractmethod
    async def fetch(self, repo: str) -> SyncPlan: ...

    @activity.defn(name="sync.process")
    @abstractmethod
    async def process(self, change: RefChange) -> SyncOutcome: ...


@dataclass(frozen=True)
class Claim:
    """Shape: `execution` is the workflow's own run id; `test` '' for a run."""

    run: str
    execution: str
    test: str = ""


@dataclass(frozen=True)
class RunPlan:
    """What a run's workflow carries out. `carry` false: somebody else does, or it has ended."""

    carry: bool
    kind: str = ""
    removes: bool = False  # a destroy that undoes a test's boot first
    timeout_s: float = 14400.0
    plans: int = 1  # a deploy's plan that counts; those before it have moved
    images: dict[str, str] = field(default_factory=dict)  # as the suite names them -> what they meant, '' not known yet
    image_patience_s: float = 1800.0
    started: str = ""  # ISO 8601


@dataclass(frozen=True)
class ImageAwaited:
    """What the run waits for now, as people read it."""

    run: str
    said: str


@dataclass(frozen=True)
class ImageFound:
    """What an image's name meant when this run first saw it."""

    run: str
    image: str
    pinned: str


@dataclass(frozen=True)
class TestBoard:
    """Shape: `start` are tests to start now, within the parallel limit."""

    start: list[str]
    open: int
    cancelled: bool


@dataclass(frozen=True)
class Boundary:
    """Ends one phase and starts the next, and moves the run if that is due. Units: `at` ISO 8601, workflow time."""

    run: str
    test: str
    at: str
    end: str = ""
    status: str = "succeeded"
    detail: str = ""
    start: str = ""


@dataclass(frozen=True)
class Asked:
    """A step of a run or a test, by name. What it is given, and who may carry it out, stands in rows."""

    run: str
    test: str
    step: str


@dataclass(frozen=True)
class Expected:
    """The row of a step that was asked for.

    Shape: status expected, running, done; or without a row: gone (and not tried again), cancelled, refused, with
    `reason`. `outcome` as the agent stored it.
    """

    status: str
    key: StepKey | None = None
    queue: str = ""
    outcome: dict[str, Any] | None = None
    reason: str = ""


@dataclass(frozen=True)
class GateAnswer:
    """Shape: answer apply, wait, plan (anew), unchanged, changed (of a preview), stop (the run has ended)."""

    answer: str
    reason: str = ""
    wait_s: float = 30.0


@dataclass(frozen=True)
class RunEnd:
    run: str
    at: str
    error: str = ""  # '' when everything the run does went well
    cancelled: bool = False
    changed: bool | None = None


@dataclass(frozen=True)
class TestPlan:
    """How long a test's steps may take, and how many there are; what they are given stands in rows."""

    carry: bool
    warmup_s: float = 0.0
    duration_s: float = 0.0
    samples: int = 1
    timeout_s: float = 14400.0


@dataclass(frozen=True)
class Reserved:
    """Shape: `ready` false: nothing was taken, wait `wait_s` and ask again; `reason` says for what."""

    ready: bool
    reason: str = ""
    wait_s: float = 5.0
    epoch: int = 0
    network_cidr: str = ""
    machines: list[MachineSpec] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)
    database_machine: str = ""
    load_machine: str = ""
    port: int = 0
    admit: list[str] = field(default_factory=list)
    endpoint: Endpoint | None = None


@dataclass(frozen=True)
class NetworkTaken:
    run: str
    test: str
    network_cidr: str
    reason: str


@dataclass(frozen=True)
class Absent:
    """Shape: `lost` machine -> why its agent will never come, or come back."""

    machines: list[str]
    cancelled: bool = False
    lost: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Sampled:
    """A measured sample with what it was measured on."""

    run: str
    test: str
    n: int
    outcome: MeasureOutcome
    install: InstallOutcome | None
    database: DatabaseOutcome | None


@dataclass(frozen=True)
class Invalidated:
    """There is no sample: why, for the result row that says so."""

    run: str
    test: str
    n: int
    reason: str


@dataclass(frozen=True)
class Judgement:
    verdict: str
    reasons: list[str]


@dataclass(frozen=True)
class TeardownAsked:
    run: str
    test: str
    reason: str


@dataclass(frozen=True)
class TeardownLook:
    """Shape: status open, met, waived; `destroying` tells whether a destroy run is on its way."""

    status: str
    reason: str = ""


@dataclass(frozen=True)
class TestEnd:
    run: str
    test: str
    at: str
    error: str = ""
    cancelled: bool = False


@dataclass(frozen=True)
class PlanRecord:
    run: str
    at: str
    plan: PlanOutcome


@dataclass(frozen=True)
class ApplyRecord:
    run: str
    at: str
    outputs: dict[str, Any]


@dataclass(frozen=True)
class Verified:
    run: str
    inventory: InventoryOutcome
    destroyed: bool  # terraform destroy went through


@dataclass(frozen=True)
class VerifyAnswer:
    empty: bool
    left: list[str]


class RunActivities(ABC):
    """A run's own: claims, phases, gates, ends."""

    @activity.defn(name="run.begin")
    @abstractmethod
    async def begin(self, claim: Claim) -> RunPlan: ...

    @activity.defn(name="run.image_awaited")
    @abstractmethod
    async def image_awaited(self, given: ImageAwaited) -> None: ...

    @activity.defn(name="run.image_found")
    @abstractmethod
    async def image_found(self, given: ImageFound) -> str: ...

    @activity.defn(name="run.images_here")
    @abstractmethod
    async def images_here(self, run: str) -> None: ...

    @activity.defn(name="run.board")
    @abstractmethod
    async def board(self, run: str) -> TestBoard: ...

    @activity.defn(name="run.boundary")
    @abstractmethod
    async def boundary(self, given: Boundary) -> None: ...

    @activity.defn(name="run.expect")
    @abstractmethod
    async def expect(self, asked: Asked) -> Expected: ...

    @activity.defn(name="run.record_plan")
    @abstractmethod
    async def record_plan(self, given: PlanRecord) -> GateAnswer: ...

    @activity.defn(name="run.gate")
    @abstractmethod
    async def gate(self, given: Boundary) -> GateAnswer: ...

    @activity.defn(name="run.record_apply")
    @abstractmethod
    async def record_apply(self, given: ApplyRecord) -> None: ...

    @activity.defn(name="run.verify")
    @abstractmethod
    async def verify(self, given: Verified) -> VerifyAnswer: ...

    @activity.defn(name="run.finish")
    @abstractmethod
    async def finish(self, end: RunEnd) -> None: ...


class TestActivities(ABC):
    """A test's own: reserve, judge, tear down."""

    __test__ = False

    @activity.defn(name="test.begin")
    @abstractmethod
    async def begin_test(self, claim: Claim) -> TestPlan: ...

    @activity.defn(name="test.reserve")
    @abstractmethod
    async def reserve(self, claim: Claim) -> Reserved: ...

    @activity.defn(name="test.network_taken")
    @abstractmethod
    async def network_taken(self, given: NetworkTaken) -> Reserved: ...

    @activity.defn(name="test.absent")
    @abstractmethod
    async def absent(self, claim: Claim) -> Absent: ...

    @activity.defn(name="test.sampled")
    @abstractmethod
    async def sampled(self, given: Sampled) -> None: ...

    @activity.defn(name="test.invalidated")
    @abstractmethod
    async def invalidated(self, given: Invalidated) -> None: ...

    @activity.defn(name="test.judge")
    @abstractmethod
    async def judge(self, claim: Claim) -> Judgement: ...

    @activity.defn(name="test.ask_teardown")
    @abstractmethod
    async def ask_teardown(self, given: TeardownAsked) -> None: ...

    @activity.defn(name="test.look_teardown")
    @abstractmethod
    async def look_teardown(self, claim: Claim) -> TeardownLook: ...

    @activity.defn(name="test.finish")
    @abstractmethod
    async def finish_test(self, end: TestEnd) -> None: ...
