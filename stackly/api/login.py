"""People: the sign-in link, who I am, and keys."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import HTMLResponse, RedirectResponse, Response

from stackly.accounts import service, store
from stackly.accounts.model import Key, KeyKind
from stackly.api.auth import COOKIE, Administrator, Reader, bearer_of
from stackly.api.once import OnlyOnce
from stackly.api.pages import Page
from stackly.api.parts import House, Parts
from stackly.api.views import DoneView, PersonView, TokenView
from stackly.db import Session
from stackly.errors import Unauthenticated
from stackly.ids import IdentityId

page = APIRouter(include_in_schema=False)
router = APIRouter(tags=["people"])
_UNKEPT = {"Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}
_USED = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Sign in to Stackly</title></head><body><main><h1>This sign-in link was used, or is too old</h1>
<p>A link opens one browser, once, within a day. For a fresh one run this where Stackly runs,
and open what it prints:</p>
<pre>stackly status</pre></main></body></html>
"""


class TokenCreate(BaseModel):
    name: str = Field(min_length=1, max_length=100)
    login: str | None = Field(default=None, max_length=100, description="Whose it is; yours unless told otherwise.")
    expires_in_s: int | None = Field(default=None, ge=60, le=10 * 365 * 86400)


@page.get("/login")
async def login(request: Request, house: House, key: Annotated[str, Query(max_length=200)] = "") -> Response:
    """Exchange the link's one-time key for a strict cookie. A reload with a living session just goes on."""
    try:
        async with house.transactions() as session:
            secret = await service.login(session, key)
    except Unauthenticated:
        return await _signed_in_already(request, house)
    answer = _go_home()
    answer.set_cookie(
        COOKIE,
        secret,
        max_age=int(service.SESSION_LIFETIME.total_seconds()),
        httponly=True,
        samesite="strict",
        secure=house.config.public_url.startswith("https://"),
    )
    return answer


async def _signed_in_already(request: Request, house: Parts) -> Response:
    """A used link in a browser with a session goes on; in any other it leads to a page that says what to do."""
    try:
        async with house.transactions() as session:
            await service.authenticate(session, bearer=None, cookie=request.cookies.get(COOKIE))
    except Unauthenticated:
        if "text/html" not in request.headers.get("accept", ""):
            raise
        return HTMLResponse(_USED, 401, headers=_UNKEPT)
    return _go_home()


def _go_home() -> RedirectResponse:
    # The key must not travel on in a Referer, nor stay in a cache.
    return RedirectResponse("/", 303, headers=_UNKEPT)


@router.get("/me")
async def show_me(actor: Reader) -> PersonView:
    return PersonView(login=actor.login, roles=sorted(actor.roles), groups=list(actor.groups))


@router.post("/logout", response_model=DoneView)
async def logout(request: Request, actor: Reader, once: OnlyOnce) -> Response:
    """End this browser's session on the server as well."""
    secret = None if bearer_of(request) else request.cookies.get(COOKIE)

    async def end(session: Session) -> DoneView:
        if secret:
            await service.logout(session, secret)
        return DoneView()

    answer = await once(actor, end)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answer


def _token(key: Key, secret: str | None = None) -> TokenView:
    return TokenView(
        id=key.id,
        name=key.name,
        login=key.login,
        created_at=key.created_at,
        expires_at=key.expires_at,
        used_at=key.used_at,
        revoked_at=key.revoked_at,
        token=secret,
    )


@router.get("/tokens")
async def list_tokens(house: House, actor: Administrator) -> Page[TokenView]:
    async with house.transactions() as session:
        keys = await store.list_keys(session, actor.account, KeyKind.TOKEN)
    return Page[TokenView](items=[_token(key) for key in keys])


@router.post("/tokens", status_code=201)
async def create_token(body: TokenCreate, house: House, actor: Administrator) -> TokenView:
    """The answer holds the only copy of the secret, so it is the one that no Idempotency-Key repeats."""
    async with house.transactions() as session:
        owner = await service.find_person(session, actor.account, body.login or actor.login)
        secret = await service.issue_key(
            session, IdentityId(owner.id), name=body.name, lifetime=_lifetime(body.expires_in_s)
        )
        made = service.digest_of(secret)[:12]
        keys = await store.list_keys(session, actor.account, KeyKind.TOKEN)
    return _token(next(key for key in keys if key.id == made), secret)


def _lifetime(seconds: int | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)


@router.post("/tokens/{token}/revoke", response_model=DoneView)
async def revoke_token(token: str, actor: Administrator, once: OnlyOnce) -> Response:
    async def end(session: Session) -> DoneView:
        await service.revoke(session, actor.account, token)
        return DoneView(id=token)

    return await once(actor, end)
