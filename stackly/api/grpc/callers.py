"""Who is calling: the client certificate says it, and the row says whether it still counts. Never the message."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from typing import Any, TypeVar

import grpc

from stackly import clock, log
from stackly.agents import store
from stackly.agents.authority import agent_of, serial_of
from stackly.agents.model import Agent, AgentRevoked, AgentStatus, NotYours, Role
from stackly.db import Transactions
from stackly.errors import (
    Conflict,
    Denied,
    Exhausted,
    Faulty,
    Invalid,
    NotFound,
    StacklyError,
    Unauthenticated,
    Unavailable,
    kind_of,
    of_os,
)

_log = log.get("api.grpc")
_REMEMBERED_S = 1.0  # so long may a revoked agent go on
_REMEMBERED_MAX = 4096
_DRAINED_BYTES = 256 * 1024 * 1024

Context = grpc.aio.ServicerContext[Any, Any]

CODES: dict[type[StacklyError], grpc.StatusCode] = {
    Invalid: grpc.StatusCode.INVALID_ARGUMENT,
    Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    Denied: grpc.StatusCode.PERMISSION_DENIED,
    NotFound: grpc.StatusCode.NOT_FOUND,
    Conflict: grpc.StatusCode.FAILED_PRECONDITION,
    Exhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Unavailable: grpc.StatusCode.UNAVAILABLE,
    Faulty: grpc.StatusCode.INTERNAL,
}

S = TypeVar("S")
R = TypeVar("R")


async def refuse(context: Context, error: Exception) -> None:
    """End the call with the error's status. Raises: always."""
    error = (of_os(error) or error) if isinstance(error, OSError) else error
    if isinstance(error, StacklyError):
        slug = (("stackly-slug", error.slug()),)
        await context.abort(CODES[kind_of(error)], error.detail, trailing_metadata=slug)
    _log.exception("call.failed")
    await context.abort(grpc.StatusCode.INTERNAL, "The control plane failed; its log says why.")


def guarded(
    method: Callable[[S, Any, Context], Awaitable[R]],
) -> Callable[[S, Any, Context], Awaitable[R]]:
    """Our errors become statuses; anything else is logged and answered without its text."""

    async def call(self: S, request: Any, context: Context) -> R:
        try:
            return await method(self, request, context)
        except grpc.aio.AbortError:
            raise
        except Exception as e:
            if isinstance(request, AsyncIterator):
                await _drain(request)
            await refuse(context, e)
            raise

    return call


async def _drain(request: AsyncIterator[Any]) -> None:
    """Let an upload end before its refusal: who is still writing would see a broken stream, not the reason."""
    read = 0
    async for part in request:
        read += part.ByteSize()
        if read > _DRAINED_BYTES:
            return


class Callers:
    """Agents by certificate, looked up in Postgres at most every second each."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions
        self._known: dict[tuple[str, str], tuple[Agent, float]] = {}

    async def agent(self, context: Context, *, role: Role | None = None) -> Agent:
        """Raises: NotYours without a certificate of ours; AgentRevoked when it counts no more."""
        found = await self.whoever(context)
        if found.is_barred:
            raise AgentRevoked
        if role is not None and found.role is not role:
            raise NotYours(f"Only a {role} agent may ask this.")
        return found

    async def whoever(self, context: Context) -> Agent:
        """The same, revoked or not. An agent whose certificate was replaced counts as revoked."""
        account, agent_id, serial = _certificate(context)
        known = self._known.get((agent_id, serial))
        if known is not None and clock.monotonic() - known[1] < _REMEMBERED_S:
            return known[0]
        async with self._transactions() as session:
            found = await store.find_agent(session, agent_id)
        if found is None or found.account != account or (found.certificate != serial and not found.is_barred):
            raise AgentRevoked(status=AgentStatus.REVOKED.value)
        if len(self._known) >= _REMEMBERED_MAX:
            self._known.clear()
        self._known[agent_id, serial] = (found, clock.monotonic())
        return found

    async def still_count(self, known: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
        """Those of these (agent, certificate) that count now. Raises: Unavailable."""
        async with self._transactions() as session:
            counting = await store.list_counting(session, {agent for agent, _ in known})
        return counting.intersection(known)


def _certificate(context: Context) -> tuple[str, str, str]:
    """(account, agent, serial)"""
    proven = context.auth_context()
    names = [agent_of(bytes(v).decode(errors="replace")) for v in proven.get("x509_subject_alternative_name", [])]
    if len(names) != 1 or names[0] is None:
        raise NotYours("The client certificate names no agent of ours.")
    pem = b"".join(bytes(v) for v in proven.get("x509_pem_cert", []))
    return *names[0], serial_of(pem)
