"""Deliveries on their way: queued in the store, signed, sent once, and never again by themselves."""

import asyncio
import base64
import hashlib
import hmac
import json
import secrets
import uuid
from typing import Any
from urllib.parse import urlencode

import httpx

from stackly import clock, log
from stackly.git.signatures import sign
from stackly.local.hub.apps import Apps, Installation
from stackly.local.hub.faults import Dice
from stackly.local.hub.store import Delivery, Hook, Outcome, Repo, Store

_log = log.get("hub")

TIMEOUT = 10.0
MAX_PAYLOAD = 25 * 1024 * 1024
_AT_ONCE = 8
_SETTLE = 0.3  # how long the reordering waits for company
_ANSWER_CAP = 64 * 1024
_TARGETS = {"Repository": "repository", "Organization": "organization", "App": "integration"}
_OTHER_EVENTS = {"push": "ping", "ping": "push"}


class Deliveries:
    """One queue for all hooks. A push only writes rows; what sends them runs beside it."""

    def __init__(self, store: Store, dice: Dice, apps: Apps, *, timeout: float = TIMEOUT) -> None:
        self._store = store
        self._apps = apps
        self._dice = dice
        self._timeout = timeout
        self._queue: asyncio.Queue[tuple[int, int]] = asyncio.Queue()
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._sending: set[asyncio.Task[None]] = set()
        self._client = httpx.AsyncClient(timeout=timeout, follow_redirects=False, trust_env=False)

    async def run(self) -> None:
        """Send what is queued until cancelled."""
        try:
            while True:
                for item in await self._next():
                    task = asyncio.create_task(self._deliver(*item))
                    self._sending.add(task)
                    task.add_done_callback(self._sending.discard)
                    if self._dice.faults.reorder:
                        await asyncio.wait([task])  # an order is only one if they leave one by one
        finally:
            for task in list(self._sending):
                task.cancel()
            await asyncio.gather(*self._sending, return_exceptions=True)
            await self._client.aclose()

    def announce(self, repo: Repo, event: str, payload: dict[str, Any]) -> None:
        """Queue an event of a repository for every hook that wants it: its own, its organisation's, the App's.

        All share one GUID. Too large a payload goes nowhere.
        """
        body, guid = encode(payload), new_guid()
        if len(body) > MAX_PAYLOAD:
            _log.warning("delivery.too_large", repo=repo.full_name, event_name=event, bytes=len(body))
            return
        for hook in (*self._store.hooks(repo.id), *self._store.hooks_of_owner(repo.owner)):
            if hook.wants(event):
                self._queue_new(hook, guid, event, payload.get("action"), body, repo.id)
        app, installation = self._store.app_hook(), self._apps.of_repo(repo)
        if app and app.wants(event) and installation and installation.suspended_at is None:
            body = encode({**payload, "installation": brief(installation)})
            self._queue_new(app, guid, event, payload.get("action"), body, repo.id)

    def announce_to(self, hook: Hook, event: str, payload: dict[str, Any]) -> None:
        """Queue an event for one hook, whatever it subscribes to: a ping."""
        self._queue_new(hook, new_guid(), event, payload.get("action"), encode(payload))

    def redeliver(self, hook: Hook, item: Delivery) -> None:
        number = self._store.queue_delivery(
            hook, item.guid, item.event, item.action, item.body, redelivery=True, repo=item.repo
        )
        self._queue.put_nowait((hook.repo, number))

    def _queue_new(self, hook: Hook, guid: str, event: str, action: str | None, body: bytes, repo: int = 0) -> None:
        faults = self._dice.faults
        dropped, doubled = self._dice.hits(faults.drop), self._dice.hits(faults.duplicate)
        for _ in range(0 if dropped else 2 if doubled else 1):
            number = self._store.queue_delivery(hook, guid, event, action, body, redelivery=False, repo=repo)
            self._queue.put_nowait((hook.repo, number))

    async def _next(self) -> list[tuple[int, int]]:
        """The next delivery, or under `reorder` those that came together, shuffled."""
        batch = [await self._queue.get()]
        wanted = self._dice.faults.reorder
        while len(batch) < wanted:
            try:
                batch.append(await asyncio.wait_for(self._queue.get(), _SETTLE))
            except TimeoutError:
                break
        order = list(range(len(batch)))
        if wanted:
            self._dice.shuffle(order)
        return [batch[i] for i in order]

    async def _deliver(self, _repo: int, number: int) -> None:
        async with self._slots:
            hook, item = self._store.attempt(number)
            if hook is None or item is None:
                return  # the hook was removed while this waited
            request = self._request(hook, item)
            if self._dice.faults.delay_s:
                await asyncio.sleep(self._dice.faults.delay_s)
            outcome = await self._attempt(hook, *request)
            self._store.end_delivery(number, outcome)
            _log.info("delivery.attempted", guid=item.guid, event_name=item.event, status=outcome.status)

    def _request(self, hook: Hook, item: Delivery) -> tuple[bytes, dict[str, str]]:
        dice, faults = self._dice, self._dice.faults
        corrupt, large, wrong = (dice.hits(p) for p in (faults.corrupt_signature, faults.oversize, faults.wrong_event))
        body, kind = item.body, "application/json"
        if hook.config.get("content_type") == "form":
            body, kind = urlencode({"payload": body.decode()}).encode(), "application/x-www-form-urlencoded"
        if large:
            body += b" " * (MAX_PAYLOAD + 1024 * 1024 - len(body))
        event = _OTHER_EVENTS.get(item.event, "push") if wrong else item.event
        headers = {
            "Accept": "*/*",
            "Content-Type": kind,
            "User-Agent": "GitHub-Hookshot/5e7a11e",
            "X-GitHub-Event": event,
            "X-GitHub-Delivery": item.guid,
            "X-GitHub-Hook-ID": str(hook.id),
            "X-GitHub-Hook-Installation-Target-ID": str(self._target(hook)),
            "X-GitHub-Hook-Installation-Target-Type": _TARGETS[hook.kind],
        }
        secret = hook.config.get("secret", "").encode()
        if secret:
            headers |= _signatures(secret + (secrets.token_bytes(8) if corrupt else b""), body)
        return body, headers

    def _target(self, hook: Hook) -> int:
        if hook.owner:
            return self._store.user_id(hook.owner)
        app = self._apps.app()
        return hook.repo or (app.id if app else 0)

    async def _attempt(self, hook: Hook, body: bytes, headers: dict[str, str]) -> Outcome:
        url, started = hook.config["url"], clock.monotonic()

        def ended(status: str, code: int, answer: httpx.Response | None = None, text: str = "") -> Outcome:
            took = round(clock.monotonic() - started, 3)
            return Outcome(status, code, took, url, headers, dict(answer.headers) if answer else {}, text)

        forced = self._dice.faults.status
        if forced is not None:
            return ended(_verdict(forced), forced)
        try:
            async with (
                asyncio.timeout(self._timeout),
                self._client.stream("POST", url, content=body, headers=headers) as answer,
            ):
                return ended(_verdict(answer.status_code), answer.status_code, answer, await _read(answer))
        except (TimeoutError, httpx.TimeoutException):
            return ended("timed out", 504)
        except (httpx.HTTPError, httpx.InvalidURL, OSError):
            return ended("failed to connect to host", 502)


def encode(payload: dict[str, Any]) -> bytes:
    return json.dumps(payload, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")


def brief(installation: Installation) -> dict[str, Any]:
    """As an installation stands in the events of its repositories."""
    node = base64.b64encode(f"Installation{installation.id}".encode()).decode()
    return {"id": installation.id, "node_id": node}


def new_guid() -> str:
    return str(uuid.UUID(bytes=secrets.token_bytes(16), version=4))


def _signatures(secret: bytes, body: bytes) -> dict[str, str]:
    legacy = hmac.new(secret, body, hashlib.sha1).hexdigest()
    return {"X-Hub-Signature-256": sign(secret, body), "X-Hub-Signature": f"sha1={legacy}"}


def _verdict(code: int) -> str:
    return "OK" if 200 <= code < 300 else f"Invalid HTTP Response: {code}"


async def _read(answer: httpx.Response) -> str:
    kept = b""
    async for chunk in answer.aiter_bytes():
        kept += chunk
        if len(kept) >= _ANSWER_CAP:
            break
    return kept[:_ANSWER_CAP].decode("utf-8", "replace")
