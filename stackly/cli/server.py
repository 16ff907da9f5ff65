"""The API as the commands ask it: one problem per failure, patience with a server that restarts, and live streams."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from stackly import clock, ids
from stackly.cli.exits import CommandFailed, Exit, of_problem
from stackly.cli.place import is_loopback

Json = dict[str, Any]

PATIENCE_S = 60.0  # how long a restarting server is waited for, within waits
_TIMEOUT = httpx.Timeout(30.0, connect=5.0)
_SILENCE_S = 30.0  # a stream says something every ten seconds
_PAUSE_S = 0.3


class Unreachable(CommandFailed):
    """Nobody answers, or only to say that something it needs is down."""


@dataclass(frozen=True, slots=True)
class Event:
    """Of a stream. Shape: `name` is run, phase, progress, point, log or end."""

    name: str
    data: Json


class Server:
    def __init__(self, url: str, token: str | None) -> None:
        self.url = url
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        # A proxy of the environment has no business with this very machine.
        self._http = httpx.Client(
            base_url=f"{url}/api/v1", headers=headers, timeout=_TIMEOUT, trust_env=not is_loopback(url)
        )

    def get(self, path: str, *, patience_s: float = 0.0, **params: Any) -> Json:
        """Raises: CommandFailed."""
        known = {k: v for k, v in params.items() if v is not None}
        return self._patiently(patience_s, lambda: self._answer(self._http.get(path, params=known)))

    def post(self, path: str, body: Json | None = None, *, patience_s: float = 5.0) -> Json:
        """Asked again with the same Idempotency-Key while nobody answers. Raises: CommandFailed."""
        headers = {"Idempotency-Key": ids.new_id()}
        return self._patiently(
            patience_s, lambda: self._answer(self._http.post(path, json=body or {}, headers=headers))
        )

    def find(self, path: str, **params: Any) -> Json | None:
        """Like `get`, None where there is nothing."""
        try:
            return self.get(path, **params)
        except CommandFailed as e:
            if e.code == Exit.NOT_FOUND:
                return None
            raise

    def events(self, path: str, *, deadline: float | None = None) -> Iterator[Event]:
        """A stream to its `end`, over restarts of the server; what was told twice is the reader's to see.

        Shape: `deadline` is on the monotonic clock. Raises: TimeoutError at it; CommandFailed.
        """
        last, heard = "", clock.monotonic()
        while True:
            try:
                for event, at in self._stream(path, last, deadline):
                    last, heard = at or last, clock.monotonic()
                    yield event
                    if event.name == "end":
                        return
            except (httpx.TransportError, Unreachable) as e:
                self._check(heard, deadline, e)
            time.sleep(_PAUSE_S)

    def _stream(self, path: str, last: str, deadline: float | None) -> Iterator[tuple[Event, str]]:
        left = _SILENCE_S if deadline is None else max(0.05, min(_SILENCE_S, deadline - clock.monotonic()))
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last} if last else {})}
        timeout = httpx.Timeout(30.0, connect=5.0, read=left)
        with self._http.stream("GET", path, headers=headers, timeout=timeout) as response:
            if response.status_code != httpx.codes.OK:
                response.read()
                self._answer(response)
            for event, at in parsed(response.iter_lines()):
                yield event, at
                if deadline is not None and clock.monotonic() > deadline:
                    raise TimeoutError

    def _check(self, heard: float, deadline: float | None, error: Exception) -> None:
        now = clock.monotonic()
        if deadline is not None and now > deadline:
            raise TimeoutError from error
        if now - heard > PATIENCE_S + _SILENCE_S:
            raise error if isinstance(error, Unreachable) else self._unreachable(error) from error

    def _patiently(self, patience_s: float, ask: Any) -> Json:
        until = clock.monotonic() + patience_s
        while True:
            try:
                answer: Json = ask()
            except httpx.TransportError as e:
                if clock.monotonic() > until:
                    raise self._unreachable(e) from e
            except Unreachable:
                if clock.monotonic() > until:
                    raise
            else:
                return answer
            time.sleep(_PAUSE_S)

    def _unreachable(self, error: Exception) -> Unreachable:
        said = f"{self.url} does not answer ({error or type(error).__name__}); run: stackly up"
        return Unreachable(Exit.UNREACHABLE, "The server is not reachable.", said, server=self.url)

    def _answer(self, response: httpx.Response) -> Json:
        try:
            said = response.json()
        except ValueError:
            said = None
        if response.is_success and isinstance(said, dict):
            return said
        raise _refusal(response, said if isinstance(said, dict) else {})


def _refusal(response: httpx.Response, problem: Json) -> CommandFailed:
    code = Exit.INTERNAL if response.is_success else of_problem(response.status_code, problem)
    title = problem.get("title") or f"The server answered {response.status_code} {response.reason_phrase}".strip() + "."
    made = Unreachable if code == Exit.UNREACHABLE else CommandFailed
    failed = made(code, str(title), str(problem.get("detail") or title))
    failed.problem = {**failed.problem, **problem, "status": response.status_code}
    return failed


def parsed(lines: Iterator[str]) -> Iterator[tuple[Event, str]]:
    """Server-sent events, each with its id. Source: WHATWG HTML, 9.2.6; data of one line is all ours sends."""
    import json

    name, data, at = "message", [], ""
    for line in lines:
        if line:
            key, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if key == "event":
                name = value
            elif key == "data":
                data.append(value)
            elif key == "id":
                at = value
        elif data:
            yield Event(name, json.loads("\n".join(data))), at
            name, data = "message", []
