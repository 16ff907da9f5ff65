"""Who is asking, and whether they may: every route under /api/v1 depends on one of these."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import APIKeyCookie, HTTPBearer

from stackly import addresses
from stackly.accounts import service
from stackly.accounts.model import Action, Actor
from stackly.api.parts import House
from stackly.db import Session
from stackly.errors import Denied

COOKIE = "stackly_session"
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

# For the OpenAPI document; the reading is our own, so that a wrong scheme gets our problem body.
_bearer = HTTPBearer(auto_error=False, description="A token of `stackly token create`, or $STACKLY_HOME/token.")
_cookie = APIKeyCookie(name=COOKIE, auto_error=False, description="Set by GET /login, for browsers.")


class CrossSite(Denied):
    title = "A page of another site may not do this with your session."


def bearer_of(request: Request) -> str | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


async def actor_of(request: Request, house: House) -> Actor:
    """Raises: SignInRequired, KeyInvalid; CrossSite for a cookie that another site's page sent along."""
    bearer, cookie = bearer_of(request), request.cookies.get(COOKIE)
    if bearer is None and cookie is not None and request.method not in _SAFE:
        refuse_cross_site(request)
    async with house.transactions() as session:
        return await service.authenticate(session, bearer=bearer, cookie=cookie)


async def still_actor(request: Request, session: Session) -> Actor:
    """Who asked for a stream, as of now. Raises: KeyInvalid when the key was revoked since; RoleInsufficient."""
    actor = await service.authenticate(session, bearer=bearer_of(request), cookie=request.cookies.get(COOKIE))
    actor.must(Action.READ)
    return actor


def refuse_cross_site(request: Request) -> None:
    """Browsers send one of the two headers with every mutating request; neither means no browser sent it."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    parts = addresses.parsed(origin or "")
    same = parts is not None and bool(parts.netloc) and parts.netloc == request.headers.get("host")
    if same or (origin is None and site == "same-origin"):
        return
    raise CrossSite("Open the page from Stackly itself, or use a token.")


def _needs(action: Action) -> Callable[..., Awaitable[Actor]]:
    async def allowed(
        actor: Annotated[Actor, Depends(actor_of)],
        _: Annotated[object, Depends(_bearer)],
        __: Annotated[object, Depends(_cookie)],
    ) -> Actor:
        actor.must(action)
        return actor

    return allowed


Reader = Annotated[Actor, Depends(_needs(Action.READ))]
Operator = Annotated[Actor, Depends(_needs(Action.OPERATE))]
Approver = Annotated[Actor, Depends(_needs(Action.APPROVE))]
Registrar = Annotated[Actor, Depends(_needs(Action.REGISTER))]
Administrator = Annotated[Actor, Depends(_needs(Action.ADMINISTER))]
