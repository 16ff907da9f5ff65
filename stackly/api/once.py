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
from stackly.errors import Invalid, Unavailable
from stackly.ids import AccountId

# A call of GitHub's, and its tries: whoever holds a key for longer is dead.
_HELD_S = 120

Work = Callable[[Session], Awaitable[BaseModel]]
# Puts into an answer what may be shown but not kept.
Show = Callable[[dict[str, Any]], dict[str, Any]]


class IdempotencyKeyReused(Invalid):
    title = "This Idempotency-Key was used for another request."


class RequestUnderWay(Unavailable):
    title = "This request is being carried out already; ask again for its answer."


class Carried:
    """What of a request was done before, under the same key. Shape: without a key nothing was."""

    def __init__(self, parts: Parts, account: AccountId, key: str | None, done: set[str]) -> None:
        self._parts = parts
        self._account = account
        self._key = key
        self._done = done

    async def once(self, part: str, work: Callable[[Session], Awaitable[object]]) -> None:
        """Do it and note that it is done, in one transaction; nothing where it is done."""
        if part in self._done:
            return
        async with self._parts.transactions() as session:
            await work(session)
            if self._key is not None:
                await store.mark_done(session, self._account, self._key, part)
        self._done.add(part)


class Once:
    """Does a POST's work at most once per key: in one transaction, or where it reaches outside, part by part."""

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

    async def outside(
        self,
        actor: Actor,
        carry_out: Callable[[Carried], Awaitable[BaseModel]],
        *,
        status: int = 200,
        keeps: bool = True,
        show: Show = dict,
    ) -> Response:
        """Work with effects outside Postgres. What it does there it may do again; what it may not, it does by `once`.

        A repeat carries on where an attempt that failed or died stopped. Without `keeps` the answer (a secret) is not
        kept: a repeat carries out all that may be done again. Raises: IdempotencyKeyReused, RequestUnderWay.
        """
        if self._key is None:
            made = await carry_out(Carried(self._parts, actor.account, None, set()))
            return _render(status, show(made.model_dump(mode="json")))
        async with self._parts.transactions() as session:
            kept = await store.claim_answer(session, actor.account, self._key, self._fingerprint)
            if kept is not None and (kept["status"] is not None or kept["request_sha256"] != self._fingerprint):
                return self._replayed(kept, show)
            done = await store.hold_key(session, actor.account, self._key, _HELD_S)
        if done is None:
            raise RequestUnderWay("Ask again with the same Idempotency-Key.")
        try:
            made = await carry_out(Carried(self._parts, actor.account, self._key, set(done)))
            body = made.model_dump(mode="json")
            if keeps:
                async with self._parts.transactions() as session:
                    await store.keep_answer(session, actor.account, self._key, status, body)
        finally:
            async with self._parts.transactions() as session:
                await store.let_key_go(session, actor.account, self._key)
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
