"""What a measurement left: raw outputs, effective config, the per-second series."""

import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import Response, StreamingResponse

from stackly.api.auth import Reader
from stackly.api.parts import House
from stackly.api.references import RunPath
from stackly.db import Json
from stackly.errors import NotFound
from stackly.runs import reads
from stackly.suites import reads as results

router = APIRouter(prefix="/runs/{run}/tests/{test}", tags=["run"])


class ArtifactNotFound(NotFound):
    title = "There is no such artifact."


@router.get("/artifacts/{side}/{n}/{name:path}", response_class=Response)
async def download_artifact(
    run: RunPath, test: str, side: str, n: int, name: str, house: House, actor: Reader
) -> Response:
    async with house.transactions() as session:
        await reads.get_run(session, actor.account, run)
        found = await results.artifacts_of(session, run)
    key = _key(found, test, side, n, name)
    if key is None:
        raise ArtifactNotFound(f"Test {test} of run {run} has no artifact {name}.", run=run, name=name)
    chunks = house.objects.stream(key)
    first = await anext(chunks, b"")  # what is missing is a 404, not a broken download
    # Never rendered by a browser: what a load generator wrote is not ours to trust.
    head = {"Content-Disposition": "attachment", "Content-Security-Policy": "sandbox"}
    return StreamingResponse(_joined(first, chunks), media_type="application/octet-stream", headers=head)


async def _joined(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for chunk in rest:
        yield chunk


def _key(found: list[Json], test: str, side: str, n: int, name: str) -> str | None:
    for row in found:
        if (row["test"], row["side"], row["n"]) == (test, side, n):
            key = row["artifacts"].get(name)
            return key if isinstance(key, str) else None
    return None


@router.get("/series")
async def show_series(
    run: RunPath, test: str, house: House, actor: Reader, sample: Annotated[int | None, Query(ge=0, le=10_000)] = None
) -> Json:
    """The points of every second.

    Shape: `points [{sample second tps latency_ms p95_ms errors}]`, by sample, then second. Live rows while they are
    kept, then the stored object.
    """
    async with house.transactions() as session:
        await reads.get_run(session, actor.account, run)
        points: list[Any] = list(await reads.series_of(session, run, test, sample))
        stored = [] if points else await results.artifacts_of(session, run)
    for row in stored:
        key = row["artifacts"].get("series")
        if row["test"] == test and isinstance(key, str) and sample in {None, row["n"]}:
            points += _points(await house.objects.get(key), row["n"])
    return {"run_id": run, "test": test, "points": points}


def _points(stored: bytes, sample: int) -> list[Json]:
    """Shape: a JSON list, an object with `points`, or a JSON object a line."""
    try:
        read = json.loads(stored)
    except ValueError:
        read = [json.loads(line) for line in stored.splitlines() if line.strip()]
    found = read.get("points", []) if isinstance(read, dict) else read
    return [{"sample": sample, **p} for p in found if isinstance(p, dict)]
