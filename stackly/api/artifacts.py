"""What a measurement left: raw outputs, effective config, the per-second series."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response, StreamingResponse

from stackly.api.auth import Reader
from stackly.api.parts import House
from stackly.api.references import RunPath
from stackly.db import Json
from stackly.engine.contracts import series
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

    Shape: `points [{sample second tps latency_ms p95_ms errors}]`, by sample, then second; live rows while they are
    kept, then the stored objects. `unreadable [{sample reason}]` are samples whose stored object is damaged.
    """
    async with house.transactions() as session:
        await reads.get_run(session, actor.account, run)
        live = await reads.series_of(session, run, test, sample)
        stored = [] if live else await results.artifacts_of(session, run)
    points: list[Json] = [{"sample": row["sample"], **series.point(row)} for row in live]
    unreadable: list[Json] = []
    for row in stored:
        key = row["artifacts"].get("series")
        if row["test"] != test or not isinstance(key, str) or sample not in {None, row["n"]}:
            continue
        try:
            points += [{"sample": row["n"], **p} for p in series.unpack(await house.objects.get(key))]
        except (ValueError, NotFound) as e:
            unreadable.append({"sample": row["n"], "reason": str(e)})
    points.sort(key=lambda p: (p["sample"], p["second"] or 0))
    return {"run_id": run, "test": test, "points": points, "unreadable": unreadable}
