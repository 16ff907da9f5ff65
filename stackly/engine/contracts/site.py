"""What a site agent does: Terraform, machines and inventory of its target. What each step is given, and tells."""

import re
from dataclasses import dataclass, field
from typing import Any

from stackly.errors import Faulty
from stackly.temporal.steps import StepKey


class CodeChanged(Faulty):
    """It was changed in storage, and nothing of it is run: push the stack again, or restore the object."""

    title = "The code bundle is not what the run was made with."


_BUNDLE = re.compile(r"code/([0-9a-f]{64})\.tar\.gz")


def bundle_sha256(key: str) -> str:
    """The digest that a bundle's place in storage names; '' for a key of another shape."""
    found = _BUNDLE.fullmatch(key)
    return found.group(1) if found else ""


@dataclass(frozen=True)
class MachineSpec:
    """Shape: `image` and `limits` matter to container targets only."""

    name: str
    internal_ip: str
    cores: int
    memory_gb: int
    disk_gb: int
    roles: list[str] = field(default_factory=list)
    image: str = ""


@dataclass(frozen=True)
class ModuleInput:
    """What Terraform gets. `machines` empty: a plain stack, no contract variables are passed.

    Shape: `path` is the module's directory inside the bundle; `variables` are the stack's own.
    """

    key: StepKey
    target: str  # local, docker, module
    path: str
    variables: dict[str, Any]
    network_cidr: str = ""
    machines: list[MachineSpec] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)
    environment: str = ""  # passed only if the module declares `environment`
    creates_only: bool = False  # a benchmark's test: a plan with anything but creates fails
    timeout_s: float = 3600.0
    bundle_sha256: str = ""  # what the code bundle must have; '' of a run that began before it was known


@dataclass(frozen=True)
class PlanOutcome:
    """Shape: counts by action; `plan_sha256` names the saved plan; `serial` is the state it was made from."""

    create: int
    update: int
    delete: int
    changed: bool
    plan_sha256: str
    lock_sha256: str
    serial: int
    lineage: str
    summary: list[str]  # addresses with what becomes of them, and outputs, at most 1,000 and 96 KiB
    terraform_version: str
    move: int = 0
    adopt: int = 0  # by `import`
    forget: int = 0
    changes: int = 0  # so many lines the whole summary has


@dataclass(frozen=True)
class Approved:
    """Shape: `summary` of the plan with that digest, of whose `changes` lines it is a part; 0 where nobody counted."""

    summary: list[str]
    plan_sha256: str
    changes: int

    @property
    def is_cut(self) -> bool:
        return len(self.summary) < self.changes or (not self.changes and len(self.summary) >= _CUT_BEFORE)


_CUT_BEFORE = 1000  # where earlier releases cut a summary without counting


@dataclass(frozen=True)
class ApplyInput:
    module: ModuleInput
    plan_sha256: str = ""  # '' plans anew in the same step (a test's provision, and recovery)
    approved: list[str] | None = None  # recovery: all that the new plan may do, as the approved plan's `summary` tells
    digest: str = ""  # of the run, as it was decided upon
    approved_plan_sha256: str = ""  # recovery: names that plan, and what all its lines are
    approved_changes: int = 0

    @property
    def what_was_approved(self) -> Approved | None:
        """None where nothing was: a test's provision."""
        if self.approved is None:
            return None
        return Approved(self.approved, self.approved_plan_sha256, self.approved_changes)


@dataclass(frozen=True)
class MachineOut:
    id: str
    internal_ip: str
    public_ip: str


@dataclass(frozen=True)
class ApplyOutcome:
    """Shape: `machines` from the output of that name, empty for a plain stack; `outputs` without sensitive ones."""

    machines: dict[str, MachineOut]
    outputs: dict[str, Any]
    created: int
    updated: int
    deleted: int
    serial: int
    seconds: float
    lock_sha256: str = ""
    terraform_version: str = ""
    fault: str = ""  # what was applied is in the state, and yet this ends the run


@dataclass(frozen=True)
class DestroyOutcome:
    destroyed: int
    seconds: float


@dataclass(frozen=True)
class BootInput:
    """Make the machines a module declared, and start their edge agents. Idempotent."""

    key: StepKey
    target: str
    network_cidr: str
    machines: list[MachineSpec]
    ends_at: str = ""  # ISO 8601: when the test's budget ends at the latest; for the machines' labels


@dataclass(frozen=True)
class BootOutcome:
    agents: dict[str, str]  # machine name -> edge agent's id
    seconds: float


@dataclass(frozen=True)
class RemoveInput:
    """Undo boot of (owner_run, owner_test), whatever was booted. Needs no Terraform state, no living edge agent."""

    key: StepKey
    target: str
    owner_run: str
    owner_test: str


@dataclass(frozen=True)
class RemoveOutcome:
    removed: list[str]
    seconds: float


@dataclass(frozen=True)
class InventoryInput:
    """Look at the target itself. `owner_run` '' takes everything that carries our marks."""

    key: StepKey
    target: str
    owner_run: str = ""
    owner_test: str = ""


# A kind that travels in a site agent's heartbeats only. Shape: its id is `<agent>/<digest of its enrolment token>`, its
# detail the machine's name, a colon, and the agent's last words.
AGENT_ENDED = "agent-ended"


@dataclass(frozen=True)
class InventoryItem:
    """Shape: `id` is unique within the target; `run` and `test` name the owner its marks claim."""

    kind: str  # process, directory, container, network, volume
    id: str
    run: str
    test: str
    detail: str = ""


@dataclass(frozen=True)
class InventoryOutcome:
    target: str
    items: list[InventoryItem]


@dataclass(frozen=True)
class ProbeInput:
    """Is the block free on this machine? Somebody else may use it without our knowing."""

    key: StepKey
    target: str
    network_cidr: str


@dataclass(frozen=True)
class ProbeOutcome:
    free: bool
    reason: str


@dataclass(frozen=True)
class ImageInput:
    """One look at what an image's name means just now."""

    key: StepKey
    target: str
    image: str


@dataclass(frozen=True)
class ImageOutcome:
    """Shape: status there, absent (it may appear), away (nobody could say); `reason` is what was answered.

    `pinned` names the content and nothing else: repository@sha256:…, or sha256:… of an image that is on this machine
    only.
    """

    status: str
    pinned: str = ""
    reason: str = ""


@dataclass(frozen=True)
class PullInput:
    """Bring an image to the machine. Shape: `image` as `ImageOutcome.pinned`."""

    key: StepKey
    target: str
    image: str
    timeout_s: float


@dataclass(frozen=True)
class PullOutcome:
    """Shape: `pulled` false when it was there already."""

    pulled: bool
    seconds: float
