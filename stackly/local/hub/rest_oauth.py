"""GitHub's `/login/oauth`: a person lets an application in, and the application changes the code into a token."""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode

from fastapi import APIRouter, Request, Response
from starlette.responses import JSONResponse, RedirectResponse

from stackly import log
from stackly.local.hub import oauth_pages as pages
from stackly.local.hub import oauth_rules as rules
from stackly.local.hub.hub import Hub
from stackly.local.hub.oauth import Asked, Granted, Person
from stackly.local.hub.oauth_devices import GRANT, INTERVAL_S, LASTS_S
from stackly.local.hub.problems import Problem
from stackly.local.hub.rest import is_login

_log = log.get("hub")
_LARGEST = 64 * 1024
_FIELDS = ("client_id", "redirect_uri", "scope", "state", "code_challenge", "code_challenge_method")
_NOBODY = "Choose who continues."
_NO_KEY = "Enter the hub's key, which stands in the file hub-token of the home."
_NO_APP = "No application is registered under this client_id."


def router(hub: Hub) -> APIRouter:  # noqa: C901 - a table of routes, each a few lines
    routes = APIRouter()

    @routes.get("/login/oauth/authorize")
    async def ask(request: Request) -> Response:
        """`login=` with a key of the hub consents at once as that person, known or not: for tests, demonstrations."""
        told = dict(request.query_params)
        asked = _asked(hub, told)
        if isinstance(asked, Response):
            return asked
        login = told.get("login", "")
        if is_login(login) and told.get("prompt") != "select_account" and holds_key(hub, request, {}):
            return _let_in(hub, asked, hub.people.known_as(login), 302)
        return _consent(hub, asked, told, login)

    @routes.post("/login/oauth/authorize")
    async def decide(request: Request) -> Response:
        told = await body_of(request)
        asked = _asked(hub, told)
        if isinstance(asked, Response):
            return asked
        if told.get("decision") != "authorize":
            return _back(asked.redirect_uri, rules.DENIED.told(), told, 303)
        if told.get("login") not in people(hub):
            return _consent(hub, asked, told, "", _NOBODY)
        if not holds_key(hub, request, told):
            return _consent(hub, asked, told, told["login"], _NO_KEY)
        return _let_in(hub, asked, hub.people.known_as(told["login"]), 303)

    @routes.post("/login/oauth/access_token")
    async def exchange(request: Request) -> Response:
        told = await body_of(request)
        out = hub.devices.poll(told) if told.get("grant_type") == GRANT else hub.oauth.redeem(told)
        if isinstance(out, Granted):
            _log.info("oauth.granted", client_id=told["client_id"], scopes=list(out.scopes))
        return _shaped(request, out.told())

    @routes.post("/login/device/code")
    async def begin(request: Request) -> Response:
        told = await body_of(request)
        app = hub.oauth.app(told.get("client_id"))
        if app is None:
            return _shaped(request, rules.BAD_CLIENT.told())
        device, user = hub.devices.begin(app, rules.granted(told.get("scope", "")))
        uri = f"{hub.shapes.base_url}/login/device"
        codes = {"device_code": device, "user_code": user, "verification_uri": uri}
        return _shaped(request, {**codes, "expires_in": LASTS_S, "interval": INTERVAL_S})

    @routes.get("/login/device")
    async def device(user_code: str = "") -> Response:
        return pages.device(people(hub), hub.user, user_code)

    @routes.post("/login/device")
    async def enter(request: Request) -> Response:
        told = await body_of(request)
        return _enter(hub, told, may_consent=holds_key(hub, request, told))

    return routes


def people(hub: Hub) -> list[str]:
    """Everybody the hub knows of, first who acts when nobody says who they are."""
    return [hub.user, *(login for login in hub.people.logins() if login.lower() != hub.user.lower())]


def holds_key(hub: Hub, request: Request, told: Mapping[str, str]) -> bool:
    """Who lets an application in as somebody shows a key of the hub itself: in the form, or as a script does.

    A token that an application was given does not do: it would make itself others.
    """
    person: Person | None = getattr(request.state, "person", None) or hub.keys.person(told.get("key", ""))
    return person is not None and not person.client_id


async def body_of(request: Request) -> dict[str, str]:
    """The fields of a form or of JSON; what is not text is not there. Raises: Problem when it is too large."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LARGEST:
            raise Problem(413, "The request is too large.")
    try:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True, max_num_fields=50))
        told = json.loads(body)
    except ValueError:
        return {}
    if not isinstance(told, dict):
        return {}
    return {name: _whole(value) for name, value in told.items() if isinstance(value, str)}


def _whole(text: str) -> str:
    """JSON can hold halves of characters, which neither a file nor an address can."""
    return text.encode(errors="replace").decode()


def _asked(hub: Hub, told: Mapping[str, str]) -> Asked | Response:
    """The request, or the answer when it is not in order. Nothing goes to an address that is not the application's."""
    app = hub.oauth.app(told.get("client_id"))
    if app is None:
        return pages.notice("404 Not Found", _NO_APP, 404)
    redirect = told.get("redirect_uri") or app.callback
    if not rules.may_redirect(app.callback, redirect):
        return _back(app.callback, rules.REDIRECT_MISMATCH.told(), told, 302)
    challenge = told.get("code_challenge") or None
    if not rules.good_challenge(challenge, told.get("code_challenge_method") or None):
        return _back(redirect, rules.BAD_CHALLENGE.told(), told, 302)
    return Asked(app, redirect, rules.granted(told.get("scope", "")), told.get("state"), challenge)


def _consent(hub: Hub, asked: Asked, told: Mapping[str, str], login: str, problem: str | None = None) -> Response:
    logins = people(hub)
    chosen = next((known for known in logins if known.lower() == login.lower()), hub.user)
    again = {name: told[name] for name in _FIELDS if name in told}
    return pages.consent(asked, again, logins, chosen, problem)


def _let_in(hub: Hub, asked: Asked, login: str, status: int) -> Response:
    state = {} if asked.state is None else {"state": asked.state}
    return _back(asked.redirect_uri, {"code": hub.oauth.give_code(asked, login)}, state, status)


def _back(redirect: str, answer: dict[str, str], told: Mapping[str, str], status: int) -> Response:
    state = {"state": told["state"]} if "state" in told else {}
    address = rules.with_answer(redirect, answer | state)
    return RedirectResponse(address, status, {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"})


def _enter(hub: Hub, told: Mapping[str, str], *, may_consent: bool) -> Response:
    lets_in, login, code = told.get("decision") == "authorize", told.get("login", ""), told.get("user_code", "")
    if lets_in and login not in people(hub):
        return pages.device(people(hub), hub.user, code, _NOBODY)
    if lets_in and not may_consent:
        return pages.device(people(hub), login, code, _NO_KEY)
    if not hub.devices.decide(code, hub.people.known_as(login) if lets_in else None):
        return pages.device(people(hub), hub.user, code, "No device waits under this code. Look again at the device.")
    if lets_in:
        return pages.notice("The device is connected", "You can close this page.")
    return pages.notice("The device was refused", "You can close this page.")


def _shaped(request: Request, told: Mapping[str, Any]) -> Response:
    """A form unless JSON is asked for, as on GitHub; errors have status 200 as well."""
    headers = {"Cache-Control": "no-store"}
    if "application/json" in request.headers.get("accept", "").lower():
        return JSONResponse(dict(told), headers=headers)
    return Response(urlencode(told), headers=headers, media_type="application/x-www-form-urlencoded")
