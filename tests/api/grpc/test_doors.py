"""Who may come in, and what is theirs."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from agent.gateway import Gateway, Identity, new_key
from stackly.agents import service as agents
from stackly.agents.authority import Authority
from stackly.db import Transactions
from stackly.errors import Denied, Unauthenticated, Unavailable
from tests.api.grpc.conftest import Connect, Doors
from tests.api.grpc.rows import World, expect, make_world, sql, terraform_state


async def refused(identity: Identity) -> str:
    gateway = Gateway(identity)
    try:
        await gateway.heartbeat("i", "1", {}, polling=True)
    except (Unavailable, Denied) as e:
        return type(e).__name__
    finally:
        await gateway.close()
    return "let in"


async def test_an_enrolled_agent_is_known_by_its_certificate(doors: Doors, world: World, connect: Connect) -> None:
    site = await doors.enrol(world.site_token)
    assert (site.agent_id, site.role, site.account) == (world.site, "site", world.account)
    await (await connect(site)).heartbeat("life-1", "1.2", {"targets": ["local"]}, polling=True)
    row = await sql(doors.transactions, "SELECT status, version, incarnation FROM agents WHERE id = :id", id=world.site)
    assert row == [("online", "1.2", "life-1")]
    rung = await sql(doors.transactions, "SELECT kind, key FROM outbox")
    assert ("admit", world.account) in rung


async def test_strangers_do_not_come_in(doors: Doors, world: World, tmp_path: Path) -> None:
    site = await doors.enrol(world.site_token)
    assert await refused(site) == "let in"
    other = Authority.open(tmp_path / "other")
    private, public = new_key()
    forged = other.issue(public, world.account, world.site, timedelta(hours=1))
    assert await refused(replace(site, key_pem=private, certificate_pem=forged.pem)) == "Unavailable"
    expired = doors.authority.issue(public, world.account, world.site, timedelta(seconds=-5))
    assert await refused(replace(site, key_pem=private, certificate_pem=expired.pem)) == "Unavailable"
    own = doors.authority.server_identity()
    assert await refused(replace(site, key_pem=own.key_pem, certificate_pem=own.certificate_pem)) in {
        "Unavailable",
        "Denied",
    }
    unregistered = doors.authority.issue(public, world.account, world.site, timedelta(hours=1))
    assert await refused(replace(site, key_pem=private, certificate_pem=unregistered.pem)) == "Denied"


async def test_no_certificate_no_gateway(doors: Doors, world: World) -> None:
    site = await doors.enrol(world.site_token)
    assert await refused(replace(site, key_pem=None, certificate_pem=None)) == "Unavailable"  # type: ignore[arg-type]


async def test_a_token_is_used_once_under_a_race(doors: Doors, world: World) -> None:
    async def attempt() -> bool:
        while True:
            try:
                await doors.enrol(world.site_token)
            except Unavailable:  # fifty handshakes at once: one that broke has sent no token
                continue
            except Unauthenticated:
                return False
            return True

    assert sum(await asyncio.gather(*(attempt() for _ in range(50)))) == 1


async def test_an_old_token_is_refused(doors: Doors, world: World) -> None:
    await sql(doors.transactions, "UPDATE enrolments SET expires_at = clock_timestamp() - interval '1 s'")
    with pytest.raises(Unauthenticated):
        await doors.enrol(world.site_token)


async def test_a_revoked_agent_is_told_so_and_refused(doors: Doors, world: World, connect: Connect) -> None:
    site = await doors.enrol(world.site_token)
    async with doors.transactions() as session:
        await agents.revoke(session, world.site, account=world.account)
    gateway = await connect(site)
    assert await gateway.heartbeat("i", "1", {}, polling=True) == (True, False)
    with pytest.raises(Denied):
        await gateway.report_gone("i")


async def test_a_new_enrolment_ends_the_older_certificate(doors: Doors, world: World) -> None:
    before = await doors.enrol(world.site_token)
    async with doors.transactions() as session:
        issued = await agents.create_site_agent(session, world.account, "local")
    assert issued.agent.id == world.site
    after = await doors.enrol(issued.token)
    assert (await refused(before), await refused(after)) == ("Denied", "let in")


async def test_an_edge_agent_gets_its_tests_secrets_only(doors: Doors, world: World) -> None:
    db, load = await doors.edge(world, "db"), await doors.edge(world, "load")
    assert "account" not in db.keys
    assert db.keys == load.keys
    assert db.credentials == load.credentials
    assert db.credentials is not None
    assert db.credentials.superuser_password != db.credentials.user_password
    assert db.deadline is not None
    assert (db.run, db.test, db.machine) == (world.run, world.test, "db")
    other = await make_world(doors.transactions, name="other")
    assert (await doors.edge(other)).credentials != db.credentials


async def test_an_edge_agent_touches_its_test_only(
    doors: Doors, world: World, connect: Connect, tmp_path: Path
) -> None:
    other = await make_world(doors.transactions, name="other")
    edge = await doors.edge(world)
    gateway = await connect(edge)
    own = await expect(doors.transactions, world.key("measure 1"), edge.agent_id)
    assert (await gateway.begin_step(own, "i")).verdict == "GRANTED"
    artifact = tmp_path / "a"
    artifact.write_bytes(b"x")
    for attempt in (
        lambda: gateway.begin_step(other.key("measure 1"), "i"),
        lambda: gateway.begin_step(world.key("plan 1", test=""), "i"),
        lambda: gateway.renew_step(other.key("measure 1"), "i"),
        lambda: gateway.put_artifact(other.run, other.test, "x", artifact, "text/plain"),
        lambda: gateway.write_state(world.run, world.test, 1, terraform_state(1)),
        lambda: gateway.read_state(world.key()),
        lambda: gateway.issue_enrolment(world.key(), "db"),
    ):
        with pytest.raises(Denied):
            await attempt()


@pytest.mark.parametrize("step", ["measure 1", "apply", "boot", "destroy", "inventory 1", "remove", "anything"])
async def test_an_edge_agent_begins_nothing_that_is_anothers(
    doors: Doors, world: World, connect: Connect, step: str
) -> None:
    """Whether a row expects it of the other machine's agent, of the site agent, or nobody expects it."""
    database, load = await doors.edge(world, "db"), await doors.edge(world, "load")
    attacker = await connect(database)
    for owner in (None, load.agent_id if step == "measure 1" else world.site):
        if owner is not None:
            await expect(doors.transactions, world.key(step), owner)
        refused = await attacker.begin_step(world.key(step), "i")
        assert (refused.verdict, refused.refusal, refused.given) == ("REFUSED", "UNEXPECTED", None)
        assert not await attacker.end_step(world.key(step), "i", '{"ok": true, "value": {}}')
        assert await attacker.renew_step(world.key(step), "i") == (False, False)
    assert {row[0] for row in await sql(doors.transactions, "SELECT status FROM steps")} <= {"expected"}
    recorded = "SELECT subject, payload->>'step' FROM events WHERE name = 'step_refused'"
    assert await sql(doors.transactions, recorded) == [(f"agent/{database.agent_id}", step)]


async def test_an_agent_that_asks_for_anything_fills_no_table(doors: Doors, world: World, connect: Connect) -> None:
    attacker = await connect(await doors.edge(world))
    for n in range(1, 30):
        await attacker.begin_step(world.key(f"measure {n}"), "i")
        await attacker.begin_step(world.key(f"x{n}"), "i")
    assert await sql(doors.transactions, "SELECT count(*) FROM events WHERE name = 'step_refused'") == [(2,)]
    assert await sql(doors.transactions, "SELECT count(*) FROM steps") == [(0,)]


async def test_a_site_agent_touches_the_runs_it_was_given(doors: Doors, world: World, connect: Connect) -> None:
    other = await make_world(doors.transactions, name="other")
    gateway = await connect(await doors.enrol(world.site_token))
    own = await expect(doors.transactions, world.key(), world.site)
    assert (await gateway.begin_step(own, "i")).verdict == "GRANTED"
    await expect(doors.transactions, other.key(), other.site)
    with pytest.raises(Denied):
        await gateway.begin_step(other.key(), "i")
    recorded = "SELECT subject, payload->>'run', payload->>'refusal' FROM events WHERE name = 'step_refused'"
    assert await sql(doors.transactions, recorded) == [(f"agent/{world.site}", other.run, "not-yours")]
    with pytest.raises(Denied):
        await gateway.write_state(other.run, other.test, 1, terraform_state(1))


async def test_an_ended_test_sends_its_edge_agent_home(doors: Doors, world: World, connect: Connect) -> None:
    gateway = await connect(await doors.edge(world))
    assert await gateway.heartbeat("i", "1", {}, polling=True) == (False, False)
    await sql(doors.transactions, "UPDATE tests SET status = 'failed', deadline = NULL")
    assert await gateway.heartbeat("i", "1", {}, polling=True) == (False, True)


async def test_only_the_key_of_a_request_is_taken(transactions: Transactions, tmp_path: Path) -> None:
    authority = Authority.open(tmp_path / "ca")
    assert Authority.open(tmp_path / "ca").ca_pem == authority.ca_pem
    assert (tmp_path / "ca" / "authority.pem").stat().st_mode & 0o777 == 0o600
