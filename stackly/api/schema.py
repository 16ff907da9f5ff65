"""The OpenAPI document: FastAPI's own, with every error as a problem body."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from stackly.api.problems import MEDIA_TYPE

_PROBLEM: dict[str, Any] = {
    "type": "object",
    "title": "Problem",
    "description": "RFC 9457. `kind` is one of the eight kinds; further members belong to the error.",
    "required": ["type", "title", "status", "detail", "instance"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "kind": {"type": "string"},
        "errors": {"type": "array", "items": {"type": "object"}},
    },
    "additionalProperties": True,
}
_ALWAYS = {"401": "Not signed in.", "403": "Not allowed.", "422": "Not acceptable.", "503": "Something is down."}
_MUTATING = {
    "400": "Unreadable.",
    "409": "Its present state forbids this.",
    "429": "Used up.",
    "502": "An upstream failed.",
}


def operation_name(route: APIRoute) -> str:
    return route.name


def document(app: FastAPI) -> dict[str, Any]:
    """Made once per application, then kept."""
    if app.openapi_schema is None:
        found = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        for path, methods in found["paths"].items():
            for method, operation in methods.items():
                _problems(operation, path, method)
        schemas = found["components"]["schemas"]
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        schemas["Problem"] = _PROBLEM
        app.openapi_schema = found
    return app.openapi_schema


def _problems(operation: dict[str, Any], path: str, method: str) -> None:
    answers = dict(_ALWAYS)
    if "{" in path:
        answers["404"] = "Absent, or not visible to you."
    if method != "get":
        answers |= _MUTATING
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for status, said in sorted(answers.items()):
        operation["responses"][status] = {"description": said, "content": content}
