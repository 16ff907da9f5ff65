"""What the platform itself costs: from an accepted delivery to its workflow, and around a test's real work."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from temporalio.client import Client, WorkflowExecutionStatus

from tests.bench.recording import record
from tests.e2e.deliveries import Captured, captured
from tests.e2e.house import House, Repository, plain, running

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]

REPOS = 10
ROUNDS = 20
# Steps whose time is not ours: Terraform, machines and containers, load.
WORK = ("apply", "destroy", "boot", "remove", "database", "prepare", "warmup", "measure")


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with running("bench") as started:
        yield started


def _delivery(house: House, name: str, place: Path) -> tuple[str, Captured]:
    repo = house.repository(name, place)
    commit = repo.push({"a/stackly.hcl": plain(name), "a/main.tf": ""}, "first", branch="aside")
    house.processed(repo, aside=commit)
    return repo.id, house.until(lambda: captured(house, repo), bool)[0]


async def _started(client: Client, repo: str, after: float) -> float:
    """When the sync that this delivery rang started; its end is awaited, so that the next one starts another."""
    while True:
        found = await client.get_workflow_handle(f"repo-sync/{repo}").describe()
        if found.start_time.timestamp() >= after and found.status is not WorkflowExecutionStatus.RUNNING:
            return found.start_time.timestamp()
        await asyncio.sleep(0.05)


async def _told(client: Client, repo: str, delivery: Captured) -> tuple[str, float]:
    """Send it under a new GUID. Shape: the GUID, and when its workflow started."""
    sent = datetime.now(UTC).timestamp()  # noqa: TID251 - compared with Temporal's wall clock
    again = delivery.another()
    assert await asyncio.to_thread(again.send) == 202
    return again.headers["X-GitHub-Delivery"], await _started(client, repo, sent)


async def _latencies(house: House, told: list[tuple[str, Captured]]) -> list[float]:
    """Seconds from the stored row to the workflow's start: the row is stored before the 202, so this is no less."""
    client = await Client.connect(house.endpoints["temporal_address"])
    started: dict[str, float] = {}
    for _ in range(ROUNDS):
        started |= await asyncio.gather(*(_told(client, repo, delivery) for repo, delivery in told))
    connection = await asyncpg.connect(house.settings["database_url"])
    rows = await connection.fetch("SELECT guid, received_at FROM deliveries WHERE guid = ANY($1)", list(started))
    await connection.close()
    return [started[r["guid"]] - r["received_at"].timestamp() for r in rows]


def test_a_delivery_that_was_acknowledged_starts_its_workflow_soon(house: House, tmp_path: Path) -> None:
    """200 deliveries, ten at a time for ten repositories; each finds no sync of its repository running."""
    told = [_delivery(house, f"many-{n}", tmp_path) for n in range(REPOS)]
    found = sorted(asyncio.run(_latencies(house, told)))
    p50, p99 = (found[int(len(found) * share)] * 1000 for share in (0.50, 0.99))
    print(f"\nack to start: p50 {p50:.0f} ms, p99 {p99:.0f} ms of {len(found)}")  # noqa: T201 - a bench prints
    record(ack_to_start_p99_ms=round(p99, 1))


async def _steps(url: str, run: str) -> list[tuple[str, datetime, datetime]]:
    """Steps of a run and of the destroy that ended it."""
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(
            "SELECT s.step, s.started_at, s.ended_at FROM steps s JOIN operations o ON o.id = s.operation"
            " WHERE o.id = $1 OR o.parent = $1 ORDER BY s.started_at",
            run,
        )
    finally:
        await connection.close()
    return [(r["step"], r["started_at"], r["ended_at"]) for r in rows]


def _covered(spans: list[tuple[datetime, datetime]]) -> float:
    """Seconds that at least one of them covers."""
    total, until = 0.0, datetime.min.replace(tzinfo=UTC)
    for begin, end in sorted(spans):
        total += max(0.0, (end - max(begin, until)).total_seconds())
        until = max(until, end)
    return total


def _measured(house: House, repo: Repository, subject: str) -> dict[str, Any]:
    commit = repo.push({"bench/words.md": subject}, subject)
    runs = house.until(lambda: [r for r in house.runs() if r["commit"] == commit], bool)
    ended = house.ended(runs[0]["id"])
    assert ended["status"] == "succeeded", ended["reason"]
    return ended


def test_what_a_test_costs_beside_terraform_machines_and_load(house: House, tmp_path: Path) -> None:
    """The demo's stack, run three times; the median counts."""
    repo = house.repository("overhead", tmp_path)
    repo.example("pg-standalone", "bench", stack="overhead")
    found = []
    for n in range(3):
        run = _measured(house, repo, f"run {n}")
        phases = run["tests"][0]["phases"]
        wall = datetime.fromisoformat(phases[-1]["ended_at"]) - datetime.fromisoformat(phases[0]["started_at"])
        steps = asyncio.run(_steps(house.settings["database_url"], run["id"]))
        work = [(begin, end) for step, begin, end in steps if step.split()[0].split("/")[0] in WORK]
        assert len(work) >= len(WORK) - 1, [s for s, *_ in steps]
        found.append(wall.total_seconds() - _covered(work))
        time.sleep(1)
    overhead = sorted(found)[1]
    print(f"\noverhead per test: {[round(s, 1) for s in found]} s")  # noqa: T201 - a bench prints
    record(overhead_s_per_test=round(overhead, 2))
    assert overhead > 0
