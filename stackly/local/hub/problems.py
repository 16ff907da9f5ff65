"""Errors in GitHub's shape."""

from collections.abc import Sequence
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

_DOCS = "https://docs.github.com/rest"


class Problem(HTTPException):
    def __init__(self, status: int, message: str, errors: Sequence[dict[str, Any]] = ()) -> None:
        super().__init__(status, message)
        self.errors = list(errors)


def missing() -> Problem:
    return Problem(404, "Not Found")


def refused(resource: str, field: str | None, message: str) -> Problem:
    error = {"resource": resource, "code": "custom", "message": message}
    return Problem(422, "Validation Failed", [error | ({"field": field} if field else {})])


def answer(_: Request, error: Exception) -> Response:
    if isinstance(error, RequestValidationError):
        found = [
            {"resource": "Request", "code": "invalid", "field": ".".join(map(str, e["loc"])), "message": e["msg"]}
            for e in error.errors()
        ]
        return _shaped(422, "Validation Failed", found)
    assert isinstance(error, HTTPException)
    return _shaped(error.status_code, str(error.detail), error.errors if isinstance(error, Problem) else [])


def _shaped(status: int, message: str, errors: list[dict[str, Any]]) -> Response:
    body: dict[str, Any] = {"message": message, "documentation_url": _DOCS, "status": str(status)}
    return JSONResponse(body | ({"errors": errors} if errors else {}), status)
