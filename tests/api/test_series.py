"""One contract of stored series: what an agent keeps of a sample is what the API shows when the live rows are gone."""

from __future__ import annotations

import gzip
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from agent.generators.model import Latency, Measured
from agent.generators.sample import _keep
from stackly.engine.contracts import series
from tests.api import test_routes

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from stackly import db
    from tests.api.conftest import Shelf, World
    from tests.api.test_routes import Seeded

seeded = test_routes.seeded

POINTS: list[dict[str, Any]] = [
    {"second": 1, "tps": 10.0, "latency_ms": 1.5, "p95_ms": 2.0, "errors": 0},
    {"second": 2, "tps": 0.0, "latency_ms": None, "p95_ms": None, "errors": 3},
]


class Keeping:
    """The part of an agent's context that stores artifacts."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf

    async def put_artifact(self, name: str, path: Path, _kind: str) -> str:
        self.shelf.kept[f"blob/{name}"] = path.read_bytes()  # noqa: ASYNC240 - a small file of a test
        return f"blob/{name}"


async def stored(world: World, tmp_path: Path, points: list[dict[str, Any]]) -> str:
    measured = Measured(
        transactions=10, tps=5.0, errors=0, latency=Latency(), code=0, stopped="", duration_s=2.0, series=points
    )
    job: Any = SimpleNamespace(context=Keeping(world.shelf), directory=tmp_path, sample=1)
    _, key = await _keep(job, measured)
    return key


async def aged(transactions: db.Transactions, key: str) -> None:
    """The live rows are gone, the sample's object is there."""
    async with transactions() as session:
        await session.execute(text("DELETE FROM series_points"))
        await session.execute(
            text("UPDATE results SET artifacts = artifacts || jsonb_build_object('series', CAST(:k AS text))"),
            {"k": key},
        )


async def shown(api: httpx.AsyncClient) -> dict[str, Any]:
    found: dict[str, Any] = (await api.get("/api/v1/runs/o1/tests/tpcb/series")).json()
    return found


async def test_what_the_agent_keeps_is_what_is_shown(
    api: httpx.AsyncClient,
    world: World,
    seeded: Seeded,
    transactions: db.Transactions,
    tmp_path: Path,
) -> None:
    await aged(transactions, await stored(world, tmp_path, POINTS))
    assert await shown(api) == {
        "run_id": "o1",
        "test": "tpcb",
        "points": [{"sample": 1, **p} for p in POINTS],
        "unreadable": [],
    }


async def test_a_second_without_transactions_has_no_latency_live_or_stored(
    api: httpx.AsyncClient,
    world: World,
    seeded: Seeded,
    transactions: db.Transactions,
    tmp_path: Path,
) -> None:
    async with transactions() as session:
        await session.execute(text("UPDATE series_points SET tps = 0, latency_ms = 0, p95_ms = 0 WHERE second = 2"))
        await session.execute(text("UPDATE series_points SET latency_ms = 4 WHERE second = 1"))
    assert [p["latency_ms"] for p in (await shown(api))["points"]] == [4, None, None]
    zero = [{"second": 1, "tps": 0.0, "latency_ms": 0.0, "p95_ms": 0.0, "errors": 0}]
    await aged(transactions, await stored(world, tmp_path, zero))
    assert (await shown(api))["points"] == [{**zero[0], "sample": 1, "latency_ms": None, "p95_ms": None}]


@pytest.mark.parametrize(
    ("stored_bytes", "why"),
    [
        (b"\x1f\x8bgarbage", "damaged"),
        (gzip.compress(b'{"points": [1]}'), "no list of points"),
        (gzip.compress(b"[" * 100_000), "damaged"),
        (series.pack(1, POINTS)[:-9], "cut off"),
        (b"null", "no list of points"),
    ],
)
async def test_a_damaged_object_costs_itself(
    api: httpx.AsyncClient,
    world: World,
    seeded: Seeded,
    transactions: db.Transactions,
    stored_bytes: bytes,
    why: str,
) -> None:
    world.shelf.kept["blob/bad"] = stored_bytes
    await aged(transactions, "blob/bad")
    (found,) = (await shown(api))["unreadable"]
    assert found["sample"] == 1
    assert why in found["reason"]


def test_what_a_machine_under_test_sends_is_unpacked_so_far_and_no_further() -> None:
    bomb = gzip.compress(b" " * (series.MAX_BYTES + 1))
    with pytest.raises(ValueError, match="larger than"):
        series.unpack(bomb)


def test_an_earlier_release_kept_it_in_the_same_form() -> None:
    old = gzip.compress(json.dumps({"sample": 1, "points": POINTS}).encode())
    assert series.unpack(old) == POINTS
