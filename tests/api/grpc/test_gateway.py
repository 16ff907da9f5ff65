"""Steps, states, live data and artifacts over the wire."""

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from agent.gateway import Gateway
from stackly.errors import Conflict, Invalid, NotFound
from stackly.temporal.steps import StepKey
from stackly.wire import gateway_pb2 as wire
from tests.api.grpc.conftest import Connect, Doors
from tests.api.grpc.rows import GIVEN, World, expect, sql, terraform_state


@pytest.fixture
async def site(doors: Doors, world: World, connect: Connect) -> Gateway:
    return await connect(await doors.enrol(world.site_token))


OK = json.dumps({"ok": True, "value": {"n": 1}})
Expected = Callable[..., Awaitable[StepKey]]


async def refusals(doors: Doors) -> list[tuple[object, ...]]:
    return await sql(
        doors.transactions,
        "SELECT subject, payload->>'step', payload->>'refusal' FROM events WHERE name = 'step_refused' ORDER BY id",
    )


@pytest.fixture
def expected(world: World, doors: Doors) -> Expected:
    async def row(step: str = "apply", **more: Any) -> StepKey:
        return await expect(doors.transactions, world.key(step, **more), world.site)

    return row


async def test_a_step_is_granted_once_under_a_race(site: Gateway, expected: Expected) -> None:
    key = await expected()
    begun = await asyncio.gather(*(site.begin_step(key, "one") for _ in range(20)))
    assert sorted(b.verdict for b in begun) == ["ATTACH"] * 19 + ["GRANTED"]
    assert {json.dumps(b.given) for b in begun} == {json.dumps(GIVEN)}


async def test_a_stored_outcome_ends_every_later_begin(site: Gateway, expected: Expected, doors: Doors) -> None:
    key = await expected()
    await site.begin_step(key, "one")
    assert await site.end_step(key, "one", OK)
    assert await site.end_step(key, "one", OK)
    assert not await site.end_step(key, "one", json.dumps({"ok": False}))
    assert (await site.begin_step(key, "two")).verdict == "DONE"
    assert await sql(doors.transactions, "SELECT outcome FROM steps") == [({"ok": True, "value": {"n": 1}},)]


async def test_another_life_never_spawns(site: Gateway, world: World, doors: Doors, expected: Expected) -> None:
    key = await expected()
    await site.begin_step(key, "one")
    assert (await site.begin_step(key, "two")).verdict == "GONE"
    owners = await site.report_gone("two")
    assert set(owners) == {(world.run, "", 1), (world.run, world.test, 1)}
    assert await site.list_owners() == {(world.run, ""): False, (world.run, world.test): False}
    assert await sql(doors.transactions, "SELECT status, gone_by FROM steps") == [("gone", "died")]
    assert ("test-ring", f"{world.run}/{world.test}") in await sql(doors.transactions, "SELECT kind, key FROM outbox")
    assert not await site.end_step(key, "one", OK)
    assert (await site.begin_step(world.key(attempt=2), "two")).refusal == "UNEXPECTED"
    assert (await site.begin_step(await expected(attempt=2), "two")).verdict == "GRANTED"


async def test_to_ask_for_owners_ends_nothing(site: Gateway, world: World, doors: Doors, expected: Expected) -> None:
    await site.begin_step(await expected(), "one")
    assert (world.run, world.test) in await site.list_owners()
    assert await sql(doors.transactions, "SELECT status FROM steps") == [("running",)]
    await sql(doors.transactions, "UPDATE operations SET status = 'succeeded'")
    await sql(doors.transactions, "UPDATE tests SET status = 'succeeded'")
    assert await site.list_owners() == {(world.run, ""): True, (world.run, world.test): True}, "states hold something"
    await sql(doors.transactions, "UPDATE stack_states SET status = 'destroyed'")
    assert await site.list_owners() == {}


async def test_a_stale_epoch_is_refused_whichever_way_it_differs(
    site: Gateway, world: World, doors: Doors, expected: Expected
) -> None:
    await sql(doors.transactions, "UPDATE stack_states SET epoch = 5")
    for n, epoch in enumerate((1, 4, 6, 99), 1):
        key = await expected(attempt=n, epoch=epoch)
        assert (await site.begin_step(key, "one")).refusal == "STALE_EPOCH"
    current = await expected("boot", epoch=5)
    assert (await site.begin_step(world.key("boot", epoch=4), "one")).refusal == "STALE_EPOCH"
    assert (await site.begin_step(current, "one")).verdict == "GRANTED"
    await sql(doors.transactions, "UPDATE stack_states SET holder = 'another'")
    assert (await site.begin_step(await expected("apply", attempt=9, epoch=5), "one")).refusal == "STALE_EPOCH"
    assert await site.renew_step(current, "one") == (False, False)


async def test_a_cancel_refuses_what_is_expected(site: Gateway, doors: Doors, expected: Expected) -> None:
    running, waiting = await expected("apply"), await expected("boot")
    assert (await site.begin_step(running, "one")).verdict == "GRANTED"
    assert await site.renew_step(running, "one") == (True, False)
    await sql(doors.transactions, "UPDATE operations SET cancel_requested = true")
    assert await site.renew_step(running, "one") == (True, True)
    assert (await site.begin_step(waiting, "one")).refusal == "CANCELLED"


async def test_a_cancel_does_not_stop_a_destroy(site: Gateway, world: World, doors: Doors, expected: Expected) -> None:
    await sql(
        doors.transactions,
        "UPDATE operations SET kind = 'destroy', status = 'tearing_down', cancel_requested = true",
    )
    for step in ("remove", "destroy", "inventory 1"):
        assert (await site.begin_step(await expected(step, test=""), "one")).verdict == "GRANTED"


@pytest.mark.parametrize(
    ("break_it", "refusal"),
    [
        ("UPDATE operations SET cancel_requested = true", "CANCELLED"),
        ("UPDATE tests SET status = 'failed'", "OVER"),
        ("UPDATE operations SET status = 'failed'", "OVER"),
        ("UPDATE stack_states SET epoch = 5", "STALE_EPOCH"),
        ("UPDATE stack_states SET holder = 'another'", "STALE_EPOCH"),
        ("UPDATE tests SET status = 'tearing_down'", "UNEXPECTED"),
        ("UPDATE operations SET kind = 'deploy'", "UNEXPECTED"),
    ],
)
async def test_a_refusal_carries_its_reason_as_a_type(
    site: Gateway, world: World, doors: Doors, expected: Expected, break_it: str, refusal: str
) -> None:
    key = await expected()
    await sql(doors.transactions, break_it)
    refused = await site.begin_step(key, "one")
    assert (refused.verdict, refused.refusal, refused.given) == ("REFUSED", refusal, None)
    assert await refusals(doors) == [(f"agent/{world.site}", "apply", refusal.lower())]


INTERRUPTED = {"ok": False, "slug": "interrupted", "detail": "x", "interruption": "STOPPED"}
CANCELLED = {"ok": False, "slug": "cancelled", "detail": "the agent is stopping"}


@pytest.mark.parametrize("outcome", [INTERRUPTED, INTERRUPTED | {"interruption": "CUT_OFF"}, CANCELLED])
async def test_an_interrupted_attempt_is_gone_and_not_cancelled(
    site: Gateway, doors: Doors, expected: Expected, outcome: dict[str, object]
) -> None:
    """Also where an agent of an earlier release calls it cancelled, and nobody cancelled."""
    key = await expected()
    await site.begin_step(key, "one")
    assert await site.end_step(key, "one", json.dumps(outcome))
    assert await site.end_step(key, "one", json.dumps(outcome))
    [(status, kept, gone_by)] = await sql(doors.transactions, "SELECT status, outcome, gone_by FROM steps")
    assert (status, kept) == ("gone", None)
    assert gone_by == {"CUT_OFF": "cut_off"}.get(str(outcome.get("interruption")), "stopped")
    assert not await site.end_step(key, "one", OK)


async def test_a_cancelled_attempt_is_done(site: Gateway, doors: Doors, expected: Expected) -> None:
    key = await expected()
    await site.begin_step(key, "one")
    await sql(doors.transactions, "UPDATE operations SET cancel_requested = true")
    assert await site.end_step(key, "one", json.dumps(CANCELLED))
    assert await sql(doors.transactions, "SELECT status FROM steps") == [("done",)]


async def test_states_grow_within_a_lineage(site: Gateway, world: World) -> None:
    assert await site.read_state(world.key()) == b""
    assert await site.write_state(world.run, world.test, 1, terraform_state(1)) == (True, False, "")
    assert await site.write_state(world.run, world.test, 1, terraform_state(1)) == (True, False, "")
    big = terraform_state(3)[:-1] + b', "pad": "' + b"x" * 3_000_000 + b'"}'
    assert (await site.write_state(world.run, world.test, 1, big))[0]
    assert await site.read_state(world.key()) == big
    for wrong in (b"", b"{", terraform_state(9)[:40], terraform_state(2), terraform_state(9, "two"), b"[]"):
        accepted, rescued, reason = await site.write_state(world.run, world.test, 1, wrong)
        assert (accepted, rescued, bool(reason)) == (False, False, True)
    assert await site.read_state(world.key()) == big


async def test_a_state_of_an_old_epoch_is_refused_and_kept(site: Gateway, world: World, doors: Doors) -> None:
    assert (await site.write_state(world.run, world.test, 1, terraform_state(1)))[0]
    await sql(doors.transactions, "UPDATE stack_states SET epoch = 2 WHERE id = :id", id=world.test_state)
    accepted, rescued, _ = await site.write_state(world.run, world.test, 1, terraform_state(2))
    assert (accepted, rescued) == (False, True)
    with pytest.raises(Conflict):
        await site.read_state(world.key())
    assert await site.read_state(world.key(epoch=2)) == terraform_state(2)
    rows = await sql(doors.transactions, "SELECT serial, rescued FROM state_versions ORDER BY id")
    assert rows == [(1, False), (2, True)]
    assert (await site.write_state(world.run, world.test, 2, terraform_state(3)))[0]


async def test_the_tree_is_the_runs_bundle(site: Gateway, world: World, doors: Doors) -> None:
    with pytest.raises(NotFound):
        await site.read_tree(world.key())
    content = bytes(range(256)) * 10_000
    key = f"code/{hashlib.sha256(content).hexdigest()}.tar.gz"
    await sql(doors.transactions, "UPDATE operations SET spec = jsonb_build_object('bundle', CAST(:k AS text))", k=key)
    await doors.store.put(key, content)
    assert await site.read_tree(world.key()) == content


async def test_live_data_is_kept_once_and_rings(site: Gateway, world: World, doors: Doors) -> None:
    request = wire.AppendRequest(run=world.run, test=world.test, source="measure.1")
    request.lines.add(n=1, at="2026-11-21T10:00:00Z", level="info", text="a\0b")
    request.lines.add(n=2, at="nonsense", level="", text="two")
    request.points.add(sample=1, second=1, tps=10.5, p95_ms=3.0)
    await site.append(request)
    await site.append(request)
    lines = await sql(doors.transactions, "SELECT source, n, level, text FROM log_chunks ORDER BY n")
    assert lines == [("oltp/local/measure.1", 1, "info", "a\ufffdb"), ("oltp/local/measure.1", 2, "info", "two")]
    points = await sql(doors.transactions, "SELECT sample, second, tps, latency_ms, p95_ms, errors FROM series_points")
    assert points == [(1, 1, 10.5, None, 3.0, 0)]


async def test_artifacts_arrive_whole(site: Gateway, world: World, doors: Doors, tmp_path: Path) -> None:
    path = tmp_path / "raw"
    path.write_bytes(b"0123456789" * 300_000)
    key = await site.put_artifact(world.run, world.test, "sample-1/raw.log", path, "text/plain")
    assert key == f"artifacts/{world.run}/{world.test}/sample-1/raw.log"
    assert hashlib.sha256(await doors.store.get(key)).digest() == hashlib.sha256(path.read_bytes()).digest()
    for name in ("../x", "/x", "", "a//b", "a/../b", ".hidden"):
        with pytest.raises(Invalid):
            await site.put_artifact(world.run, world.test, name, path, "text/plain")


async def test_an_enrolment_is_issued_under_the_current_epoch_only(site: Gateway, world: World, doors: Doors) -> None:
    issued = await site.issue_enrolment(world.key(), "db")
    assert (await doors.enrol(issued.token)).agent_id == issued.agent_id
    assert (await site.issue_enrolment(world.key(), "db")).agent_id == issued.agent_id
    with pytest.raises(Conflict):
        await site.issue_enrolment(world.key(epoch=2), "db")
