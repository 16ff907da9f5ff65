"""A page of another origin in somebody's browser: it reads nothing, and changes nothing, by any port and any name."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.e2e.house import House

pytestmark = [pytest.mark.e2e, pytest.mark.real, pytest.mark.timeout(420)]

EVIL = "http://evil.test"
# What a form or a script sends without asking first.
_SIMPLE = ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x")


def _ports(platform: House) -> dict[str, int]:
    ports: dict[str, int] = json.loads((platform.home / "config.json").read_text())["ports"]
    return ports


def _ask(platform: House, verb: str, port: int, path: str, headers: dict[str, str], body: bytes | None) -> Any:
    try:
        return platform.http.request(
            verb, f"http://127.0.0.1:{port}{path}", headers=headers, content=body, timeout=5, follow_redirects=False
        )
    except httpx.HTTPError:
        return None  # gRPC and TLS speak another language


def test_no_port_lets_a_page_read_its_answer(platform: House) -> None:
    for name, port in _ports(platform).items():
        for origin in (EVIL, "null", f"http://127.0.0.1:{port + 1}"):
            preflight = {"Origin": origin, "Access-Control-Request-Method": "PUT"}
            for verb, path, more in (("GET", "/", {}), ("OPTIONS", "/stackly/x", preflight)):
                got = _ask(platform, verb, port, path, {"Origin": origin, **more}, None)
                if got is not None:
                    # S3's own refusals go to everybody, and name nothing; what it holds goes to nobody.
                    is_refusal = name == "s3" and verb == "GET" and got.status_code == 403
                    assert is_refusal or got.headers.get("access-control-allow-origin") is None, (name, verb, origin)
                    assert got.headers.get("access-control-allow-private-network") is None, (name, verb)


@pytest.fixture(scope="module")
def session(platform: House) -> str:
    """The cookie of somebody who is signed in."""
    got = platform.http.get(platform.start().endpoints["ui_url"], follow_redirects=False)
    cookie = got.headers["set-cookie"]
    platform.http.cookies.clear()  # each request says by itself what its browser would send
    assert {"httponly", "samesite=strict"} <= {part.strip().lower() for part in cookie.split(";")}
    return str(cookie.partition(";")[0])


CHANGES = [
    ("POST", "/api/v1/repos", b'{"url": "developer/evil"}'),
    ("POST", "/api/v1/runs", b'{"stack": "x"}'),
    ("POST", "/api/v1/github/hook", b'{"rotate": true}'),
    ("POST", "/api/v1/tokens", b'{"name": "evil"}'),
    ("POST", "/api/v1/logout", b"{}"),
]


@pytest.mark.parametrize("media", [*_SIMPLE, "application/json"])
def test_a_page_changes_nothing_with_somebodys_session(platform: House, session: str, media: str) -> None:
    """SameSite keeps the cookie from it; this is a browser that sends it all the same."""
    port = _ports(platform)["api"]
    before = platform.get("events", limit=1)["items"]
    for told in (
        {"Origin": EVIL},
        {"Origin": "null"},
        {"Origin": f"http://localhost:{port + 1}", "Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "same-site"},
        {},
    ):
        for verb, path, body in CHANGES:
            headers = {"Cookie": session, "Content-Type": media, **told}
            got = _ask(platform, verb, port, path, headers, body)
            assert got.status_code == 403, (path, told, got.text)
            assert got.json()["type"].endswith("cross-site")
    assert platform.get("events", limit=1)["items"] == before


def test_a_name_that_was_pointed_here_gets_nothing_of_anybodys(platform: House) -> None:
    """DNS rebinding: the page's own name leads to our ports, so its requests are of the same origin. No cookie goes."""
    for name, port in _ports(platform).items():
        host = f"evil.test:{port}"
        headers = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
        for verb, path, body in (*CHANGES, ("GET", "/api/v1/runs", None), ("GET", "/user/repos", None)):
            got = _ask(platform, verb, port, path, headers, body)
            if got is not None:
                # Whatever is no address of the API's is the page itself, in which nothing stands.
                is_empty_page = name == "api" and verb == "GET" and got.text.lstrip().lower().startswith("<!doctype")
                assert got.status_code >= 400 or is_empty_page, (name, verb, path, got.status_code)
    hub = _ports(platform)["hub"]
    for path in ("/", "/repos/developer/x", "/app"):
        assert _ask(platform, "GET", hub, path, {"Host": f"evil.test:{hub}"}, None).status_code == 400
        assert _ask(platform, "GET", hub, path, {"Origin": EVIL}, None).status_code == 403


def test_a_page_starts_no_workflow_and_writes_no_object(platform: House) -> None:
    ports = _ports(platform)
    start = b'{"workflowType":{"name":"Run"},"taskQueue":{"name":"control"}}'
    for media in (*_SIMPLE, "application/json"):
        headers = {"Origin": EVIL, "Content-Type": media}
        path = "/api/v1/namespaces/default/workflows/evil"
        assert _ask(platform, "POST", ports["temporal_http"], path, headers, start).status_code == 403
        for name in ("s3", "s3_filer", "s3_volume", "s3_master"):
            for verb, where in (("PUT", "/stackly/evil"), ("POST", "/buckets/stackly/evil"), ("DELETE", "/stackly")):
                got = _ask(platform, verb, ports[name], where, headers, b"evil")
                assert got is None or got.status_code >= 400, (name, verb, where, got.status_code)
