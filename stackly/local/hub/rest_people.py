"""GitHub's REST API for the person whose OAuth token came, and for the application that ends such tokens."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from pydantic import BaseModel

from stackly.local.hub import oauth_rules as rules
from stackly.local.hub.git_http import basic, pusher
from stackly.local.hub.hub import Hub
from stackly.local.hub.oauth import PREFIX, Person
from stackly.local.hub.problems import Problem, answer, missing
from stackly.local.hub.rest import bearer, is_login


class TokenOf(BaseModel):
    access_token: str


class PersonIs(BaseModel):
    name: str | None = None
    email: str | None = None
    verified: bool = True
    public: bool = True


def sign_in(api: FastAPI, hub: Hub) -> None:
    """Find whose OAuth token came, for every route; one that is unknown or was revoked opens none.

    What carries no such token goes on as before: installations, and the hub's own users, who sign in nowhere.
    """

    @api.middleware("http")
    async def signed_in(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        token = _presented(request)
        if not token:
            return await go_on(request)
        person = hub.oauth.person(token)
        if person is None:
            return answer(request, Problem(401, "Bad credentials"))
        request.state.person = person
        response = await go_on(request)
        response.headers["X-OAuth-Scopes"] = ", ".join(person.scopes)
        response.headers.setdefault("X-Accepted-OAuth-Scopes", "")
        response.headers["X-OAuth-Client-Id"] = person.client_id
        return response


def router(hub: Hub) -> APIRouter:  # noqa: C901 - a table of routes, each a few lines
    routes = APIRouter()

    async def signed(request: Request) -> Person:
        person: Person | None = getattr(request.state, "person", None)
        if person is None:
            raise Problem(401, "Bad credentials" if bearer(request) else "Requires authentication")
        return person

    @routes.get("/user")
    async def me(request: Request) -> dict[str, Any]:
        person: Person | None = getattr(request.state, "person", None)
        private = person is None or rules.covers(person.scopes, "read:user")
        return hub.people.account(pusher(request, hub), private=private)

    @routes.get("/user/emails")
    async def emails(
        person: Annotated[Person, Depends(signed)], response: Response, page: int = 1
    ) -> list[dict[str, Any]]:
        if not rules.covers(person.scopes, "user:email"):
            raise missing()
        response.headers["X-Accepted-OAuth-Scopes"] = "user, user:email"
        return hub.people.emails(person.login) if page <= 1 else []

    @routes.delete("/applications/{client_id}/token", status_code=204)
    async def revoke(client_id: str, body: TokenOf, request: Request) -> Response:
        name, secret = basic(request)
        if hub.oauth.app_with(name, secret) is None:
            raise Problem(401, "Bad credentials")
        if name != client_id or not hub.oauth.revoke(client_id, body.access_token):
            raise missing()
        return Response(status_code=204)

    # a knob

    @routes.put("/_users/{login}")
    async def describe(login: str, body: PersonIs) -> dict[str, Any]:
        if not is_login(login):
            raise missing()
        known = hub.people.known_as(login)
        hub.people.describe(known, **body.model_dump())
        return hub.people.account(known, private=True)

    return routes


def _presented(request: Request) -> str:
    """An OAuth token, wherever it stands: alone, as a password, or as a user name."""
    found = (bearer(request), *reversed(basic(request)))
    return next((token for token in found if token.startswith(PREFIX)), "")
