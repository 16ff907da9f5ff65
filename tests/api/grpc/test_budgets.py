"""What is over a sender's budget is dropped and counted in one line; nothing of it is refused."""

import json
from typing import Any

import pytest

from stackly.db import Transactions
from stackly.runs import budget_store
from stackly.runs.budgets import A_RUN, AT_ONCE, LINE_BYTES, Amount
from stackly.temporal.steps import RESULT_CAP_BYTES
from stackly.wire import gateway_pb2 as wire
from tests.api.grpc.conftest import Connect, Doors
from tests.api.grpc.rows import World, expect, sql

MANY = 100_000


def _lines(world: World, count: int, text: str = "x", first: int = 1) -> wire.AppendRequest:
    lines = [wire.LogLine(n=n, at="2026-11-21T10:00:00Z", level="info", text=text) for n in range(first, first + count)]
    return wire.AppendRequest(run=world.run, test=world.test, source="measure.1", lines=lines)


async def _rows(transactions: Transactions, statement: str) -> list[Any]:
    return list(await sql(transactions, statement))


async def test_a_flood_of_lines_is_cut_and_counted_in_one_line(doors: Doors, connect: Connect, world: World) -> None:
    edge = await connect(await doors.edge(world))
    await edge.append(_lines(world, MANY))
    await edge.append(_lines(world, MANY, first=MANY + 1))
    counted = "SELECT count(*), max(n) FROM log_chunks WHERE source LIKE '%/measure.1'"
    ((kept, last),) = await _rows(doors.transactions, counted)
    assert AT_ONCE.lines <= kept < AT_ONCE.lines * 2
    assert kept < MANY
    rows = await _rows(doors.transactions, "SELECT source, level, text FROM log_chunks WHERE source LIKE '%/budget'")
    assert len(rows) == 1, "one line, however often"
    assert rows[0][:2] == (f"{world.test}/db/budget", "warning")
    assert f"{2 * MANY - kept:,} lines" in rows[0][2]
    assert last > 0


async def test_the_flood_of_one_takes_nothing_from_another(doors: Doors, connect: Connect, world: World) -> None:
    loud, quiet = await connect(await doors.edge(world)), await connect(await doors.edge(world, "load"))
    await loud.append(_lines(world, MANY))
    await quiet.append(_lines(world, 50, "heard"))
    assert await _rows(doors.transactions, "SELECT count(*) FROM log_chunks WHERE text = 'heard'") == [(50,)]


async def test_a_flood_of_points_is_cut(doors: Doors, connect: Connect, world: World) -> None:
    edge = await connect(await doors.edge(world))
    points = [wire.Point(sample=1, second=n, tps=1.0) for n in range(MANY)]
    await edge.append(wire.AppendRequest(run=world.run, test=world.test, source="measure.1", points=points))
    ((kept,),) = await _rows(doors.transactions, "SELECT count(*) FROM series_points")
    assert 0 < kept < MANY
    ((text,),) = await _rows(doors.transactions, "SELECT text FROM log_chunks WHERE source LIKE '%/budget'")
    assert f"{MANY - kept:,} points" in text


@pytest.mark.parametrize("text", ["x" * (LINE_BYTES + 1), "ü" * LINE_BYTES, "x" * 3_000_000])
async def test_a_line_that_is_too_long_is_cut_between_characters(
    doors: Doors, connect: Connect, world: World, text: str
) -> None:
    edge = await connect(await doors.edge(world))
    await edge.append(_lines(world, 1, text))
    ((kept,),) = await _rows(doors.transactions, "SELECT text FROM log_chunks")
    assert len(kept.encode()) <= LINE_BYTES
    assert text.startswith(kept)


async def test_a_runs_budget_outlives_the_gateway(doors: Doors, world: World) -> None:
    """It is a row: a sender that waits, or another gateway, begins no new one."""
    whole = Amount(10, 100, 3)
    async with doors.transactions() as session:
        first = await budget_store.take(session, world.run, "t/db", [5] * 8, 2, whole=whole)
        second = await budget_store.take(session, world.run, "t/db", [5] * 8, 2, whole=whole)
        other = await budget_store.take(session, world.run, "t/load", [5] * 8, 2, whole=whole)
    assert (first.lines, first.points, second.lines, second.points) == (8, 2, 2, 1)
    assert (other.lines, other.points) == (8, 2)
    assert A_RUN.lines > AT_ONCE.lines


async def test_an_outcome_that_is_too_large_fails_its_step_and_is_not_refused(
    doors: Doors, connect: Connect, world: World
) -> None:
    identity = await doors.edge(world)
    edge = await connect(identity)
    key = await expect(doors.transactions, world.key("prepare"), identity.agent_id)
    await edge.begin_step(key, "life")
    huge = json.dumps({"ok": True, "value": {"text": "x" * RESULT_CAP_BYTES}})
    assert await edge.end_step(key, "life", huge)
    ((outcome,),) = await _rows(doors.transactions, "SELECT outcome FROM steps")
    assert (outcome["ok"], outcome["slug"]) == (False, "result-too-large")
