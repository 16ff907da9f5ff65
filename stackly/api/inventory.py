"""What exists on the targets, what of it nobody should hold, and what is still owed."""

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.responses import Response

from stackly.api.auth import Reader, Registrar
from stackly.api.once import OnlyOnce
from stackly.api.pages import Asked, Page
from stackly.api.parts import House
from stackly.api.references import ObligationPath
from stackly.api.views import DoneView, InventoryItemView, InventoryView, ObligationLeftView, ObligationView
from stackly.db import Session
from stackly.teardown import reads, service

router = APIRouter(tags=["inventory"])


class ObligationWaive(BaseModel):
    reason: str = Field(min_length=1, max_length=2000)


@router.get("/inventory")
async def show_inventory(house: House, actor: Reader) -> InventoryView:
    """The inventory is empty when `leftovers` is 0."""
    async with house.transactions() as session:
        found = await reads.inventory(session, actor.account)
    return InventoryView(
        leftovers=sum(row["class"] in reads.LEFTOVER for row in found),
        items=[InventoryItemView(**row) for row in found],
    )


@router.get("/obligations")
async def list_obligations(
    house: House, actor: Reader, asked: Asked, status: str | None = None
) -> Page[ObligationView]:
    key = asked.key()
    async with house.transactions() as session:
        found = await reads.list_obligations(
            session, actor.account, limit=asked.limit, after=key[0] if key else None, status=status
        )
    return asked.page(found, lambda r: ObligationView(**r), lambda r: [r["id"]])


@router.get("/obligations/{obligation}")
async def show_obligation(obligation: ObligationPath, house: House, actor: Reader) -> ObligationLeftView:
    """What is owed, why its destroy failed, and what is left of it."""
    async with house.transactions() as session:
        return ObligationLeftView(**await reads.get_obligation(session, actor.account, obligation))


@router.post("/obligations/{obligation}/waive", response_model=DoneView)
async def waive_obligation(
    obligation: ObligationPath, body: ObligationWaive, actor: Registrar, once: OnlyOnce
) -> Response:
    """Answer, by name and with a reason, for what a destroy could not remove; it is not tried any more."""

    async def work(session: Session) -> DoneView:
        await service.waive_obligation(session, actor.account, obligation, person=actor.identity, reason=body.reason)
        return DoneView(id=obligation)

    return await once(actor, work)
