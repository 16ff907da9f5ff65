"""What a target is. Adding one is one module in this folder with a function `create(site) -> Target`."""

import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from agent.context import StepContext
from stackly.engine.contracts.site import BootInput, ImageOutcome, InventoryItem, ProbeOutcome
from stackly.errors import Invalid


@dataclass(frozen=True, slots=True)
class TargetSite:
    """What every target may need of the agent. Shape: `edge_command` gets `--enrolment FILE --home DIR` appended."""

    home: Path
    agent_id: str
    edge_command: tuple[str, ...] = (sys.executable, "-m", "agent.main", "edge")
    docker_socket: str = "/var/run/docker.sock"


@dataclass(frozen=True, slots=True)
class Resident:
    """A machine that was booted here, and its edge agent, alive or not."""

    agent: str
    run: str
    test: str
    machine: str


class Target(ABC):
    """Shape: `makes_machines` is True where `boot` makes what the module only declared."""

    name: ClassVar[str]
    makes_machines: ClassVar[bool]

    @abstractmethod
    async def probe(self, cidr: str) -> ProbeOutcome: ...

    @abstractmethod
    async def boot(self, given: BootInput, context: StepContext) -> dict[str, str]:
        """Machine name -> its edge agent's id. What already runs is kept."""

    async def find_image(self, name: str, context: StepContext) -> ImageOutcome:  # noqa: ARG002 - for those that can
        """What the name means just now. Raises: Invalid where there are no images; Denied; Cancelled."""
        raise self._no_images()

    async def pull_image(self, name: str, context: StepContext, timeout_s: float) -> bool:  # noqa: ARG002 - as above
        """Have it here; True when it was pulled. Raises: Invalid, Denied, NotFound, Faulty; Cancelled."""
        raise self._no_images()

    def _no_images(self) -> Invalid:
        return Invalid(f"Target {self.name} runs installed programs, no images; use target docker for database.image.")

    @abstractmethod
    async def remove(self, run: str, test: str) -> list[str]:
        """What was there and is gone. Needs neither state nor a living edge agent; twice is as good as once."""

    def was_used(self) -> bool:
        """Whether anything was ever made here for this agent."""
        return False

    def residents(self) -> list[Resident]:
        """The machines of anybody that this target made."""
        return []

    async def ended(self) -> list[InventoryItem]:
        """Machines of anybody whose edge agent was started here and does not live (kind AGENT_ENDED)."""
        return []

    @abstractmethod
    async def inventory(self, run: str, test: str) -> list[InventoryItem]:
        """What is there of (run, test), or of everybody when `run` is ''."""
