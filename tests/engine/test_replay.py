"""Histories of earlier code replay under this code; what runs now replays as well. STACKLY_RECORD=1 stores it."""

import asyncio
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio import activity, workflow
from temporalio.client import Client, WorkflowHistory
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Replayer, Worker

from stackly.control.worker import WORKFLOWS, runner
from stackly.db import Transactions
from stackly.engine.contracts.control import RefChange, SyncActivities, SyncOutcome, SyncPlan
from stackly.engine.contracts.sweep import SweepActivities, Swept, look_workflow_id
from stackly.engine.workflows.look import LookWorkflow
from stackly.engine.workflows.sweep import SweepWorkflow
from stackly.engine.workflows.sync import RepoSyncWorkflow
from stackly.runs.model import Run
from stackly.spec.runs import RunKind, RunStatus
from stackly.temporal.steps import run_workflow_id, sync_workflow_id
from stackly.temporal.steps import test_workflow_id as workflow_id_of_test
from tests.engine import imaging
from tests.engine.moving import Moving
from tests.engine.world import World, agents, build, control, dispatching

HISTORIES = Path(__file__).with_name("histories")
RECORDED = sorted(HISTORIES.glob("*.json"))
# Of workflows that asked for steps by messages with inputs; none is ever recorded again.
EARLIER = sorted((HISTORIES / "earlier").glob("*.json"))


class PretendSync(SyncActivities):
    @activity.defn(name="sync.fetch")
    async def fetch(self, repo: str) -> SyncPlan:
        return SyncPlan([RefChange(repo, "refs/heads/main", "c" * 40, "", 0)])

    @activity.defn(name="sync.process")
    async def process(self, change: RefChange) -> SyncOutcome:
        return SyncOutcome(1, 0, 0, 0, [])


@workflow.defn(name="Run")
class Forgetful:
    """Mutation: a run that skips everything."""

    @workflow.run
    async def run(self, run: str) -> None:
        return

    @workflow.signal
    def ring(self) -> None:
        return


def replayer(*workflows: type) -> Replayer:
    return Replayer(workflows=workflows or WORKFLOWS, workflow_runner=runner())


@pytest.fixture
async def readable(temporal: WorkflowEnvironment, transactions: Transactions) -> World:
    """Payloads as they are: a stored history must be readable without keys."""
    client = await Client.connect(
        temporal.client.service_client.config.target_host, namespace=temporal.client.namespace
    )
    return await build(transactions, client)


@pytest.fixture
async def plain(readable: World) -> AsyncIterator[World]:
    made = readable
    async with control(made), agents(made), dispatching(made):
        yield made


def _stored(name: str) -> WorkflowHistory:
    return WorkflowHistory.from_json(name, (HISTORIES / f"{name}.json").read_text())


async def _kept(world: World, name: str, workflow_id: str) -> WorkflowHistory:
    history = await world.client.get_workflow_handle(workflow_id).fetch_history()
    if os.environ.get("STACKLY_RECORD") == "1":
        # Who worked on it is of no use, and names a machine.
        text = re.sub(r'"identity": "[^"]*"', '"identity": "recorded"', history.to_json())
        (HISTORIES / f"{name}.json").write_text(text)
    return WorkflowHistory.from_json(workflow_id, history.to_json())


async def _held(world: World, kind: RunKind, step: str, state: str) -> tuple[Run, asyncio.Event]:
    """A run that stands in the middle of a step."""
    gate = world.agent.faults.hold[step] = asyncio.Event()
    run = await world.asked(1, kind, state=state)

    async def begun() -> bool:
        return await world.begun(step, run.id)

    await world.until(begun)
    return run, gate


async def _moved(world: World) -> str:
    """The plan that is asked for when a deployed stack moved."""
    moving = Moving(world)
    await moving.deployed("a", 1)
    await moving.moved("b", 2)
    return (await moving.carried_out(await moving.preview())).id


async def test_what_runs_now_replays(plain: World) -> None:
    run, gate = await _held(plain, RunKind.BENCHMARK, "measure 1", "default")
    found = [
        await _kept(plain, "run-benchmark-measuring", run_workflow_id(run.id)),
        await _kept(plain, "test-measuring", workflow_id_of_test(run.id, "tpcb")),
    ]
    gate.set()
    await plain.ended(run.id)
    found += [
        await _kept(plain, "run-benchmark-ended", run_workflow_id(run.id)),
        await _kept(plain, "test-ended", workflow_id_of_test(run.id, "tpcb")),
    ]
    destroy = await plain.scalar("SELECT id FROM operations WHERE kind = 'destroy'")
    found.append(await _kept(plain, "run-destroy-ended", run_workflow_id(destroy)))
    plain.agent.faults.gone["apply"] = 1
    deploy, gate = await _held(plain, RunKind.DEPLOY, "apply", "deployed")
    found.append(await _kept(plain, "run-deploy-applying", run_workflow_id(deploy.id)))
    gate.set()
    await plain.ended(deploy.id)
    found.append(await _kept(plain, "run-deploy-recovered", run_workflow_id(deploy.id)))
    found.append(await _kept(plain, "run-preview-ended", run_workflow_id(await _moved(plain))))
    for history in found:
        await replayer().replay_workflow(history)


async def test_a_run_that_waited_for_its_image_replays(readable: World) -> None:
    await imaging.can_docker(readable)
    async with imaging.control(readable), agents(readable), dispatching(readable):
        run = await imaging.ask(readable, [imaging.ABSENT, imaging.THERE])
        assert (await readable.ended(run.id)).status is RunStatus.SUCCEEDED
    await replayer().replay_workflow(await _kept(readable, "run-benchmark-imaged", run_workflow_id(run.id)))


async def test_a_sync_replays(temporal: WorkflowEnvironment, plain: World) -> None:
    sync, queue = PretendSync(), "sync-only"
    async with Worker(
        plain.client,
        task_queue=queue,
        workflows=[RepoSyncWorkflow],
        activities=[sync.fetch, sync.process],
        workflow_runner=runner(),
    ):
        await plain.client.execute_workflow("RepoSync", "r", id=sync_workflow_id("r"), task_queue=queue)
    await replayer().replay_workflow(await _kept(plain, "repo-sync-ended", sync_workflow_id("r")))


class PretendSweeps(SweepActivities):
    """Two slots are full, the third is not."""

    def __init__(self) -> None:
        self.slots = 0

    @activity.defn(name="sweep.slot")
    async def slot(self, account: str) -> Swept:
        self.slots += 1
        return Swept(50, 1, 0, 0, more=self.slots < 3)

    @activity.defn(name="sweep.look")
    async def look(self, about: str) -> None:
        return


async def test_a_sweep_and_a_look_replay(plain: World) -> None:
    sweeps, queue = PretendSweeps(), "sweep-only"
    async with Worker(
        plain.client,
        task_queue=queue,
        workflows=[SweepWorkflow, LookWorkflow],
        activities=[sweeps.slot, sweeps.look],
        workflow_runner=runner(),
    ):
        await plain.client.execute_workflow("Sweep", "a", id="sweep/a", task_queue=queue)
        about = look_workflow_id("repo/r")
        await plain.client.execute_workflow("Look", "repo/r", id=about, task_queue=queue, start_signal="ring")
    assert sweeps.slots == 3
    await replayer().replay_workflow(await _kept(plain, "sweep-ended", "sweep/a"))
    await replayer().replay_workflow(await _kept(plain, "look-ended", about))


def test_every_workflow_has_a_history() -> None:
    assert {file.stem.split("-")[0] for file in RECORDED} == {"run", "test", "repo", "sweep", "look"}


@pytest.mark.parametrize("file", RECORDED, ids=lambda file: file.stem)
async def test_a_recorded_history_replays(file: Path) -> None:
    await replayer().replay_workflow(_stored(file.stem))


@pytest.mark.parametrize("file", EARLIER, ids=lambda file: file.stem)
async def test_a_history_of_the_earlier_release_ends_its_workflow(file: Path) -> None:
    """engine rule 19: it fails, and its row is started anew; it does not hang."""
    with pytest.raises(workflow.NondeterminismError):
        await replayer().replay_workflow(_stored(f"earlier/{file.stem}"))


async def test_a_workflow_that_changed_its_ways_is_seen() -> None:
    """Negative control."""
    with pytest.raises(workflow.NondeterminismError):
        await replayer(Forgetful).replay_workflow(_stored("run-deploy-recovered"))
