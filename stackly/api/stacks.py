"""Stacks: what is registered, what is wrong with it, what happened to it, and its end."""

from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field
from starlette.responses import Response

from stackly.api import commands
from stackly.api.auth import Reader, Registrar
from stackly.api.once import OnlyOnce
from stackly.api.pages import Asked, Page
from stackly.api.parts import House
from stackly.api.run_shape import view_of
from stackly.api.run_view import RunView
from stackly.api.views import FileProblemView, HistoryView, StackView, StateView
from stackly.db import Json, Session
from stackly.runs import reads as runs
from stackly.stacks import reads

router = APIRouter(prefix="/stacks", tags=["stack"])
StackPath = Annotated[str, Path(max_length=250, description="An id or a name.")]


class StackDestroy(BaseModel):
    state: str = Field(default="default", min_length=1, max_length=100)
    reason: str | None = Field(default=None, max_length=2000)


def _view(row: Json, states: list[Json]) -> StackView:
    shown = {k: v for k, v in row.items() if k not in {"errors", "states"}}
    return StackView(errors=[_problem(e) for e in row["errors"]], states=[_state(s) for s in states], **shown)


def _state(row: Json) -> StateView:
    return StateView(environment=row["variables"].get("environment"), **row)


def _problem(found: Json) -> FileProblemView:
    return FileProblemView(
        file=str(found.get("file", "")),
        line=int(found.get("line", 0)),
        column=int(found.get("column", 0)),
        message=str(found.get("message", "")),
    )


@router.get("")
async def list_stacks(
    house: House,
    actor: Reader,
    asked: Asked,
    *,
    repo: str | None = None,
    status: str | None = None,
    all: Annotated[bool, Query(description="Deregistered ones as well.")] = False,  # noqa: A002 - the CLI's word
) -> Page[StackView]:
    async with house.transactions() as session:
        found = await reads.list_stacks(
            session, actor.account, limit=asked.limit, after=asked.key(2), repo=repo, status=status, gone=all
        )
        states = await reads.states_of(session, [row["id"] for row in found])
    return asked.page(found, lambda r: _view(r, states[r["id"]]), lambda r: [r["name"], r["id"]])


@router.get("/{stack}")
async def show_stack(stack: StackPath, house: House, actor: Reader, ref: str | None = None) -> StackView:
    async with house.transactions() as session:
        row = await reads.get_stack(session, actor.account, stack, ref=ref)
        states = await reads.states_of(session, [row["id"]])
    return _view(row, states[row["id"]])


@router.get("/{stack}/history")
async def list_history(stack: StackPath, house: House, actor: Reader, asked: Asked) -> Page[HistoryView]:
    """Runs of the stack's long-lived states, newest first: from which commit to which, who, and how it ended."""
    async with house.transactions() as session:
        row = await reads.get_stack(session, actor.account, stack)
        found = await reads.history(session, actor.account, row["id"], limit=asked.limit, after=asked.time_key())
    return asked.page(found, lambda r: HistoryView(**r), lambda r: [r["created_at"].isoformat(), r["id"]])


@router.post("/{stack}/destroy", status_code=202, response_model=RunView)
async def destroy_stack(
    stack: StackPath, body: StackDestroy, house: House, actor: Registrar, once: OnlyOnce
) -> Response:
    """Destroy what a state holds. It needs no window and no approval; it is terminal when the inventory is empty."""

    async def work(session: Session) -> RunView:
        row = await reads.get_stack(session, actor.account, stack)
        run = await commands.destroy(session, actor, row, state=body.state, reason=body.reason)
        return await view_of(session, await runs.get_run(session, actor.account, run), house.config.public_url)

    return await once(actor, work, status=202)
