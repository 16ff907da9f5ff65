"""Approvals: what waits for a person, and the person's answer, bound to what they looked at."""

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.responses import Response

from stackly.accounts.model import Actor
from stackly.api.auth import Approver, Reader
from stackly.api.once import Once, OnlyOnce
from stackly.api.pages import Asked, Page
from stackly.api.parts import House
from stackly.api.references import RunPath
from stackly.api.views import ApprovalView, PlanView
from stackly.approvals import reads, service
from stackly.db import Json, Session
from stackly.runs import planned

router = APIRouter(prefix="/approvals", tags=["approval"])


class Approval(BaseModel):
    digest: str = Field(min_length=1, max_length=200, description="The digest of what you looked at.")
    reason: str | None = Field(default=None, max_length=2000)


class Denial(BaseModel):
    digest: str | None = Field(default=None, max_length=200)
    reason: str = Field(min_length=1, max_length=2000)


def _view(row: Json) -> ApprovalView:
    plan = planned.shown(row["spec"])
    own = {name: value for name, value in row.items() if name != "spec"}
    return ApprovalView(plan=PlanView(**plan) if plan else None, **own)


@router.get("")
async def list_approvals(house: House, actor: Reader, asked: Asked, status: str | None = None) -> Page[ApprovalView]:
    key = asked.key()
    async with house.transactions() as session:
        found = await reads.list_approvals(
            session, actor.account, limit=asked.limit, after=key[0] if key else None, status=status
        )
    return asked.page(found, _view, lambda r: [r["id"]])


@router.get("/{run}")
async def show_approval(run: RunPath, house: House, actor: Reader) -> ApprovalView:
    async with house.transactions() as session:
        return _view(await reads.approval_of(session, actor.account, run))


@router.post("/{run}/approve", response_model=ApprovalView)
async def approve(run: RunPath, body: Approval, actor: Approver, once: OnlyOnce) -> Response:
    """409 when the digest moved since: what was approved is what is applied, or nothing is."""
    return await _vote(once, actor, run, "approve", body.digest, body.reason)


@router.post("/{run}/deny", response_model=ApprovalView)
async def deny(run: RunPath, body: Denial, actor: Approver, once: OnlyOnce) -> Response:
    return await _vote(once, actor, run, "deny", body.digest, body.reason)


async def _vote(once: Once, actor: Actor, run: str, value: str, digest: str | None, reason: str | None) -> Response:
    async def cast_vote(session: Session) -> ApprovalView:
        await service.vote(
            session,
            actor.account,
            run,
            person=actor.identity,
            login=actor.login,
            value=value,
            digest=digest,
            reason=reason,
        )
        return _view(await reads.approval_of(session, actor.account, run))

    return await once(actor, cast_vote)
