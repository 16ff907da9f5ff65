"""A teardown that cannot succeed: its reason, its next try and what ends it stand wherever somebody looks or waits."""

import pytest
from sqlalchemy import text

from stackly import db
from stackly.api.run_shape import view_of
from stackly.api.run_view import RunView
from stackly.cli.screen import screen
from stackly.db import Json
from stackly.engine.activities.tests import Tests
from stackly.engine.contracts.control import Claim
from stackly.runs import reads as runs
from stackly.runs.model import Run, RunEvent
from stackly.teardown import reads, service, store
from tests.engine.rows import Rows
from tests.teardown.test_handover import loading, obligation_of, reserve

WHY = "terraform destroy failed (exit 1): main.tf:9: Instance cannot be destroyed"


async def stuck(rows: Rows, state: str = "default") -> tuple[Run, Run, str]:
    """A benchmark whose test was taken down in vain. Shape: (benchmark, destroy, obligation)."""
    run = await loading(rows, state)
    await reserve(rows, run)
    async with rows.transactions() as session:
        obligation = await obligation_of(session)
        destroy = await service.request_destroy(session, obligation, cause="test", reason="the test is over")
        assert destroy is not None
    await rows.drained()
    destroy = await rows.move(destroy, RunEvent.TEAR_DOWN, RunEvent.FAIL)
    async with rows.transactions() as session:
        await service.failed(session, destroy, error=WHY, at=await db.now(session))
    return run, destroy, obligation.id


async def shown(rows: Rows, run: str) -> RunView:
    async with rows.transactions() as session:
        return await view_of(session, await runs.get_run(session, rows.account, run), "")


async def left(rows: Rows) -> list[Json]:
    async with rows.transactions() as session:
        found = await reads.inventory(session, rows.account)
    return [thing for thing in found if thing["class"] in reads.LEFTOVER]


async def waived(rows: Rows, obligation: str) -> None:
    await rows.execute(
        "INSERT INTO identities (id, account, login, roles, groups) VALUES ('p1', :account, 'ada', '{}', '{}')",
        account=rows.account,
    )
    async with rows.transactions() as session:
        await service.waive_obligation(session, rows.account, obligation, person="p1", reason="kept by hand")


async def test_the_run_shows_what_it_could_not_tear_down_and_so_does_its_destroy(rows: Rows) -> None:
    run, destroy, obligation = await stuck(rows)
    for each in (run.id, destroy.id):
        view = await shown(rows, each)
        (owed,) = view.owed
        assert (owed.test, owed.reason, owed.tries) == ("tpcb", WHY, 1)
        assert owed.command.startswith(f"stackly obligation waive {obligation}")
        assert "(1 try)" in screen(view.model_dump(mode="json"))
        text_of = screen(view.model_dump(mode="json"))
        assert WHY in text_of
        assert owed.command in text_of
        assert str(owed.next_try.year) in text_of


async def test_the_inventory_is_not_empty_while_a_destroy_fails(rows: Rows) -> None:
    _, _, obligation = await stuck(rows)
    (thing,) = [t for t in await left(rows) if t["kind"] == "obligation"]
    assert (thing["id"], thing["test"], thing["reason"]) == (obligation, "tpcb", WHY)
    assert thing["next_try"] is not None


async def test_what_queues_behind_it_says_so(rows: Rows) -> None:
    run, _, obligation = await stuck(rows)
    behind = await rows.asked(2)
    await rows.drained()
    async with rows.transactions() as session:
        waiting = (await runs.get_run(session, rows.account, behind.id))["waiting_reason"]
    assert f"behind run {run.id}" in waiting
    assert WHY in waiting
    assert f"stackly obligation waive {obligation}" in waiting


async def test_what_waits_for_its_place_says_so(rows: Rows) -> None:
    await rows.execute("UPDATE accounts SET max_concurrent = 1")
    await stuck(rows)
    other = await loading(rows, "b")
    async with rows.transactions() as session:
        await session.execute(
            text(
                "INSERT INTO phases (operation, test, name, status, started_at)"
                " VALUES (:run, 'tpcb', 'reserve', 'running', clock_timestamp())"
            ),
            {"run": other.id},
        )
    answer = await Tests(rows.transactions).reserve(Claim(other.id, "w", "tpcb"))
    assert not answer.ready
    assert WHY in answer.reason
    assert WHY in str(await rows.scalar("SELECT detail FROM phases WHERE name = 'reserve'"))


async def test_a_named_person_waives_that_tests_obligation_and_no_other(rows: Rows) -> None:
    run, _, obligation = await stuck(rows)
    await rows.execute("UPDATE tests SET status = 'failed'")
    await waived(rows, obligation)
    assert (await shown(rows, run.id)).owed == []
    assert await left(rows) == []
    assert await rows.scalar("SELECT count(*) FROM leases WHERE released_at IS NULL") == 0
    assert await rows.scalar("SELECT waived_by IS NOT NULL AND status = 'waived' FROM obligations")
    assert await rows.scalar("SELECT status FROM stack_states WHERE test = 'tpcb'") == "waived"
    assert await rows.scalar("SELECT status FROM stack_states WHERE test IS NULL LIMIT 1") != "waived"


async def test_a_network_that_the_target_still_shows_in_use_is_kept(rows: Rows) -> None:
    run, _, obligation = await stuck(rows)
    await rows.execute(
        "INSERT INTO inventory (target, resource, kind, agent, run, test, first_seen, last_seen)"
        " SELECT 'local@a', 'net', 'network', id, :run, 'tpcb', now(), now() FROM agents LIMIT 1",
        run=run.id,
    )
    await waived(rows, obligation)
    assert await rows.scalar("SELECT count(*) FROM leases WHERE released_at IS NULL") == 1
    assert await left(rows) == [], "a named person answers for it"
    await seen_empty(rows)
    assert await rows.scalar("SELECT count(*) FROM leases WHERE released_at IS NULL") == 0


async def seen_empty(rows: Rows) -> None:
    """The site agent's next look shows nothing of anybody."""
    async with rows.transactions() as session:
        agent = (await session.execute(text("SELECT id FROM agents LIMIT 1"))).scalar_one()
        await session.execute(text("UPDATE inventory SET target = 'local@' || agent"))
        await store.store_inventory(session, target="local", agent=agent, items=[])
        await service.free_waived(session)


async def asked_again(rows: Rows) -> Run:
    """The destroy is tried again, and waits for admission."""
    async with rows.transactions() as session:
        again = await service.request_destroy(session, await obligation_of(session), cause="sweep", reason="due")
    assert again is not None
    return again


async def test_who_answers_for_it_ends_a_destroy_that_waits(rows: Rows) -> None:
    _, _, obligation = await stuck(rows)
    again = await asked_again(rows)
    await waived(rows, obligation)
    await rows.drained()
    ended = await rows.run(again.id)
    assert (ended.status, ended.reason) == ("cancelled", "cancelled by ada")
    assert await rows.scalar("SELECT status FROM stack_states WHERE test = 'tpcb'") == "waived"


async def test_who_answers_for_it_ends_a_destroy_that_runs(rows: Rows) -> None:
    _, _, obligation = await stuck(rows)
    again = await asked_again(rows)
    await rows.drained()
    assert (await rows.run(again.id)).is_admitted
    await waived(rows, obligation)
    assert (await rows.run(again.id)).cancel_requested


async def test_a_destroy_that_was_about_to_be_asked_for_is_not(rows: Rows) -> None:
    """A sweep read the obligation, and then it was waived."""
    _, _, obligation = await stuck(rows)
    async with rows.transactions() as session:
        seen = await obligation_of(session)
    await waived(rows, obligation)
    async with rows.transactions() as session:
        assert await service.request_destroy(session, seen, cause="sweep", reason="due") is None


async def test_what_is_left_of_it_is_shown_and_nothing_of_anybody_else(rows: Rows) -> None:
    run, _, obligation = await stuck(rows)
    for resource, test in (("pg-0", "tpcb"), ("other", "tpcc")):
        await rows.execute(
            "INSERT INTO inventory (target, resource, kind, agent, run, test, first_seen, last_seen)"
            " SELECT 'local@a', :resource, 'process', id, :run, :test, now(), now() FROM agents LIMIT 1",
            resource=resource,
            run=run.id,
            test=test,
        )
    assert (await seen_of(rows, obligation))["resources"] is None
    for serial, resources in ((1, 7), (2, 3)):
        await rows.execute(
            "INSERT INTO state_versions (state, serial, lineage, operation, epoch, object, rescued, resources)"
            " SELECT state, :n, 'l', run, 1, 'o', false, :resources FROM obligations",
            n=serial,
            resources=resources,
        )
    owed = await seen_of(rows, obligation)
    assert [(thing["kind"], thing["id"]) for thing in owed["left"]] == [("process", "pg-0")]
    assert (owed["resources"], owed["test"], owed["reason"]) == (3, "tpcb", WHY)
    assert owed["repository"]
    assert owed["stack"]


async def seen_of(rows: Rows, obligation: str) -> Json:
    async with rows.transactions() as session:
        return await reads.get_obligation(session, rows.account, obligation)


async def test_one_that_was_met_never_waives_a_later_one_of_its_state(rows: Rows) -> None:
    _, _, obligation = await stuck(rows)
    await rows.execute(
        "INSERT INTO obligations (id, account, state, run, kit, due_at, status)"
        " SELECT 'before', account, state, run, kit, due_at, 'met' FROM obligations"
    )
    with pytest.raises(service.ObligationClosed, match="met already"):
        await waived(rows, "before")
    assert await rows.scalar("SELECT status FROM obligations WHERE id = :id", id=obligation) == "open"
    assert await rows.scalar("SELECT status FROM stack_states WHERE test = 'tpcb'") != "waived"
