"""Is it alive, is it ready, how is it doing."""

import asyncio
from importlib.metadata import PackageNotFoundError, version
from ipaddress import ip_address

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from stackly import db
from stackly.accounts.model import Action
from stackly.api import metrics
from stackly.api.auth import actor_of
from stackly.api.parts import House, Parts
from stackly.api.views import VersionView
from stackly.errors import Unavailable
from stackly.events import reads as events
from stackly.events import troubles_store
from stackly.events.model import Bell
from stackly.runs import reads as runs

page = APIRouter(include_in_schema=False)
router = APIRouter(tags=["version"])
_READY_WITHIN_S = 2.0


@page.get("/healthz")
async def healthz() -> Response:
    return PlainTextResponse("ok\n")


@page.get("/readyz")
async def readyz(house: House) -> Response:
    """200 while deliveries could be stored."""
    try:
        async with asyncio.timeout(_READY_WITHIN_S), house.transactions() as session:
            await db.now(session)
    except (Unavailable, TimeoutError):
        return JSONResponse({"ready": False, "postgres": "does not answer"}, status_code=503)
    return JSONResponse({"ready": True, "postgres": "ok"})


@page.get("/metrics")
async def show_metrics(request: Request, house: House) -> Response:
    """For a scraper on this machine, and for whoever may read."""
    if not _is_local(request):
        (await actor_of(request, house)).must(Action.READ)
    return PlainTextResponse(house.metrics.render(await _gauges(house)), media_type=metrics.MEDIA_TYPE)


def _is_local(request: Request) -> bool:
    if request.client is None or any(h in request.headers for h in ("forwarded", "x-forwarded-for")):
        return False
    try:
        return ip_address(request.client.host).is_loopback
    except ValueError:
        return False


async def _gauges(house: Parts) -> dict[str, dict[metrics.Labels, float]]:
    async with house.transactions() as session:
        depth = await events.outbox_depth(session)
        open_runs = await runs.counts_by_status(session)
        put_off = await troubles_store.count_put_off(session)
        failures = await troubles_store.troubles(session)
    return {
        "stackly_outbox_rows": {metrics.labels(): float(depth)},
        "stackly_doorbells_put_off": _by_kind(put_off),
        "stackly_failures_total": {metrics.labels(act=t.act): float(t.count) for t in failures},
        "stackly_runs_open": {metrics.labels(status=s): float(n) for s, n in sorted(open_runs.items())},
    }


def _by_kind(counts: dict[str, int]) -> dict[metrics.Labels, float]:
    """A label is never what a stranger wrote: kinds that we do not know are one."""
    found: dict[metrics.Labels, float] = {}
    for kind, n in counts.items():
        about = metrics.labels(kind=kind if kind in set(Bell) else "unknown")
        found[about] = found.get(about, 0.0) + n
    return found


def package_version() -> str:
    try:
        return version("stackly")
    except PackageNotFoundError:
        return "0.0.0"


@router.get("/version")
async def show_version() -> VersionView:
    return VersionView(version=package_version())
