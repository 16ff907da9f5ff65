"""What the gateway costs: an activity through it against the same one direct, and the accept path beside its agents."""

from __future__ import annotations

import asyncio
import statistics
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from agent import gateway as enrolling
from agent.gateway import Identity
from stackly.agents import service as agents
from stackly.agents.authority import Authority
from stackly.clock import monotonic
from stackly.db import Transactions
from stackly.ids import new_id
from stackly.temporal.steps import edge_queue
from tests.api.grpc.process import GatewayProcess, configured, running
from tests.api.grpc.relaying import line, poll, sdk
from tests.api.grpc.rows import World, make_world
from tests.bench.accept_servers import SECRET
from tests.bench.recording import record
from tests.bench.test_accept_vs_floor import Serve, _rate, hook

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["hook"]  # the fixture of the accept path's bench
ROUNDS = 5
ACTIVITIES = 40
AGENTS = 200


@workflow.defn(name="bench.many")
class Many:
    """One activity after another, on a queue."""

    @workflow.run
    async def run(self, queue: str, count: int) -> None:
        for _ in range(count):
            await workflow.execute_activity(
                "bench.nothing", task_queue=queue, start_to_close_timeout=timedelta(seconds=30)
            )


@activity.defn(name="bench.nothing")
async def nothing() -> None:
    return


@pytest.fixture
async def served(
    transactions: Transactions, database: str, temporal: WorkflowEnvironment, tmp_path: Path
) -> AsyncIterator[GatewayProcess]:
    address = temporal.client.service_client.config.target_host
    async with running(tmp_path, configured(tmp_path, database, temporal_address=address)) as process:
        yield process


async def _enrolled(
    served: GatewayProcess, world: World, transactions: Transactions, home: Path, name: str
) -> Identity:
    async with transactions() as session:
        issued = await agents.issue_enrolment(session, world.account, run=world.run, test=world.test, machine=name)
    ca = Authority.open(home / "ca").ca_pem
    return await enrolling.enrol(served.enrol, ca, issued.token, version="1", capabilities={})


async def _milliseconds(client: Client, own: str, queue: str) -> float:
    """Of one activity."""
    began = monotonic()
    await client.execute_workflow(Many.run, args=[queue, ACTIVITIES], id=new_id(), task_queue=own)
    return (monotonic() - began) / ACTIVITIES * 1000


@pytest.mark.bench
async def test_an_activity_through_the_gateway(
    served: GatewayProcess, temporal: WorkflowEnvironment, transactions: Transactions, tmp_path: Path
) -> None:
    edge = await _enrolled(served, await make_world(transactions), transactions, tmp_path, "db")
    client = await Client.connect(temporal.client.service_client.config.target_host)
    own, direct, through = new_id(), new_id(), edge_queue(edge.agent_id)
    times: dict[str, list[float]] = {direct: [], through: []}
    with temporal.with_time_skipping_disabled():
        async with (
            Worker(client, task_queue=own, workflows=[Many], workflow_runner=UnsandboxedWorkflowRunner()),
            Worker(client, task_queue=direct, activities=[nothing]),
            Worker(await sdk(edge), task_queue=through, activities=[nothing]),
        ):
            for queue in (direct, through):
                await _milliseconds(client, own, queue)
            for _ in range(ROUNDS):
                for queue, seen in times.items():
                    seen.append(await _milliseconds(client, own, queue))
    ratio = statistics.median(b / a for a, b in zip(times[direct], times[through], strict=True))
    more = statistics.median(b - a for a, b in zip(times[direct], times[through], strict=True))
    print(f"\nactivity: {statistics.median(times[direct]):.1f} ms direct, {more:+.1f} ms through, ratio {ratio:.2f}")  # noqa: T201 - a bench prints
    record(gateway_poll_ms=round(more, 2), gateway_vs_direct=round(ratio, 3))
    assert ratio <= 3.0


@pytest.mark.bench
async def test_accepting_beside_idle_agents(
    serve: Serve,
    hook: tuple[str, bytes],
    served: GatewayProcess,
    transactions: Transactions,
    tmp_path: Path,
) -> None:
    world = await make_world(transactions)
    identities = [await _enrolled(served, world, transactions, tmp_path, f"m{n}") for n in range(AGENTS)]
    path, secret = hook
    ratios = []
    for _ in range(3):
        floor = await _rate(serve, "floor", path, SECRET)
        async with AsyncExitStack() as stack:
            lines = [await stack.enter_async_context(line(identity)) for identity in identities]
            polls = [
                asyncio.create_task(opened.code("PollActivityTaskQueue", poll(edge_queue(identity.agent_id)), 60))
                for opened, identity in zip(lines, identities, strict=True)
            ]
            _, open_ones = await asyncio.wait(polls, timeout=3)
            assert len(open_ones) == AGENTS, "every agent waits for work"
            ratios.append(await _rate(serve, "stackly", path, secret) / floor)
            for task in polls:
                task.cancel()
            await asyncio.wait(polls)
    ratio = statistics.median(ratios)
    print(f"\naccept beside {AGENTS} idle agents: {[round(r, 2) for r in ratios]} of the floor")  # noqa: T201
    record(accept_vs_floor_beside_agents=round(ratio, 3))
    assert ratio >= 1.0
