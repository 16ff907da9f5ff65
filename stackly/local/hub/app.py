"""The hub as one ASGI application."""

import asyncio
import contextlib
import html
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import HTMLResponse

from stackly import clock, log
from stackly.local.hub import git_http, rest, rest_app, rest_hooks, rest_oauth, rest_people
from stackly.local.hub.faults import Faults, Limit
from stackly.local.hub.hub import MAX_STATUSES, Hub, build
from stackly.local.hub.oauth import Now, OAuthApp
from stackly.local.hub.problems import Problem, answer

_log = log.get("hub")


def app(
    home: Path,
    base_url: str,
    *,
    max_statuses: int = MAX_STATUSES,
    oauth: OAuthApp | None = None,
    keys: Mapping[str, str] | None = None,
    now: Now = clock.now,
) -> FastAPI:
    """A GitHub of one machine: `home` holds its repositories and deliveries, `base_url` is how it is reached.

    `oauth` is the one application that people can let in, `keys` maps keys to the logins they are of; without any
    the hub makes its own.
    """
    hub = build(home, base_url, keys, max_statuses=max_statuses, now=now)
    if oauth is not None:
        hub.oauth.register(oauth)
    return serving(hub, base_url)


def serving(hub: Hub, base_url: str) -> FastAPI:
    """The routes of a hub. What it is made of is asked for with each request, and made by whoever built it."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        lost = hub.store.fail_lost_deliveries()
        _log.info("hub.started", lost_deliveries=lost)
        sending = asyncio.create_task(hub.deliveries.run())
        yield
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        await hub.repositories.catch_up()
        hub.store.close()

    api = FastAPI(title="Stackly hub", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    api.state.hub = hub
    _guard(api, base_url)
    rest_people.sign_in(api, hub)
    _limit(api, hub)
    for kind in (HTTPException, RequestValidationError):
        api.add_exception_handler(kind, answer)
    _own_routes(api, hub)
    for part in (rest_oauth, rest_people, rest_app, rest, rest_hooks, git_http):
        api.include_router(part.router(hub))
    return api


def _guard(api: FastAPI, base_url: str) -> None:
    """A web page that the developer visits must reach nothing, whatever their browser remembers.

    The Host header stops DNS rebinding, the Origin header requests of foreign pages.
    """
    own = urlsplit(base_url).hostname or "localhost"

    @api.middleware("http")
    async def same_origin(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        origin = request.headers.get("origin")
        if origin is not None and origin.rstrip("/") != base_url.rstrip("/"):
            return answer(request, Problem(403, "Requests of other web pages are refused."))
        return await go_on(request)

    api.add_middleware(TrustedHostMiddleware, allowed_hosts=[own, "127.0.0.1", "localhost", "[::1]"])


def _limit(api: FastAPI, hub: Hub) -> None:
    """Rate limits on demand, for the REST API alone: git and the hub's own knobs have none."""

    @api.middleware("http")
    async def limited(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        path = request.url.path
        is_rest = path.startswith(("/app", "/repos/", "/repositories/", "/user", "/orgs/", "/installation"))
        headers = hub.limits.refusal() if is_rest else None
        if headers is None:
            return await go_on(request)
        refusal = answer(request, Problem(403, "You have exceeded a secondary rate limit."))
        refusal.headers.update(headers)
        return refusal


def _own_routes(api: FastAPI, hub: Hub) -> None:
    @api.get("/healthz")
    async def healthz() -> dict[str, Any]:
        return {"status": "ok", "repositories": len(hub.store.repos())}

    @api.get("/_faults")
    async def faults() -> Faults:
        return hub.dice.faults

    @api.put("/_faults")
    async def set_faults(body: Faults) -> Faults:
        hub.dice.set(body)
        if not body.behind_s:
            await hub.repositories.catch_up()
        return body

    @api.put("/_limits")
    async def set_limits(body: Limit) -> Limit:
        hub.limits.set(body)
        return body

    @api.get("/", response_class=HTMLResponse)
    async def front_page() -> str:
        rows = "".join(
            f"<tr><td>{html.escape(repo.full_name)}</td><td>{html.escape(repo.default_branch)}</td>"
            f"<td>{html.escape(repo.pushed_at or 'never')}</td>"
            f"<td><code>git clone {html.escape(hub.shapes.clone_url(repo))}</code></td></tr>"
            for repo in hub.store.repos()
        )
        return _PAGE.replace("{rows}", rows or '<tr><td colspan="4">No repository yet.</td></tr>')


_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Hub</title>
<style>body{font:16px system-ui;margin:2rem auto;max-width:60rem}td,th{text-align:left;padding:.4rem .8rem}</style>
<h1>Repositories on this machine</h1>
<table><tr><th>Repository</th><th>Default branch</th><th>Last push</th><th></th></tr>{rows}</table></html>
"""
