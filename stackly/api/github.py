"""One webhook address for many repositories: a GitHub App's, or an organisation's."""

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import Response

from stackly.api.auth import Administrator
from stackly.api.once import Carried, OnlyOnce
from stackly.api.parts import House, Parts
from stackly.api.views import View
from stackly.ids import AccountId

router = APIRouter(prefix="/github", tags=["repo"])


class HookAddress(View):
    """Where GitHub sends to, and what it signs with: shown to administrators only."""

    id: str
    url: str
    secret: str
    told_github: bool


class HookAsked(BaseModel):
    """`rotate` makes a new secret; the present one stays good for what was signed with it."""

    rotate: bool = False


@router.post("/hook", response_model=HookAddress)
async def app_hook(body: HookAsked, house: House, actor: Administrator, once: OnlyOnce) -> Response:
    """The account's own webhook. Where a GitHub App is configured, GitHub is told of it; else paste it there.

    Its answer holds a secret, so it is never kept under an Idempotency-Key; asking again shows the same, and rotates
    once.
    """

    async def carry_out(carried: Carried) -> HookAddress:
        # GitHub gets the present secret first: were it still at an older one, a rotation would part the two for good.
        found = await _told_present(house, actor.account)
        if not body.rotate:
            return found
        await carried.once("rotated", lambda session: house.hooks.rotate(session, actor.account, found.id))
        return await _told_present(house, actor.account)

    return await once.outside(actor, carry_out, keeps=False)


async def _told_present(house: Parts, account: AccountId) -> HookAddress:
    async with house.transactions() as session:
        hook, secret = await house.hooks.create(session, account, None)
    url = f"{house.config.public_url}/webhooks/github/{hook}"
    if house.github.has_app:
        await house.github.set_app_hook(url=url, secret=secret.decode())
    return HookAddress(id=hook, url=url, secret=secret.decode(), told_github=house.github.has_app)
