"""A world whose suite names images: target docker, workflows that skip time, and what a registry seems to hold."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from sqlalchemy import text
from temporalio.client import Client

from stackly.control.worker import worker
from stackly.engine.activities.runs import Runs
from stackly.engine.activities.sync import Sync
from stackly.engine.activities.tests import Tests
from stackly.engine.contracts.site import ImageOutcome
from stackly.runs.model import Run
from stackly.spec.runs import RunKind
from stackly.suites import jsonform, plan, schema
from stackly.temporal.timings import IMAGE_PATIENCE
from tests.engine.world import World, spec_of

COMMIT = "9f3c1ab" + "0" * 33
IMAGE = f"acme/postgres:{COMMIT}"
PINNED = f"acme/postgres@sha256:{'a' * 64}"
MOVED = f"acme/postgres@sha256:{'b' * 64}"
THERE = ImageOutcome("there", PINNED)
ABSENT = ImageOutcome("absent", reason="manifest unknown")
AWAY = ImageOutcome("away", reason="connection refused")

_TEST = """
  - name: NAME
    database: {engine: postgres, version: "17", image: "acme/postgres:${commit}"}
    workload: {driver: pgbench, name: tpcb-like, scale_factor: 1, clients: 2}
    measure: {warmup: 1s, duration: 5s, repeats: 1}
    comparison: {baseline: none}
"""


def spec_with_image(world: World, tests: int = 2) -> dict[str, Any]:
    text_ = "version: 1\nname: smoke\ntests:" + "".join(_TEST.replace("NAME", f"t{n}") for n in range(1, tests + 1))
    resolved = plan.resolve(schema.parse(text_, "suite.yaml"), COMMIT)
    return spec_of(world, RunKind.DEPLOY) | {
        "target": "docker",
        "suite": {
            "name": resolved.name,
            "digest": plan.digest(resolved),
            "parallel": 2,
            "timeout_s": 3600,
            "tests": [{**jsonform.to_json(t), "ruler": plan.ruler(t)} for t in resolved.tests],
        },
    }


async def can_docker(world: World) -> None:
    async with world.transactions() as session:
        await session.execute(text("""UPDATE agents SET capabilities = '{"targets": ["docker"]}'"""))


async def ask(world: World, seen: list[ImageOutcome | str], *, generation: int = 1, **more: Any) -> Run:
    """A benchmark whose looks at its image see this, one after the other."""
    world.agent.faults.images[IMAGE] = seen
    spec = more.pop("spec", None) or spec_with_image(world)
    return await world.asked(generation, RunKind.BENCHMARK, commit=COMMIT, spec=spec, **more)


@asynccontextmanager
async def control(world: World, patience: timedelta = IMAGE_PATIENCE) -> AsyncIterator[None]:
    runs = Runs(world.transactions, world.dispatch.book, patience)
    async with worker(world.client, Sync.__new__(Sync), runs, Tests(world.transactions)):
        yield


def skipping(client: Client, plain: Client) -> Client:
    """`client` as the environment's own: what it starts skips time."""
    config = plain.config()
    config["data_converter"] = client.data_converter
    return Client(**config)
