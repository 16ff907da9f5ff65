"""A small real server that speaks the API's shapes."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from stackly.api.run_view import RunView

Json = dict[str, Any]
AT = "2026-11-21T08:00:00.000Z"


@dataclass
class Asked:
    """A request as it came. Shape: header names in lower case."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Json


@dataclass
class Stream:
    """What one connection to a stream gets: events, then the end of the connection."""

    events: list[tuple[str, Json]]
    holds_s: float = 0.0  # how long it stays open and silent afterwards


Answer = tuple[int, Json] | Stream
Route = Callable[[Asked], Answer]


@dataclass
class FakeApi:
    """Routes by method and path; whatever is asked is kept."""

    port: int = 0
    routes: dict[tuple[str, str], Route] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    server: ThreadingHTTPServer | None = None
    closing: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def on(self, method: str, path: str, answer: Answer | Route) -> None:
        self.routes[(method, path)] = answer if callable(answer) else lambda _: answer

    def get(self, path: str, body: Json, status: int = 200) -> None:
        self.on("GET", f"/api/v1{path}", (status, body))

    def streams(self, run: str, *told: Stream) -> None:
        """Each connection gets the next of them; the last one again and again."""
        left = list(told)
        self.on("GET", f"/api/v1/runs/{run}/stream", lambda _: left.pop(0) if len(left) > 1 else left[0])

    def seen(self, method: str, path: str) -> list[Asked]:
        return [a for a in self.asked if (a.method, a.path) == (method, f"/api/v1{path}")]

    def start(self) -> None:
        api = self
        self.closing = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                answer(self, api)

            def do_POST(self) -> None:
                answer(self, api)

            def log_message(self, *_: Any) -> None:
                """Tests are quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        assert self.server is not None
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()


def answer(handler: BaseHTTPRequestHandler, api: FakeApi) -> None:
    parts = urlsplit(handler.path)
    text = handler.rfile.read(int(handler.headers.get("content-length") or 0))
    asked = Asked(
        handler.command,
        unquote(parts.path),
        {k: v[0] for k, v in parse_qs(parts.query).items()},
        {k.lower(): v for k, v in handler.headers.items()},
        json.loads(text) if text else {},
    )
    api.asked.append(asked)
    route = api.routes.get((asked.method, asked.path))
    found = route(asked) if route else _meant(asked) or (404, problem("not-found", 404))
    if isinstance(found, Stream):
        _stream(handler, api, found)
    else:
        _whole(handler, *found)


def _meant(asked: Asked) -> Answer | None:
    """Unless a test says otherwise, a reference means just one thing, whose id it is."""
    root, _, noun = asked.path.rpartition("/")
    if root != "/api/v1/resolve":
        return None
    id_ = asked.query["reference"]
    where = {"repository": "acme/shop", "path": "db", "ref": "refs/heads/main"}
    told = {"test": "tpcb", "status": "open"} if noun == "obligation" else {"status": "active"}
    return 200, {"kind": noun, "id": id_, "name": id_, **told, **where}


def _whole(handler: BaseHTTPRequestHandler, status: int, body: Json) -> None:
    sent = json.dumps(body).encode()
    handler.send_response(status)
    handler.send_header("Content-Type", "application/json" if status < 400 else "application/problem+json")
    handler.send_header("Content-Length", str(len(sent)))
    handler.end_headers()
    handler.wfile.write(sent)


def _stream(handler: BaseHTTPRequestHandler, api: FakeApi, stream: Stream) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "text/event-stream")
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.close_connection = True
    for n, (name, data) in enumerate(stream.events, start=1):
        handler.wfile.write(f"id: {n}.0\nevent: {name}\ndata: {json.dumps(data)}\n\n".encode())
        handler.wfile.flush()
    api.closing.wait(stream.holds_s)


def problem(kind: str, status: int, **fields: Any) -> Json:
    return {
        "type": f"/problems/{kind}",
        "title": f"This is {kind}.",
        "status": status,
        "detail": f"Details of {kind}.",
        "kind": kind,
        **fields,
    }


def phase(name: str, status: str = "succeeded") -> Json:
    ended = "2026-11-21T08:00:10.000Z" if status != "running" else None
    return {"name": name, "status": status, "started_at": AT, "ended_at": ended, "iterations": 1, "detail": None}


def a_test(name: str = "tpcb", *, verdict: str | None = "pass", tps: float = 512.3, **changes: Any) -> Json:
    result = {"tps": tps, "latency_ms": {"p95": 12.5, "bound": "exact"}, "transactions": 5123}
    told: Json = {
        "name": name,
        "cell": {},
        "status": "succeeded",
        "phases": [phase("measure")],
        "driver": "pgbench",
        "driver_version": "16",
        "verdict": verdict,
        "reasons": [],
        "warnings": [],
        "thresholds": [{"metric": "tps", "min": 20, "max": None, "value": tps, "verdict": "pass", "evidence": "e"}],
        "comparisons": [],
        "samples": [
            {"side": "candidate", "n": 1, "order": 1, "valid": True, "reason": None, "result": result},
        ],
        "result": result,
    }
    return {**told, **changes}


def a_run(run: str = "r1", *, status: str = "succeeded", **changes: Any) -> Json:
    """A run as the API shows it: its own view made it."""
    verdict = changes.get("verdict", "pass" if status == "succeeded" else None)
    told: Json = {
        "id": run,
        "parent": None,
        "kind": "benchmark",
        "status": status,
        "changed": None,
        "stack": "pg-standalone",
        "stack_id": "s1",
        "repo": "stackly/demo",
        "state": "default",
        "state_id": "t1",
        "branch": "main",
        "commit": "9f3c1ab" + "0" * 33,
        "trigger": {"kind": "push", "actor": "octo", "ref": "refs/heads/main"},
        "baseline": None,
        "digest": "d" * 64,
        "created_at": AT,
        "started_at": AT,
        "ended_at": "2026-11-21T08:00:52.000Z",
        "waiting": None,
        "phases": [phase("measure"), phase("verify")],
        "tests": [a_test(verdict=verdict)],
        "gate": {"decision": "allow", "policy": "regression_gate", "reasons": []} if verdict else None,
        "cost": {"max_machine_hours": 50.0},
        "verdict": verdict,
        "decision_id": "x1",
        "url": "http://127.0.0.1/runs/r1",
        "reason": None,
        "cancel_requested": False,
    }
    view: Json = RunView(**{**told, **changes}).model_dump(mode="json")
    return view


@dataclass
class Said:
    """What one call of the command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Stackly = Callable[..., Said]
