"""The HTTP application, put together: parts, routes, the webhook door beside them, the edge around all."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path

import httpx
from fastapi import APIRouter, Depends, FastAPI
from starlette.routing import Router
from starlette.types import Receive, Scope, Send

from stackly import db
from stackly.api import (
    agents,
    approvals,
    artifacts,
    events,
    github,
    health,
    inventory,
    login,
    problem_pages,
    problems,
    references,
    repos,
    runs,
    stacks,
    stream,
    web,
)
from stackly.api.edge import Edge
from stackly.api.feed import RunFeed
from stackly.api.hooks import HookBook
from stackly.api.metrics import Metrics
from stackly.api.parts import ApiConfig, Objects, Parts, PushAs
from stackly.api.schema import document, operation_name
from stackly.api.webhooks import Webhooks
from stackly.engine.process import github_of
from stackly.events.inbox import Inbox
from stackly.git.github_client import GitHub
from stackly.git.github_rest import GitHubHost
from stackly.secrets import Keyring, KeySource
from stackly.settings import Settings
from stackly.storage import Store


def assemble(
    config: ApiConfig, keyring: KeySource, objects: Objects, *, github: httpx.AsyncBaseTransport | GitHub | None = None
) -> Parts:
    """The parts of one process; nothing is connected before `running`."""
    if not isinstance(github, GitHub):
        host = GitHubHost(config.github_url.rstrip("/"), config.github_api_url.rstrip("/"))
        github = GitHub(host, config.github_token, transport=github)
    engine = db.engine(config.database_url, application="stackly-api", size=config.pool_size)
    transactions = db.transactions(engine)
    return Parts(
        config=config,
        transactions=transactions,
        inbox=Inbox(config.database_url),
        hooks=HookBook(transactions, keyring),
        github=github,
        objects=objects,
        feed=RunFeed(config.database_url),
        metrics=Metrics(),
        dispose=engine.dispose,
    )


def assemble_from(settings: Settings) -> Parts:
    s3 = settings.s3
    github = github_of(settings)
    config = ApiConfig(
        database_url=settings.database_url,
        public_url=settings.api_url,
        github_url=github.host.web,
        github_api_url=github.host.api,
        github_token=settings.github_token.get_secret_value() or None,
        push_as=_push_as(settings),
        pool_size=settings.database_pool,
    )
    objects = Store(s3.endpoint, s3.bucket, s3.access_key, s3.secret_key.get_secret_value(), region=s3.region)
    return assemble(config, Keyring(settings.keyring), objects, github=github)


def _push_as(settings: Settings) -> PushAs | None:
    token = settings.hub_person_token.get_secret_value()
    return PushAs(settings.hub_person, token) if settings.hub_url and token else None


def load_settings(home: Path) -> Settings:
    """Settings are read here only: everything else is handed values."""
    return Settings.load(home)


@asynccontextmanager
async def running(parts: Parts) -> AsyncIterator[None]:
    await parts.inbox.start()
    await parts.feed.start()
    try:
        yield
    finally:
        await parts.feed.close()
        await parts.inbox.close()
        await parts.github.close()
        await parts.dispose()


def routes() -> FastAPI:
    """Every route and its document, without parts: what openapi.json is written from."""
    app = FastAPI(
        title="Stackly",
        version="1",
        description="An event-driven GitOps platform for database benchmarks.",
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
        generate_unique_id_function=operation_name,
        separate_input_output_schemas=False,
        dependencies=[Depends(problems.storable)],
    )
    api = APIRouter(prefix="/api/v1")
    for room in (
        github,
        repos,
        stacks,
        runs,
        stream,
        artifacts,
        approvals,
        agents,
        events,
        inventory,
        references,
        login,
        health,
    ):
        api.include_router(room.router)
    app.include_router(api)
    for room_with_page in (login, health, problem_pages, web):
        app.include_router(room_with_page.page)
    app.openapi = lambda: document(app)  # type: ignore[method-assign]  # FastAPI's own way to extend it
    problems.install(app)
    return app


@cache
def _routes_of_this_process() -> FastAPI:
    """They hold no parts, and take half a second to make: all applications of a process share them."""
    return routes()


def application(parts: Parts, door: Webhooks | None = None) -> Edge:
    """The ASGI application. Its lifespan starts and stops the parts; each request carries them."""
    app = _routes_of_this_process()

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        async with running(parts):
            yield

    life = Router(lifespan=lifespan)

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await life(scope, receive, send)
            return
        scope.setdefault("state", {})["parts"] = parts
        await app(scope, receive, send)

    return Edge(inner, door or Webhooks(parts.inbox, parts.hooks, parts.metrics), parts.metrics)
