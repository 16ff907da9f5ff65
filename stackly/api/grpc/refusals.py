"""What an agent asked for and may not: a recorded fact, once for each agent, method and reason."""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

from temporalio.api.workflowservice.v1 import request_response_pb2 as temporal

from stackly import log
from stackly.agents.model import Agent
from stackly.api.grpc.callers import Callers, Context, guarded
from stackly.db import Transactions
from stackly.errors import Denied, Unavailable
from stackly.events import store as events
from stackly.events.model import EventName
from stackly.wire import gateway_pb2 as wire

_log = log.get("gateway")
_SHOWN = 120
_REMEMBERED = 4096
# Whoever asks for methods of its own making fills no table with them.
_OWN = wire.DESCRIPTOR.services_by_name["AgentGateway"]
_METHODS = frozenset(n.removesuffix("Request") for n in temporal.DESCRIPTOR.message_types_by_name) | frozenset(
    _OWN.methods_by_name
)

R = TypeVar("R")


class Refusals:
    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions
        self._recorded: set[tuple[str, str]] = set()

    async def note(self, agent: Agent, method: str, error: Denied) -> None:
        _log.warning("call.refused", agent=agent.id, method=method[:_SHOWN], reason=error.detail)
        name = method.rpartition("/")[2]
        n = f"{name if name in _METHODS else '?'}/{error.slug()}"
        if (agent.id, n) in self._recorded:
            return
        payload = {"agent": agent.id, "method": method[:_SHOWN], "reason": error.detail}
        try:
            async with self._transactions() as session:
                await events.record(session, agent.account, f"agent/{agent.id}", EventName.CALL_REFUSED, n, payload)
        except Unavailable:  # it is in the log, and refused all the same
            return
        if len(self._recorded) >= _REMEMBERED:
            self._recorded.clear()
        self._recorded.add((agent.id, n))


class Audited(Protocol):
    """A service that knows its callers."""

    @property
    def callers(self) -> Callers: ...
    @property
    def refusals(self) -> Refusals: ...


A = TypeVar("A", bound=Audited)


async def note(service: Audited, context: Context, method: str, error: Denied) -> None:
    """Record what was refused to whoever calls; of who counts no more nothing is recorded."""
    try:
        agent = await service.callers.agent(context)
    except (Denied, Unavailable):
        return
    await service.refusals.note(agent, f"/{_OWN.full_name}/{method}", error)


def audited(method: Callable[[A, Any, Context], Awaitable[R]]) -> Callable[[A, Any, Context], Awaitable[R]]:
    """`guarded`, and a call that is not for this agent leaves its event."""

    async def call(self: A, request: Any, context: Context) -> R:
        try:
            return await method(self, request, context)
        except Denied as e:
            await note(self, context, method.__name__, e)
            raise

    return guarded(call)
