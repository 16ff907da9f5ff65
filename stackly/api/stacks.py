"""Stacks: what is registered, what is wrong with it, what happened to it, and its end."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.responses import Response

from stackly.api import commands
from stackly.api.auth import Reader, Registrar
from stackly.api.once import OnlyOnce
from stackly.api.pages import Asked, Page
from stackly.api.parts import House
from stackly.api.references import StackPath, of_repo
from stackly.api.run_shape import view_of
from stackly.api.run_view import RunView
from stackly.api.views import FileProblemView, HistoryView, StackView, StateView
from stackly.db import Json, Session
from stackly.runs import reads as runs
from stackly.stacks import reads
from stackly.stacks.config import StackConfig

router = APIRouter(prefix="/stacks", tags=["stack"])

StateName = Annotated[str, Field(min_length=1, max_length=100)]


class StackDestroy(BaseModel):
    state: StateName = "default"
    reason: str | None = Field(default=None, max_length=2000)


class StackAssociate(BaseModel):
    """`target` is a stack, by any reference; `name` is what the state is called there, as here if left out."""

    target: str = Field(min_length=1, max_length=1000)
    state: StateName = "default"
    name: StateName | None = None
    reason: str | None = Field(default=None, max_length=2000)


class StackKeep(BaseModel):
    state: StateName = "default"


class StackWaive(BaseModel):
    state: StateName = "default"
    reason: str = Field(min_length=1, max_length=2000)


def _view(row: Json, states: list[Json]) -> StackView:
    shown = {k: v for k, v in row.items() if k not in {"errors", "warnings", "states", "reason"}}
    return StackView(
        errors=[_problem(e) for e in row["errors"]],
        states=[_state(s, row["config"]) for s in states],
        reason=_reason(row, states),
        version=row["config"].get("version"),
        warnings=_warnings(row),
        **shown,
    )


def _warnings(row: Json) -> list[str]:
    told = [f"{w['file']}:{w['line']}:{w['column']}: {w['message']}" for w in row["warnings"]]
    return told + (list(StackConfig.from_json(row["config"]).warnings()) if row["config"].get("name") else [])


def _reason(row: Json, states: list[Json]) -> str | None:
    """Of a loose stack what its state says: it names the way out as well."""
    told = [s["reason"] for s in states if s["status"] == "loose" and s["reason"]] if row["status"] == "loose" else []
    found: str | None = told[0] if told else row["reason"]
    return found


def _state(row: Json, config: Json) -> StateView:
    return StateView(environment=_environment(row["name"], config), **row)


def _environment(state: str, config: Json) -> str | None:
    """What policies compare with, of that state."""
    own: Json = next((s["variables"] for s in config.get("states", []) if s["name"] == state), {})
    found = {**config.get("variables", {}), **own}.get("environment")
    return found if isinstance(found, str) else None


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
        of = await of_repo(session, actor, repo)
        found = await reads.list_stacks(
            session, actor.account, limit=asked.limit, after=asked.key(2), repo=of, status=status, gone=all
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


@router.post("/{stack}/associate", status_code=202, response_model=RunView)
async def associate_stack(
    stack: StackPath, body: StackAssociate, house: House, actor: Registrar, once: OnlyOnce
) -> Response:
    """Give a loose state other code. The deploy that follows is judged by policies; nothing is applied without it."""

    async def work(session: Session) -> RunView:
        loose = await reads.get_stack(session, actor.account, stack)
        target = await reads.get_stack(session, actor.account, body.target)
        run = await commands.associate(
            session, actor, loose, target, state=body.state, name=body.name, reason=body.reason
        )
        return await view_of(session, await runs.get_run(session, actor.account, run), house.config.public_url)

    return await once(actor, work, status=202)


@router.post("/{stack}/keep", response_model=StackView)
async def keep_stack(stack: StackPath, body: StackKeep, actor: Registrar, once: OnlyOnce) -> Response:
    """Call off a destroy that is due by policy, or that has not started."""

    async def work(session: Session) -> StackView:
        row = await reads.get_stack(session, actor.account, stack)
        await commands.keep(session, actor, row, state=body.state)
        return await _shown(session, actor.account, row["id"])

    return await once(actor, work)


@router.post("/{stack}/waive", response_model=StackView)
async def waive_stack(stack: StackPath, body: StackWaive, actor: Registrar, once: OnlyOnce) -> Response:
    """Answer, by name and with a reason, for what a state holds; Stackly keeps no hand on it any more."""

    async def work(session: Session) -> StackView:
        row = await reads.get_stack(session, actor.account, stack)
        await commands.waive(session, actor, row, state=body.state, reason=body.reason)
        return await _shown(session, actor.account, row["id"])

    return await once(actor, work)


async def _shown(session: Session, account: str, stack: str) -> StackView:
    row = await reads.get_stack(session, account, stack)
    return _view(row, (await reads.states_of(session, [stack]))[stack])
