"""POST /webhooks/github/{hook}: bare ASGI, so that accepting a delivery costs little more than storing it.

Source: github.md section 1: the body is capped before HMAC, headers are unsigned, 2xx only when it is stored.
"""

import asyncio
import contextlib
import hashlib
import json
from dataclasses import replace
from http import HTTPStatus

from starlette.types import Message, Receive, Scope, Send

from stackly import log
from stackly.api import problems
from stackly.api.hooks import HookBook, KnownHook
from stackly.api.metrics import Metrics
from stackly.errors import Invalid, NotFound, StacklyError, Unauthenticated, Unavailable
from stackly.events.inbox import LARGE, Arrival, Inbox, Receipt, seconds_for
from stackly.events.model import Bell
from stackly.git import payloads
from stackly.git.payloads import Delivered
from stackly.ids import RepoId

PREFIX = "/webhooks/github/"
BODY_CAP_BYTES = 25 * 1024 * 1024
BODY_DEADLINE_S = 15.0
# GitHub waits 10 s; a 503 within 4.5 s, on a busy machine too, leaves a sweep something to see and a person to read.
STORE_DEADLINE_S = 3.6
LARGE_AT_ONCE = 2  # bodies held in memory; one waits for another within its deadline
GUID_CAP = 200

_log = log.get("webhooks")


class HookNotFound(NotFound):
    title = "There is no such webhook address."


class SignatureInvalid(Unauthenticated):
    title = "The delivery is not signed by who holds this hook's secret."


class DeliveryUnidentified(Invalid):
    title = "The delivery carries no usable X-GitHub-Delivery."


class BodySlow(Invalid):
    title = "The body did not arrive in time."


class Webhooks:
    def __init__(self, inbox: Inbox, hooks: HookBook, metrics: Metrics) -> None:
        self._inbox = inbox
        self._hooks = hooks
        self._metrics = metrics
        self._large = asyncio.Semaphore(LARGE_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            receipt = await self._accept(scope, receive)
        except StacklyError as e:
            self._metrics.delivery(type(e).slug())
            await problems.render(e)(scope, receive, send)
            return
        self._metrics.delivery(receipt.status if receipt.fresh else "repeated")
        await _acknowledge(send, receipt)

    async def _accept(self, scope: Scope, receive: Receive) -> Receipt:
        if scope["method"] != "POST":
            raise problems.MethodNotAllowed("Deliveries are POSTed.")
        headers, body = dict(scope["headers"]), None
        try:
            async with asyncio.timeout(BODY_DEADLINE_S) as limit:
                async with self._slot(headers.get(b"content-length", b"0")):
                    body = await read_body(headers.get(b"content-length"), receive)
                    within = STORE_DEADLINE_S + seconds_for(len(body))
                    limit.reschedule(asyncio.get_running_loop().time() + within)
                    hook, signed_by = await self._verified(scope["path"][len(PREFIX) :], headers, body)
                    arrival = await self._arrival(hook, headers, body)
                    return await self.keep(replace(arrival, signed_by=signed_by))
        except TimeoutError:
            if body is None:
                raise BodySlow(f"The body was not complete after {BODY_DEADLINE_S:.0f} s.") from None
            raise Unavailable("Postgres does not answer; send the delivery again.") from None

    def _slot(self, declared: bytes) -> contextlib.AbstractAsyncContextManager[None]:
        """Large bodies wait for each other, within their deadline; small ones for nobody."""
        is_large = declared.isdigit() and int(declared[:20]) > LARGE
        return self._large if is_large else contextlib.nullcontext()

    async def keep(self, arrival: Arrival) -> Receipt:
        """Nothing is acknowledged before this returns: it returns after the commit."""
        return await self._inbox.accept(arrival)

    async def _arrival(self, hook: KnownHook, headers: dict[bytes, bytes], body: bytes) -> Arrival:
        # A large body is parsed beside the loop: the small ones go on meanwhile.
        said = await asyncio.to_thread(_read, headers, body) if len(body) > LARGE else _read(headers, body)
        repo = hook.repo
        if repo is None and said.repo_github_id is not None:
            repo = await self._hooks.repo_of(hook.account, said.repo_github_id)
        return arrival_of(hook, repo, said, headers, body)

    async def _verified(self, hook_id: str, headers: dict[bytes, bytes], body: bytes) -> tuple[KnownHook, bytes]:
        """Shape: (the hook, the sealed secret that signed). Where the delivery is stored, it is compared again."""
        if not hook_id.isalnum() or not hook_id.isascii():
            raise HookNotFound("No repository has this webhook address.")
        hook = await self._hooks.get(hook_id)
        if hook is None:
            raise HookNotFound("No repository has this webhook address.")
        signature = headers.get(b"x-hub-signature-256", b"").decode("latin-1")
        if (signed_by := hook.signed_by(body, signature)) is not None:
            return hook, signed_by
        again = await self._hooks.reload(hook_id) if hook.is_stale else None
        if again and (signed_by := again.signed_by(body, signature)) is not None:
            return again, signed_by
        raise SignatureInvalid("X-Hub-Signature-256 does not match the body; check the secret on both sides.")


async def read_body(declared: bytes | None, receive: Receive) -> bytes:
    """Raises: BodyTooLarge before more than the cap is held; BodySlow when the sender goes away."""
    if declared is not None and (not declared.isdigit() or int(declared[:20]) > BODY_CAP_BYTES):
        raise _too_large()
    parts: list[bytes] = []
    size = 0
    while True:
        message: Message = await receive()
        if message["type"] == "http.disconnect":
            raise BodySlow("The sender went away before the body was complete.")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > BODY_CAP_BYTES:
            raise _too_large()
        if not message.get("more_body"):
            return b"".join(parts)


def _too_large() -> problems.BodyTooLarge:
    return problems.BodyTooLarge(f"A delivery has at most {BODY_CAP_BYTES} bytes.", limit_bytes=BODY_CAP_BYTES)


def _read(headers: dict[bytes, bytes], body: bytes) -> Delivered:
    """A body that cannot be read is recorded as well, with why."""
    try:
        return payloads.read(headers.get(b"x-github-event", b"").decode("latin-1"), body)
    except Invalid as e:
        return Delivered("unreadable", "ignored", reason=e.detail)


# What is only a hint is acted upon after the acknowledgement, from GitHub's own answers: no body decides anything.
_RINGS = {
    "push": Bell.REPO_SYNC,
    "hint": Bell.REPO_SYNC,
    "repository": Bell.REPO_LOOK,
    "installation": Bell.INSTALLATION_LOOK,
}


def arrival_of(
    hook: KnownHook, repo: RepoId | None, said: Delivered, headers: dict[bytes, bytes], body: bytes
) -> Arrival:
    """What is stored of it, and which bell it rings. What rings none is recorded with why."""
    guid = headers.get(b"x-github-delivery", b"").decode("latin-1")
    if not guid or len(guid) > GUID_CAP or not guid.isprintable():
        raise DeliveryUnidentified("Send the GUID in X-GitHub-Delivery.")
    bell = _RINGS.get(said.kind)
    reason = _why_not(hook, repo, said, bell)
    if reason is not None:
        bell = None
    key = f"{hook.account}/{said.installation}" if bell is Bell.INSTALLATION_LOOK else repo
    return Arrival(
        hook=hook.id,
        guid=guid,
        event=said.event,
        body=body,
        body_sha256=hashlib.sha256(body).hexdigest(),
        status="received" if bell else "ignored",
        reason=reason,
        repo=repo,
        bell=bell,
        key=key,
        about=said.repo_github_id,
        about_name=said.full_name,
        subject=_subject(repo, said) if reason is not None and _is_of(hook, said) else None,
        ref=said.ref,
    )


def _why_not(hook: KnownHook, repo: RepoId | None, said: Delivered, bell: Bell | None) -> str | None:
    """Why a delivery rings no bell; None when it does. What a body names counts by its number alone."""
    if said.reason is not None:
        return said.reason
    if bell is None:
        pull = "A pull request starts nothing by itself; the push of its branch does."
        return pull if said.event == "pull_request" else f"{said.event} starts no sync."
    if bell is Bell.INSTALLATION_LOOK:
        return None if said.installation is not None else f"The {said.event} names no installation by its number."
    if said.repo_github_id is None:
        return f"The {said.event} names no repository by its number."
    if not _is_of(hook, said):
        of = f"repository {said.repo_github_id} ({said.full_name or 'without a name'})"
        return f"This is about {of}, and the webhook is that of repository {hook.github_id}."
    if repo is None:
        return f"{said.full_name or 'The repository'} is not connected; run: stackly repo add NAME"
    return None


def _is_of(hook: KnownHook, said: Delivered) -> bool:
    """Whether it is about the repository whose webhook it came by; an account's webhook is for all."""
    return hook.repo is None or said.repo_github_id == hook.github_id


def _subject(repo: RepoId | None, said: Delivered) -> str | None:
    """What people look for that nothing came of: a push, or a pull request."""
    if repo is None or said.event not in {"push", "pull_request"}:
        return None
    return f"push/{repo}/{said.ref}" if said.ref else f"repo/{repo}"


async def _acknowledge(send: Send, receipt: Receipt) -> None:
    said = {"delivery": receipt.guid, "status": receipt.status, "attempts": receipt.attempts}
    body = json.dumps(said).encode()
    head = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": HTTPStatus.ACCEPTED, "headers": head})
    await send({"type": "http.response.body", "body": body})
