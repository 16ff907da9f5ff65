"""E1: the seed's nine events of a first deploy, in order, each once; and a log that tells the same as the rows."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from temporalio.client import Client

from stackly.accounts import service as accounts
from stackly.approvals import service as voting
from stackly.control.dispatcher.outbox import Dispatch
from stackly.db import Transactions
from stackly.engine import loose
from stackly.engine.admission import Limits
from stackly.engine.policies import PolicyBook
from stackly.events.model import EventName
from stackly.ids import AccountId
from stackly.runs.model import Run
from stackly.runs.store import get_run
from tests.engine import syncing as repositories
from tests.engine.deploying import NEEDS_ONE
from tests.engine.folding import fold
from tests.engine.pretending import Pretend
from tests.engine.syncing import Syncing, plain
from tests.engine.world import World, agents, control, dispatching

NINE = list(EventName)[:9]
AGREED = '  policies = ["agreed"]'


@pytest.fixture
async def syncing(transactions: Transactions, tmp_path: Path) -> Syncing:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "agreed.hcl").write_text(NEEDS_ONE)
    return await repositories.build(transactions, tmp_path, pusher="linus")


@pytest.fixture
async def world(syncing: Syncing, client: Client, tmp_path: Path) -> AsyncIterator[World]:
    """What the repository's runs are carried out by. Everything is real but the agents' work."""
    account = syncing.repo.account
    await syncing.execute(
        "INSERT INTO agents (id, account, role, name, status, seen_at, capabilities) VALUES ('pretend', :a, 'site',"
        " 'pretend', 'online', clock_timestamp(), '{\"targets\": [\"local\", \"module\"]}')",
        a=account,
    )
    await syncing.pushed(plain("db", "db", AGREED))
    dispatch = Dispatch("test", syncing.transactions, client, PolicyBook([tmp_path / "policies"]), Limits())
    pretend = Pretend(syncing.transactions)
    made = World(syncing.transactions, client, dispatch, pretend, account, await syncing.code("db"), syncing.repo.id)
    async with control(made), agents(made), dispatching(made):
        yield made


async def approved(world: World, run: Run) -> Run:
    """A person of the policy's group agrees, once the plan is known."""

    async def asks() -> bool:
        return bool(await world.scalar("SELECT count(*) FROM approvals WHERE operation = :r", r=run.id))

    await world.until(asks)
    async with world.transactions() as session:
        who = await accounts.ensure_identity(session, AccountId(world.account), "grace", [], ["dba"])
        now = await get_run(session, run.id)
        await voting.vote(
            session,
            world.account,
            run.id,
            person=who.id,
            login="grace",
            value="approve",
            digest=now.digest,
            reason=None,
        )
    return await world.ended(run.id)


async def log_of(syncing: Syncing) -> list[dict[str, Any]]:
    return await syncing.rows("SELECT id, subject, name, n, payload, at FROM events ORDER BY id")


async def told_by_rows(syncing: Syncing) -> dict[str, str]:
    found = await syncing.rows(
        "SELECT 'run/' || id AS subject, status FROM operations"
        " UNION ALL SELECT 'stack/' || id, status FROM stack_codes"
        " UNION ALL SELECT 'state/' || id, status FROM stack_states WHERE test IS NULL AND status <> 'empty'"
    )
    return {r["subject"]: r["status"] for r in found}


async def test_a_first_deploy_that_needs_approval_tells_the_nine_in_order(syncing: Syncing, world: World) -> None:
    (run,) = await syncing.runs()
    assert (await approved(world, run)).status == "succeeded"
    told = [e for e in await log_of(syncing) if e["name"] in set(NINE)]
    assert [e["name"] for e in told] == NINE
    code = world.code.id
    for event in told:
        payload = event["payload"]
        assert (payload["stack"], payload["stack_id"]) == ("db", code), event["name"]
        assert payload["context"]["commit"] == syncing.upstream.head
        assert payload["context"]["trigger"] == "push"
        assert event["at"] is not None
    assert [e["at"] for e in told] == sorted(e["at"] for e in told)


async def test_the_log_replays_to_what_the_rows_say(syncing: Syncing, world: World) -> None:
    """A deploy, a move, a rejected stack, code that goes, a destroy: after each the log says the same."""
    (run,) = await syncing.runs()
    await approved(world, run)
    assert fold(await log_of(syncing)) == await told_by_rows(syncing)
    world.agent.faults.changes = (0, 0, 0)
    await syncing.execute("UPDATE stack_states SET serial = 0, lineage = 'l'")
    syncing.upstream.move("db", "infra/db")
    await syncing.sync()
    preview = (await syncing.runs())[-1]
    assert (await world.ended(preview.id)).reason is None
    assert fold(await log_of(syncing)) == await told_by_rows(syncing)
    await syncing.pushed({"other/stackly.hcl": 'stack "other" {\n  nonsense = 1\n}\n', "other/main.tf": ""})
    assert "rejected" in (await told_by_rows(syncing)).values()
    assert fold(await log_of(syncing)) == await told_by_rows(syncing)
    syncing.upstream.remove("infra/db")
    await syncing.sync()
    rows = await told_by_rows(syncing)
    assert sorted(rows.values()).count("loose") == 2, "the stack and its state"
    assert fold(await log_of(syncing)) == rows
    await syncing.execute("UPDATE stack_states SET destroy_at = clock_timestamp()")
    assert await loose.sweep(syncing.transactions) == 1
    await world.ended((await syncing.runs())[-1].id)
    rows = await told_by_rows(syncing)
    assert "destroyed" in rows.values()
    assert "loose" not in rows.values()
    assert fold(await log_of(syncing)) == rows


async def test_a_log_that_lost_a_fact_does_not(syncing: Syncing, world: World) -> None:
    """Negative control: one event less, and what is told is something else."""
    (run,) = await syncing.runs()
    await approved(world, run)
    async with syncing.transactions() as session:
        lost = await session.execute(
            text("DELETE FROM events WHERE name = 'run_changed' AND payload ->> 'to' = 'succeeded' RETURNING id")
        )
        assert lost.scalar_one()
    assert fold(await log_of(syncing)) != await told_by_rows(syncing)
