"""GitHub's REST API for the person whose OAuth token came, and for the application that ends such tokens."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from pydantic import BaseModel

from stackly.local.hub import oauth_rules as rules
from stackly.local.hub.git_http import basic
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
    """Find whose key or token came, for every route; one that is unknown or was revoked opens none.

    Public reads of the REST API are open; what changes something needs a person, or an installation for its own.
    """

    @api.middleware("http")
    async def signed_in(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        presented = [secret for secret in (bearer(request), *reversed(basic(request))) if secret]
        person = next((p for p in (_person(hub, secret) for secret in presented) if p is not None), None)
        installation = next((i for i in (hub.apps.of_token(secret) for secret in presented) if i is not None), None)
        if person is None and any(s.startswith(PREFIX) for s in presented):
            return answer(request, Problem(401, "Bad credentials"))
        if person is None and _unknown(bearer(request)):
            return answer(request, Problem(401, "Bad credentials"))
        if person is None and _needs_person(request) and not (installation and request.url.path.startswith("/repos/")):
            return answer(request, Problem(401, "Requires authentication"))
        request.state.person, request.state.installation = person, installation
        response = await go_on(request)
        if person is None or not person.client_id:
            return response
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
        person = await signed(request)
        return hub.people.account(person.login, private=rules.covers(person.scopes, "read:user"))

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


def _person(hub: Hub, secret: str) -> Person | None:
    return hub.oauth.person(secret) if secret.startswith(PREFIX) else hub.keys.person(secret)


def _unknown(token: str) -> bool:
    """A bearer that is nobody's. An installation's token and an App's JWT are judged by the routes that take them."""
    return bool(token) and not token.startswith("ghs_") and token.count(".") != 2


def _needs_person(request: Request) -> bool:
    """What has a credential of its own (OAuth, the App's JWT, git) asks for that itself."""
    path = request.url.path
    if path.startswith("/_"):
        return True
    if path == "/app" or path.startswith(("/app/", "/login/", "/applications/")) or ".git/" in path:
        return False
    return request.method not in {"GET", "HEAD", "OPTIONS"}
