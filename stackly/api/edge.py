"""What holds for every answer: a request id, security headers, a measured time, and no trace shown to anybody."""

from collections.abc import Sequence
from urllib.parse import unquote_to_bytes

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stackly import clock, log
from stackly.api import problems, request_id, webhooks
from stackly.api.metrics import Metrics
from stackly.errors import Invalid

_log = log.get("api")

_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_HEADERS = [
    (b"content-security-policy", _CSP.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
]
# What a delivery is answered is read by GitHub, not by a browser that could show, frame or send it on.
_HEADERS_OF_DELIVERIES = [(b"x-content-type-options", b"nosniff")]
_HSTS = (b"strict-transport-security", b"max-age=63072000; includeSubDomains")


class Edge:
    """The outermost application: deliveries go to their own door, everything else to `inner`."""

    def __init__(self, inner: ASGIApp, door: ASGIApp, metrics: Metrics) -> None:
        self._inner = inner
        self._door = door
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        is_delivery = scope["path"].startswith(webhooks.PREFIX)
        given = None if is_delivery else _header(scope, b"x-request-id")
        added = _HEADERS_OF_DELIVERIES if is_delivery and scope["method"] == "POST" else _HEADERS
        answer = _Answer(scope, send, request_id.begin(given), added)
        started = clock.monotonic()
        try:
            await self._handle(scope, receive, answer, is_delivery=is_delivery)
        except Exception as e:  # noqa: BLE001 - the edge handler: whatever it is, it is logged and not shown
            _log.error("request.failed", request_id=answer.id, path=scope["path"], error=type(e).__name__, exc_info=e)
            if not answer.status:
                await problems.defect()(scope, receive, answer)
        route = webhooks.PREFIX + "{hook}" if is_delivery else _route(scope)
        self._metrics.request(scope["method"], route, answer.status, clock.monotonic() - started)

    async def _handle(self, scope: Scope, receive: Receive, answer: "_Answer", *, is_delivery: bool) -> None:
        if is_delivery:
            await self._door(scope, receive, answer)
            return
        if b"\x00" in unquote_to_bytes(scope.get("query_string", b"")) or "\x00" in scope["path"]:
            error = Invalid("The address holds a NUL character, which nothing here can.")
            await problems.render(error)(scope, receive, answer)
            return
        with structlog.contextvars.bound_contextvars(request_id=answer.id):
            await self._inner(scope, receive, answer)


def _header(scope: Scope, name: bytes) -> str | None:
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value).decode("latin-1")
    return None


def _route(scope: Scope) -> str:
    """The template, never the path itself: a metric's label is not a caller's to choose."""
    return str(getattr(scope.get("route"), "path", "other"))


class _Answer:
    """`send` with our headers added and the status remembered."""

    def __init__(self, scope: Scope, send: Send, request_id: str, added: Sequence[tuple[bytes, bytes]]) -> None:
        self.id = request_id
        self.status = 0
        self._send = send
        self._added = [*added, (b"x-request-id", request_id.encode())]
        if scope.get("scheme") == "https":
            self._added.append(_HSTS)

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": [*message.get("headers", []), *self._added]}
        await self._send(message)
