"""Idempotency keys: the answer is kept in the very transaction that did the work, so a repeat is answered, not done."""

import hashlib
import json
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import Depends, Header, Request
from pydantic import BaseModel
from starlette.responses import Response

from stackly.accounts import store
from stackly.accounts.model import Actor
from stackly.api.parts import House, Parts
from stackly.db import Session
from stackly.errors import Invalid

Work = Callable[[Session], Awaitable[BaseModel]]
# Puts into an answer what may be shown but not kept.
Show = Callable[[dict[str, Any]], dict[str, Any]]


class IdempotencyKeyReused(Invalid):
    title = "This Idempotency-Key was used for another request."


class Once:
    """Does a POST's work in one transaction, at most once per key."""

    def __init__(self, parts: Parts, key: str | None, fingerprint: str) -> None:
        self._parts = parts
        self._key = key
        self._fingerprint = fingerprint

    async def __call__(self, actor: Actor, work: Work, *, status: int = 200, show: Show = dict) -> Response:
        """`show` is applied to what is answered, never to what is kept.

        Errors roll everything back, the claim of the key included: the same key may be tried again.

        Raises: IdempotencyKeyReused, and whatever the work raises.
        """
        async with self._parts.transactions() as session:
            if self._key is None:
                return _render(status, show((await work(session)).model_dump(mode="json")))
            kept = await store.claim_answer(session, actor.account, self._key, self._fingerprint)
            if kept is not None:
                return self._replayed(kept, show)
            body = (await work(session)).model_dump(mode="json")
            await store.keep_answer(session, actor.account, self._key, status, body)
        return _render(status, show(body))

    def _replayed(self, kept: dict[str, Any], show: Show) -> Response:
        if kept["request_sha256"] != self._fingerprint:
            raise IdempotencyKeyReused("Use a new key for a new request.")
        return _render(kept["status"], show(kept["response"]), replayed=True)


def _render(status: int, body: Any, *, replayed: bool = False) -> Response:
    headers = {"Idempotency-Replayed": "true"} if replayed else {}
    return Response(json.dumps(body), status_code=status, media_type="application/json", headers=headers)


async def _once(
    request: Request,
    house: House,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=200)] = None,
) -> Once:
    body = await request.body()
    if b"\\u0000" in body:
        raise Invalid("A text in the body holds a NUL character, which nothing here can.")
    about = f"{request.method} {request.url.path}\n".encode() + body
    return Once(house, idempotency_key, hashlib.sha256(about).hexdigest())


OnlyOnce = Annotated[Once, Depends(_once)]
