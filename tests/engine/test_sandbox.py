"""Workflows load fast: our own modules pass through the sandbox."""

import pytest
from temporalio import workflow
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from stackly import clock
from stackly.control.worker import WORKFLOWS, runner

# Units: times what an empty workflow takes.
AT_MOST = 10


@workflow.defn
class Empty:
    @workflow.run
    async def run(self) -> None:
        return


async def _load_s(sandbox: SandboxedWorkflowRunner, cls: type, rounds: int = 3) -> float:
    """The best of several: one workflow loaded into a sandbox of its own."""
    definition = workflow._Definition.must_from_class(cls)
    took = []
    for _ in range(rounds):
        before = clock.monotonic()
        sandbox.prepare_workflow(definition)
        took.append(clock.monotonic() - before)
    return min(took)


@pytest.mark.parametrize("cls", WORKFLOWS, ids=lambda cls: cls.__name__)
async def test_a_workflow_loads_like_an_empty_one(cls: type) -> None:
    assert await _load_s(runner(), cls) < AT_MOST * await _load_s(runner(), Empty)
