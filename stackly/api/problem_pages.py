"""`GET /problems/{slug}`: what a problem's `type` leads to."""

import re
from pathlib import Path

from fastapi import APIRouter
from starlette.responses import PlainTextResponse, Response

from stackly.api.problems import RouteNotFound

page = APIRouter(include_in_schema=False)
_SLUG = re.compile(r"[A-Za-z][A-Za-z-]*\Z")
_PACKAGE = Path(__file__).parents[1]
# In a checkout beside the package, in an installed package within it.
_FOLDERS = (_PACKAGE.parent / "docs" / "problems", _PACKAGE / "shipped" / "problems")


@page.get("/problems/{slug}")
async def show_problem(slug: str) -> Response:
    for folder in _FOLDERS:
        file = folder / f"{slug}.md"
        if _SLUG.match(slug) and file.is_file():
            return PlainTextResponse(
                file.read_text(encoding="utf-8"), headers={"Cache-Control": "public, max-age=3600"}
            )
    raise RouteNotFound("There is no such problem.")
