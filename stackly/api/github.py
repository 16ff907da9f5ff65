"""One webhook address for many repositories: a GitHub App's, or an organisation's."""

from fastapi import APIRouter
from pydantic import BaseModel

from stackly.api.auth import Administrator
from stackly.api.parts import House
from stackly.api.views import View

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


@router.post("/hook")
async def app_hook(body: HookAsked, house: House, actor: Administrator) -> HookAddress:
    """The account's own webhook. Where a GitHub App is configured, GitHub is told of it; else paste it there.

    Its answer holds a secret, so it is never kept under an Idempotency-Key; asking again shows the same.
    """
    async with house.transactions() as session:
        hook, secret = await house.hooks.create(session, actor.account, None)
    url = f"{house.config.public_url}/webhooks/github/{hook}"
    # GitHub gets the present secret first: were it still at an older one, a rotation would part the two for good.
    if house.github.has_app:
        await house.github.set_app_hook(url=url, secret=secret.decode())
    if body.rotate:
        async with house.transactions() as session:
            secret = await house.hooks.rotate(session, actor.account, hook)
        if house.github.has_app:
            await house.github.set_app_hook(url=url, secret=secret.decode())
    return HookAddress(id=hook, url=url, secret=secret.decode(), told_github=house.github.has_app)
