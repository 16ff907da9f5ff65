"""Looking at GitHub without being told to: what a sweep and a look share with their workflows."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from temporalio import activity


@dataclass(frozen=True)
class Swept:
    """Shape: `more` are due still; `redelivered` were asked of GitHub again, `rung` have refs nobody has processed."""

    looked: int
    rung: int
    redelivered: int
    failed: int
    more: bool


class SweepActivities(ABC):
    @activity.defn(name="sweep.slot")
    @abstractmethod
    async def slot(self, account: str) -> Swept:
        """Look at the repositories whose turn it is."""

    @activity.defn(name="sweep.look")
    @abstractmethod
    async def look(self, about: str) -> None:
        """Look at one thing now. Shape: `about` is repo/{id} or installation/{account}/{GitHub's number}."""


def sweep_schedule_id(account: str) -> str:
    return f"sweep/{account}"


def look_workflow_id(about: str) -> str:
    return f"look/{about}"
