"""Runs: what was tried, what is happening, and the few things a person can ask of one."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.responses import Response

from stackly.accounts.model import Actor
from stackly.api import commands
from stackly.api.auth import Operator, Reader
from stackly.api.once import OnlyOnce
from stackly.api.pages import MAX_LIMIT, Asked, Page, Slice, decode, encode
from stackly.api.parts import House
from stackly.api.references import RunPath, of_stack
from stackly.api.run_shape import view_of, views_of
from stackly.api.run_view import PlannedView, RunView
from stackly.api.stream import log_view
from stackly.api.views import LogLineView
from stackly.db import Json, Session
from stackly.runs import reads, service
from stackly.runs.model import BENCHMARK_PHASES, DEPLOY_PHASES
from stackly.spec.runs import RunKind, RunStatus
from stackly.stacks import reads as stacks

router = APIRouter(prefix="/runs", tags=["run"])


class RunStart(BaseModel):
    """`stack` by any reference; `ref` is the branch whose stack is meant, where a name stands on several."""

    stack: str = Field(min_length=1, max_length=1000)
    kind: RunKind | None = None
    state: str = Field(default="default", min_length=1, max_length=100)
    ref: str | None = Field(default=None, max_length=250)
    dry_run: bool = False


@router.get("")
async def list_runs(
    house: House,
    actor: Reader,
    asked: Asked,
    *,
    stack: str | None = None,
    status: RunStatus | None = None,
    kind: RunKind | None = None,
    all: Annotated[bool, Query(description="Runs with a parent as well.")] = False,  # noqa: A002 - the CLI's word
) -> Page[RunView]:
    """Newest first."""
    async with house.transactions() as session:
        of = await of_stack(session, actor, stack)
        found = await reads.list_runs(
            session,
            actor.account,
            limit=asked.limit,
            after=asked.time_key(),
            stack=of,
            status=status,
            kind=kind,
            include_children=all,
        )
        views = await views_of(session, found[: asked.limit], house.config.public_url)
    more = len(found) > asked.limit
    last = found[asked.limit - 1] if more else None
    return Page(items=views, next=encode([last["created_at"].isoformat(), last["id"]]) if last else None)


@router.post("", status_code=202, response_model=RunView | PlannedView)
async def start_run(body: RunStart, house: House, actor: Operator, once: OnlyOnce) -> Response:
    """Queue a run of a stack as a push would; with `dry_run` only say what it would do (200)."""

    async def work(session: Session) -> BaseModel:
        stack = await stacks.get_stack(session, actor.account, body.stack, ref=body.ref)
        base = await commands.resolved(session, actor, stack, body.kind, state=body.state)
        if body.dry_run:
            return _planned(base, body)
        run = await commands.start(session, actor, base, state=body.state)
        return await _show(session, actor, run, house.config.public_url)

    return await once(actor, work, status=200 if body.dry_run else 202)


def _planned(base: Json, body: RunStart) -> PlannedView:
    suite = base["spec"].get("suite") or {}
    tests: list[Json] = [t for t in suite.get("tests", []) if isinstance(t, dict)]
    return PlannedView(
        stack=base["stack_name"],
        repo=base["repo_name"],
        kind=base["kind"],
        state=body.state,
        branch=base["branch"],
        commit=base["commit"],
        phases=list(BENCHMARK_PHASES if tests else DEPLOY_PHASES),
        tests=tests,
        machines=[m for t in tests for m in _machines(t)],
    )


def _machines(test: Json) -> list[Json]:
    found: Any = test.get("machines") or (test.get("placement") or {}).get("machines") or []
    if isinstance(found, dict):
        found = [{"name": name, **about} for name, about in found.items() if isinstance(about, dict)]
    return [{"test": test.get("name"), **m} for m in found if isinstance(m, dict)]


async def _show(session: Session, actor: Actor, run: str, public_url: str) -> RunView:
    return await view_of(session, await reads.get_run(session, actor.account, run), public_url)


@router.get("/{run}")
async def show_run(run: RunPath, house: House, actor: Reader) -> RunView:
    async with house.transactions() as session:
        return await _show(session, actor, run, house.config.public_url)


@router.post("/{run}/cancel", status_code=202, response_model=RunView)
async def cancel_run(run: RunPath, house: House, actor: Operator, once: OnlyOnce) -> Response:
    """Gentle first, then firm; what was created is torn down. A queued run ends at once."""

    async def work(session: Session) -> RunView:
        await service.cancel(session, actor.account, run, actor=actor.login)
        return await _show(session, actor, run, house.config.public_url)

    return await once(actor, work, status=202)


@router.post("/{run}/rerun", status_code=202, response_model=RunView)
async def rerun(run: RunPath, house: House, actor: Operator, once: OnlyOnce) -> Response:
    """The same resolved config once more, as a new run."""

    async def work(session: Session) -> RunView:
        again = await commands.rerun(session, actor, run)
        return await _show(session, actor, again, house.config.public_url)

    return await once(actor, work, status=202)


@router.get("/{run}/logs")
async def list_logs(
    run: RunPath,
    house: House,
    actor: Reader,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT * 25)] = 1000,
    cursor: Annotated[str | None, Query(max_length=500)] = None,
    test: str | None = None,
) -> Page[LogLineView]:
    """Oldest first. `next` is there while there is more; a live log is followed by /stream."""
    after = _line(cursor)
    async with house.transactions() as session:
        await reads.get_run(session, actor.account, run)
        found = await reads.logs_after(session, run, after=after, limit=limit + 1, test=test, everything=True)
    shown = found[:limit]
    more = encode([str(shown[-1]["id"])]) if len(found) > limit else None
    return Page(items=[log_view(line) for line in shown], next=more)


def _line(cursor: str | None) -> int:
    return Slice(1, decode(cursor) if cursor else None).number_key() or 0
