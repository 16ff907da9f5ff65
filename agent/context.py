"""What a step sees of the agent around it."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from stackly.temporal.steps import StepKey


class Cancelled(Exception):  # noqa: N818 - a state, not an error of ours
    """The run was cancelled, the agent is stopping, or the step's lease was lost, while the step worked."""


class StepContext(Protocol):
    """Given to every step. Log lines and points are spooled to disk and sent when the gateway answers.

    `cancelled` is set when the run's cancel column is, when the agent stops, or when the lease could not be renewed:
    the step ends its child (SIGTERM, grace, SIGKILL) and raises Cancelled. What that means is not the step's to say.
    """

    key: StepKey
    cancelled: asyncio.Event

    def log(self, text: str, level: str = "info") -> None: ...

    def point(
        self,
        *,
        sample: int,
        second: int,
        tps: float,
        latency_ms: float | None = None,
        p95_ms: float | None = None,
        errors: int = 0,
    ) -> None: ...

    async def read_tree(self) -> bytes:
        """Gzip'd tar of the run's code bundle."""
        ...

    async def read_state(self) -> bytes:
        """Newest valid Terraform state, rescued versions included; b'' when there never was one."""
        ...

    async def write_state(self, state: bytes) -> tuple[bool, str]:
        """(accepted, reason). Waits and retries while the gateway is away."""
        ...

    async def put_artifact(self, name: str, path: Path, media_type: str = "application/octet-stream") -> str:
        """The storage key."""
        ...

    async def issue_enrolment(self, machine: str) -> "Enrolment": ...


class Enrolment(Protocol):
    @property
    def token(self) -> str: ...
    @property
    def agent_id(self) -> str: ...
    @property
    def enrol_address(self) -> str: ...
    @property
    def ca_pem(self) -> bytes: ...


class Credentials(Protocol):
    """Random per test, given at enrolment, kept in memory only."""

    @property
    def superuser(self) -> str: ...
    @property
    def superuser_password(self) -> str: ...
    @property
    def user(self) -> str: ...
    @property
    def user_password(self) -> str: ...
    @property
    def database(self) -> str: ...


Secrets = Sequence[str]  # texts that must be masked in everything a step emits
