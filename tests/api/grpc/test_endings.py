"""The site agent's look at its machines says which edge agents ended; it is believed for its own tests only."""

import hashlib
from typing import Any

from stackly.agents import service as agents
from stackly.db import Transactions
from stackly.engine.contracts.site import AGENT_ENDED
from stackly.ids import new_id
from stackly.runs import steps
from tests.api.grpc.conftest import Connect, Doors
from tests.api.grpc.rows import World, make_world, sql


def _ended(world: World, agent: str, token: str, words: str = "") -> dict[str, Any]:
    digest = hashlib.sha256(token.encode()).hexdigest()
    item = {"kind": AGENT_ENDED, "id": f"{agent}/{digest}", "run": world.run, "test": world.test}
    return {"local": [item | {"detail": f"db:{words}"}]}


async def _issued(transactions: Transactions, world: World) -> agents.Issued:
    async with transactions() as session:
        return await agents.issue_enrolment(session, world.account, run=world.run, test=world.test, machine="db")


async def _beat(doors: Doors, connect: Connect, world: World, seen: dict[str, Any]) -> None:
    site = await connect(await doors.enrol(world.site_token))
    await site.heartbeat("life", "1", {}, polling=True, inventory=seen)


async def _row(transactions: Transactions, agent: str) -> tuple[Any, ...]:
    (row,) = await sql(transactions, f"SELECT status, reason FROM agents WHERE id = '{agent}'")
    return tuple(row)


async def test_one_that_ended_before_or_after_enrolment_is_gone_and_its_test_is_rung(
    doors: Doors, connect: Connect, world: World
) -> None:
    issued = await _issued(doors.transactions, world)
    async with doors.transactions() as session:
        await steps.expect(session, world.key("prepare"), issued.agent.id, {})
        await steps.begin(session, world.key("prepare"), issued.agent.id, "life")
    await sql(doors.transactions, "DELETE FROM outbox")
    await _beat(doors, connect, world, _ended(world, issued.agent.id, issued.token, " no free memory"))
    status, reason = await _row(doors.transactions, issued.agent.id)
    assert status == "gone"
    assert reason == "the edge agent of machine db ended before its work did: no free memory"
    assert await sql(doors.transactions, "SELECT status, gone_by FROM steps") == [("gone", "died")]
    assert ("test-ring", f"{world.run}/{world.test}") in await sql(doors.transactions, "SELECT kind, key FROM outbox")
    assert await sql(doors.transactions, "SELECT count(*) FROM inventory") == [(0,)], "it is no thing that is left"


async def test_one_that_was_started_anew_meanwhile_lives(doors: Doors, connect: Connect, world: World) -> None:
    """The look was taken before the machine was booted again, and arrives after."""
    before = await _issued(doors.transactions, world)
    again = await _issued(doors.transactions, world)
    assert before.agent.id == again.agent.id
    await _beat(doors, connect, world, _ended(world, before.agent.id, before.token))
    assert (await _row(doors.transactions, again.agent.id))[0] == "expected"


async def test_a_site_agent_is_not_believed_for_a_test_of_another(doors: Doors, connect: Connect, world: World) -> None:
    other = await make_world(doors.transactions, name="other")
    theirs = await _issued(doors.transactions, other)
    mine = await _issued(doors.transactions, world)
    seen = _ended(other, theirs.agent.id, theirs.token)
    seen["local"] += _ended(world, theirs.agent.id, theirs.token)["local"]
    await _beat(doors, connect, world, seen)
    assert (await _row(doors.transactions, theirs.agent.id))[0] == "expected"
    assert (await _row(doors.transactions, mine.agent.id))[0] == "expected"


async def test_nonsense_costs_nothing(doors: Doors, connect: Connect, world: World) -> None:
    issued = await _issued(doors.transactions, world)
    nonsense = [{"kind": AGENT_ENDED}, {"kind": AGENT_ENDED, "id": "/", "run": world.run, "test": ""}]
    nonsense += [{"kind": AGENT_ENDED, "id": issued.agent.id, "run": new_id(), "test": "x"}]
    await _beat(doors, connect, world, {"local": nonsense})
    assert (await _row(doors.transactions, issued.agent.id))[0] == "expected"
