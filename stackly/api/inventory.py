"""What exists on the targets, what of it nobody should hold, and what is still owed."""

from fastapi import APIRouter

from stackly.api.auth import Reader
from stackly.api.pages import Asked, Page
from stackly.api.parts import House
from stackly.api.views import InventoryItemView, InventoryView, ObligationView
from stackly.teardown import reads

router = APIRouter(tags=["inventory"])


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
