"""The web UI: what Vite built, and for every other address its index page."""

from pathlib import Path

from fastapi import APIRouter
from starlette.responses import FileResponse, HTMLResponse, Response

from stackly.api.parts import House
from stackly.api.problems import RouteNotFound

page = APIRouter(include_in_schema=False)
_RESERVED = ("api/", "webhooks/", "codec/", "problems/", "healthz", "readyz", "metrics")
_UNBUILT = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Stackly</title></head>
<body><h1>Stackly is running</h1>
<p>The web UI is not built here. Build it with <code>make setup</code> and reload this page.</p>
<p>The API is at <a href="/api/v1/openapi.json">/api/v1</a>.</p></body></html>
"""


@page.get("/{address:path}")
async def show_page(address: str, house: House) -> Response:
    if address.startswith(_RESERVED):
        raise RouteNotFound("There is nothing at this address; the API is under /api/v1.")
    index = house.config.web_dir / "index.html"
    if not index.is_file():
        return HTMLResponse(_UNBUILT)
    asset = _inside(house.config.web_dir, address)
    if asset is not None:
        # Vite puts a content hash into the names under assets/.
        forever = address.startswith("assets/")
        kept = "public, max-age=31536000, immutable" if forever else "no-cache"
        return FileResponse(asset, headers={"Cache-Control": kept})
    if address.startswith("assets/"):
        raise RouteNotFound("There is no such file in this build of the page; reload it.")
    return FileResponse(index, headers={"Cache-Control": "no-cache"})


def _inside(root: Path, address: str) -> Path | None:
    """The file at that address; never one outside of the build."""
    try:
        found = (root / address).resolve()
    except (OSError, ValueError):
        return None
    return found if found.is_relative_to(root.resolve()) and found.is_file() else None
