"""Temporal's calls through the gateway: an agent's work, and what ends it."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from temporalio import activity
from temporalio.client import Client, WorkflowFailureError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from agent import gateway as enrolling
from agent.gateway import Identity
from stackly.agents import service as agents
from stackly.agents.authority import Authority
from stackly.api.grpc.tokens import TaskTokens
from stackly.db import Transactions
from stackly.temporal.steps import edge_queue
from tests.api.grpc.conftest import Doors
from tests.api.grpc.far import far
from tests.api.grpc.process import configured, running
from tests.api.grpc.relaying import Asker, asking, line, poll, sdk, until
from tests.api.grpc.rows import World


class Work:
    """Activities that tell when they run, and go on when they may."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.may_end = asyncio.Event()
        self.attempts: list[int] = []

    @activity.defn(name="echo")
    async def echo(self, given: str) -> str:
        return given.upper()

    @activity.defn(name="fail")
    async def fail(self, given: str) -> str:
        raise RuntimeError(given)

    @activity.defn(name="wait")
    async def wait(self, given: str) -> str:
        self.attempts.append(activity.info().attempt)
        self.begun.set()
        while not self.may_end.is_set():
            activity.heartbeat()
            await asyncio.sleep(0.2)
        return given

    async def until_begun(self) -> None:
        async with asyncio.timeout(60):
            await self.begun.wait()


@asynccontextmanager
async def working(identity: Identity) -> AsyncIterator[Work]:
    work = Work()
    worker = Worker(
        await sdk(identity),
        task_queue=edge_queue(identity.agent_id),
        activities=[work.echo, work.fail, work.wait],
    )
    async with worker:
        yield work


@pytest.fixture
async def asker(direct: Client) -> AsyncIterator[Asker]:
    async with asking(direct) as made:
        yield made


async def test_an_agent_works_through_the_gateway(edge: Identity, asker: Asker) -> None:
    queue = edge_queue(edge.agent_id)
    async with working(edge) as work:
        assert await asker.ask("echo", "done", queue) == "DONE"
        with pytest.raises(WorkflowFailureError):
            await asker.ask("fail", "broken", queue)
        flow = await asker.start("wait", "late", queue)
        await work.until_begun()
        await flow.cancel()
        with pytest.raises(WorkflowFailureError):
            await flow.result()
    assert work.attempts == [1]


async def test_an_agent_on_another_continent_works(edge: Identity, asker: Asker) -> None:
    queue = edge_queue(edge.agent_id)
    async with far(edge.gateway) as there, working(replace(edge, gateway=there)) as work:
        assert await asker.ask("echo", "far", queue) == "FAR"
        flow = await asker.start("wait", "late", queue)
        await work.until_begun()
        work.may_end.set()
        assert await flow.result() == "late"
    assert work.attempts == [1]


async def test_a_poll_that_hangs_up_takes_no_task(relayed: Doors, edge: Identity, asker: Asker) -> None:
    queue = edge_queue(edge.agent_id)
    polls = relayed.servers.polls
    async with line(edge) as opened:
        for _ in range(5):
            left = asyncio.create_task(opened.poll(queue))
            await until(lambda: polls.count == 1)
            left.cancel()
            await until(lambda: polls.count == 0)
            await asker.start("echo", "x", queue)
            given = await opened.poll(queue)
            assert given.attempt == 1
            assert TaskTokens(relayed.keys).open(edge.agent_id, given.task_token)


async def test_polls_are_bounded_for_each_agent(relayed: Doors, edge: Identity, world: World) -> None:
    queue, load = edge_queue(edge.agent_id), await relayed.edge(world, "load")
    async with line(edge) as opened, line(load) as other:
        held = [asyncio.create_task(opened.poll(queue)) for _ in range(8)]
        await until(lambda: relayed.servers.polls.count == 8)
        assert await opened.code("PollActivityTaskQueue", poll(queue)) == "RESOURCE_EXHAUSTED"
        beside = asyncio.create_task(other.poll(edge_queue(load.agent_id)))
        await until(lambda: relayed.servers.polls.count == 9)
        for one in (*held, beside):
            one.cancel()
        await until(lambda: relayed.servers.polls.count == 0)


async def test_a_revoked_agents_poll_ends_and_its_calls_are_refused(
    relayed: Doors, world: World, edge: Identity, transactions: Transactions
) -> None:
    queue = edge_queue(edge.agent_id)
    async with line(edge) as opened, line(await relayed.edge(world, "load")) as other:
        mine = asyncio.create_task(opened.code("PollActivityTaskQueue", poll(queue)))
        await until(lambda: relayed.servers.polls.count == 1)
        async with transactions() as session:
            await agents.revoke(session, edge.agent_id, account=world.account)
        async with asyncio.timeout(5):
            assert await mine == "PERMISSION_DENIED"
        assert await opened.code("GetSystemInfo") == "PERMISSION_DENIED"
        assert await other.code("GetSystemInfo") == "OK"


async def test_who_cannot_be_judged_is_asked_to_come_again(doors: Doors, world: World, tmp_path: Path) -> None:
    """PERMISSION_DENIED would end an agent's worker for good."""
    edge = await doors.edge(world)
    addresses = configured(tmp_path, "postgresql://nobody@127.0.0.1:9/nothing")
    async with (
        running(tmp_path, addresses, path="/healthz") as served,
        line(replace(edge, gateway=served.gateway)) as opened,
    ):
        assert await opened.code("PollActivityTaskQueue", poll(edge_queue(edge.agent_id))) == "UNAVAILABLE"


async def test_a_gateway_that_is_killed_costs_no_attempt(
    transactions: Transactions, database: str, temporal: WorkflowEnvironment, world: World, asker: Asker, tmp_path: Path
) -> None:
    """During a poll, and during an activity: another process takes the port, and knows the first one's tasks."""
    address = temporal.client.service_client.config.target_host
    addresses = configured(tmp_path, database, temporal_address=address)
    ca = Authority.open(tmp_path / "ca").ca_pem
    async with running(tmp_path, addresses) as first:
        async with transactions() as session:
            issued = await agents.issue_enrolment(session, world.account, run=world.run, test=world.test, machine="db")
        edge = await enrolling.enrol(first.enrol, ca, issued.token, version="1", capabilities={})
        queue = edge_queue(edge.agent_id)
        async with working(edge) as work:
            assert await asker.ask("echo", "one", queue) == "ONE"
            await first.ended(signal.SIGKILL)
            async with running(tmp_path, addresses) as second:
                assert await asker.ask("echo", "two", queue) == "TWO"
                flow = await asker.start("wait", "three", queue)
                await work.until_begun()
                await second.ended(signal.SIGKILL)
                async with running(tmp_path, addresses):
                    work.may_end.set()
                    assert await flow.result() == "three"
    assert work.attempts == [1]
