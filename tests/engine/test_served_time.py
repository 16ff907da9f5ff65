"""Silence counts while a gateway served, and not before: of steps' leases and of edge agents alike."""

from datetime import timedelta

import pytest

from stackly.agents import service as agents
from stackly.agents import store as agents_store
from stackly.control.dispatcher.reaper import Reaper, ServedTime
from stackly.db import Transactions
from tests.api.grpc.rows import World, make_world, sql

LIMIT_S = 40.0
LOOK_S = 2.0


def test_time_passes_while_a_gateways_counter_moves() -> None:
    time = ServedTime()
    assert time.at(1, 100.0) == 0
    assert time.at(2, 102.0) == 2
    assert time.at(2, 150.0) == 2  # it stood still: nobody was heard
    assert time.at(3, 152.0) == 4
    assert time.at(4, 1000.0) == 14  # of so long a stretch nobody knows how much was served
    never = ServedTime()
    assert [never.at(None, at) for at in (5.0, 8.0)] == [0, 3]


class Hands:
    """A reaper on a clock of its own, and what it looks at."""

    def __init__(self, transactions: Transactions, world: World, edge: str) -> None:
        self.transactions, self.world, self.edge = transactions, world, edge
        self.now = 1000.0
        self.reaper = Reaper(transactions, gone_after=timedelta(seconds=LIMIT_S), now=lambda: self.now)

    async def pass_time(self, seconds: float, *, served: bool, heard: bool = False) -> None:
        for _ in range(int(seconds / LOOK_S)):
            async with self.transactions() as session:
                if served:
                    await agents_store.note_served(session)
                if heard:
                    await agents.heartbeat(
                        session, self.edge, incarnation="i", version="1", capabilities={}, polling=True
                    )
                    await sql(self.transactions, "UPDATE steps SET beat = beat + 1 WHERE status = 'running'")
            self.now += LOOK_S
            await self.reaper.look()

    async def states(self) -> tuple[str, str]:
        """(of the edge agent, of the step that it carries out)"""
        ((agent,),) = await sql(self.transactions, "SELECT status FROM agents WHERE id = :id", id=self.edge)
        ((step,),) = await sql(self.transactions, "SELECT status FROM steps")
        return str(agent), str(step)


@pytest.fixture
async def hands(transactions: Transactions) -> Hands:
    world = await make_world(transactions)
    async with transactions() as session:
        issued = await agents.issue_enrolment(session, world.account, run=world.run, test=world.test, machine="db")
        edge = issued.agent.id
        await agents.heartbeat(session, edge, incarnation="i", version="1", capabilities={}, polling=True)
    await sql(
        transactions,
        "INSERT INTO steps (operation, test, step, attempt, epoch, agent, process, status)"
        " VALUES (:run, :test, 'measure 1', 1, 1, :agent, 'i', 'running')",
        run=world.run,
        test=world.test,
        agent=edge,
    )
    return Hands(transactions, world, edge)


async def test_a_gateway_that_is_away_costs_nobody(hands: Hands) -> None:
    await hands.pass_time(10, served=True, heard=True)
    await hands.pass_time(600, served=False)
    await hands.pass_time(LIMIT_S - 4, served=True)
    assert await hands.states() == ("online", "running")
    await hands.pass_time(10, served=True, heard=True)
    await hands.pass_time(LIMIT_S - 4, served=True)
    assert await hands.states() == ("online", "running")


async def test_who_is_silent_while_the_gateway_serves_is_lost(hands: Hands) -> None:
    await hands.pass_time(10, served=True, heard=True)
    await hands.pass_time(LIMIT_S + 4, served=True)
    assert await hands.states() == ("gone", "gone")
    ((reason,),) = await sql(hands.transactions, "SELECT reason FROM agents WHERE id = :id", id=hands.edge)
    assert reason == "its edge agent sent no heartbeat for 40 s while the gateway served"
    rung = await sql(hands.transactions, "SELECT key FROM outbox WHERE kind = 'test-ring'")
    assert (f"{hands.world.run}/{hands.world.test}",) in rung
