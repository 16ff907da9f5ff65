"""How workflows reach their rows: every call is one local activity, one short transaction."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

with workflow.unsafe.imports_passed_through():
    from stackly.engine.contracts.control import Boundary, RunActivities
    from stackly.engine.workflows.results import local_result
    from stackly.engine.workflows.stepping import as_ours
    from stackly.temporal.timings import LOCAL_RETRY, LOCAL_TIMEOUT

P = TypeVar("P")
T = TypeVar("T")


async def local(method: Callable[[Any, P], Awaitable[T]], given: P) -> T:
    """Run one control activity here and now; it is tried again until Postgres answers.

    Raises: StepCancelled, StepFailed when the rows say so.
    """
    try:
        return await local_result(method, given, timeout=LOCAL_TIMEOUT, retry=LOCAL_RETRY)
    except (ActivityError, ApplicationError) as e:
        raise as_ours(e) from e


def at() -> str:
    """Workflow time, ISO 8601."""
    return workflow.now().isoformat()


class Phases:
    """The phases of one run or test, in order: each boundary ends one and starts the next in one transaction."""

    def __init__(self, run: str, test: str = "") -> None:
        self.run = run
        self.test = test
        self.current = ""

    async def go(self, name: str, detail: str = "") -> None:
        """End the current phase well, and start `name` ('' starts none)."""
        ended, self.current = self.current, name
        await local(RunActivities.boundary, Boundary(self.run, self.test, at(), end=ended, detail=detail, start=name))

    async def fail(self, detail: str, then: str = "") -> None:
        """The current phase failed; `then` is what follows all the same (teardown)."""
        ended, self.current = self.current, then
        given = Boundary(self.run, self.test, at(), end=ended, status="failed", detail=detail[:2000], start=then)
        await local(RunActivities.boundary, given)
