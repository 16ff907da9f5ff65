"""Errors as people and scripts meet them over HTTP: one kind, one status, one body.

Source: RFC 9457 (problem details); validation errors as its section 3 shows them.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any, Literal, assert_never, cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from stackly import errors, texts
from stackly.api.request_id import current
from stackly.errors import StacklyError

# The eight kinds by name; a test holds it equal to errors.KINDS.
KindName = Literal["Invalid", "Unauthenticated", "Denied", "NotFound", "Conflict", "Exhausted", "Unavailable", "Faulty"]

MEDIA_TYPE = "application/problem+json"
TYPE_ROOT = "/problems/"
# For the two kinds that come with a hint when to ask again. Units: seconds.
RETRY_AFTER_S = 2


class MalformedBody(errors.Invalid):
    title = "The body cannot be read."


class RouteNotFound(errors.NotFound):
    title = "There is nothing at this address."


class MethodNotAllowed(errors.Invalid):
    title = "This address does not know that method."


class BodyTooLarge(errors.Invalid):
    title = "The body is larger than this address takes."


def status_of(error: StacklyError) -> int:
    """Kind -> status. A ninth kind fails type checking here."""
    kind = cast("KindName", errors.kind_of(error).__name__)
    match kind:
        case "Invalid":
            return _status_of_invalid(error)
        case "Unauthenticated":
            return 401
        case "Denied":
            return 403
        case "NotFound":
            return 404
        case "Conflict":
            return 409
        case "Exhausted":
            return 429
        case "Unavailable":
            return 503
        case "Faulty":
            return 502
        case _:
            assert_never(kind)


def _status_of_invalid(error: StacklyError) -> int:
    if isinstance(error, MalformedBody):
        return 400
    if isinstance(error, MethodNotAllowed):
        return 405
    return 413 if isinstance(error, BodyTooLarge) else 422


def body_of(error: StacklyError) -> dict[str, Any]:
    """Shape: RFC 9457 members, `kind` for programs, and the error's own fields."""
    extension = {k: v for k, v in error.fields.items() if k not in {"type", "title", "status", "detail", "instance"}}
    return {
        "type": TYPE_ROOT + error.slug(),
        "title": error.title,
        "status": status_of(error),
        "detail": error.detail,
        "instance": f"urn:stackly:request:{current()}",
        "kind": errors.kind_of(error).slug(),
        **extension,
    }


def headers_of(error: StacklyError) -> dict[str, str]:
    if isinstance(error, errors.Unauthenticated):
        return {"WWW-Authenticate": 'Bearer realm="stackly"'}
    if isinstance(error, errors.Exhausted | errors.Unavailable):
        after = error.fields.get("retry_after_s", RETRY_AFTER_S)
        return {"Retry-After": str(max(1, int(after)))}
    return {}


def render(error: StacklyError, headers: dict[str, str] | None = None) -> Response:
    return Response(
        json.dumps(body_of(error), default=str),
        status_code=status_of(error),
        media_type=MEDIA_TYPE,
        headers={**headers_of(error), **(headers or {})},
    )


def defect() -> Response:
    """What is shown of anything unforeseen: that it happened, and where its trace is found."""
    body = {
        "type": "about:blank",
        "title": "Internal Server Error",
        "status": 500,
        "detail": "This is a defect; the server's log has its trace under this request's id.",
        "instance": f"urn:stackly:request:{current()}",
    }
    return Response(json.dumps(body), status_code=500, media_type=MEDIA_TYPE)


def pointer(location: Sequence[Any]) -> str:
    """Shape: a JSON Pointer into the body, or `in/name` for other parts of the request."""
    where, *path = location or ("body",)
    parts = "".join("/" + str(p).replace("~", "~0").replace("/", "~1") for p in path)
    return f"#{parts}" if where == "body" else f"{where}{parts}"


def invalid(found: Iterable[Any]) -> StacklyError:
    listed = [{"pointer": pointer(e["loc"]), "detail": str(e["msg"])} for e in found]
    said = "; ".join(f"{e['pointer']}: {e['detail']}" for e in listed)
    return errors.Invalid(f"The request does not fit: {said}.", errors=listed)


def _of_http(error: HTTPException) -> StacklyError | None:
    if error.status_code == 404:
        return RouteNotFound("There is nothing at this address; the API is under /api/v1.")
    if error.status_code == 405:
        return MethodNotAllowed("This address does not know that method.")
    if error.status_code == 400:
        return MalformedBody(f"The body cannot be read: {error.detail}")
    return None


async def storable(request: Request) -> None:
    """Refuse a JSON body with texts that nothing keeps, whatever its route takes. Raises: Invalid."""
    if "json" not in request.headers.get("content-type", "") or not await request.body():
        return
    try:
        found = list(texts.flaws(await request.json()))
    except (ValueError, RecursionError):
        raise MalformedBody("The body is not JSON.") from None
    if found:
        listed = [{"pointer": f"#{place}", "detail": f"The text {why}."} for place, why in found[:20]]
        raise errors.Invalid(
            f"The request does not fit: {'; '.join(e['pointer'] + ': ' + e['detail'] for e in listed)}", errors=listed
        )


async def _stackly(_: Request, error: Exception) -> Response:
    assert isinstance(error, StacklyError)
    return render(error)


async def _validation(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    if any(e["type"] == "json_invalid" for e in found):
        return render(MalformedBody("The body is not JSON."))
    return render(invalid(found))


async def _http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    known = _of_http(error)
    return render(known, dict(error.headers or {})) if known else defect()


async def _anything(_: Request, error: Exception) -> Response:
    known = errors.of_os(error) if isinstance(error, OSError) else None
    return render(known) if known else defect()


def install(app: FastAPI) -> None:
    app.add_exception_handler(StacklyError, _stackly)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _anything)
