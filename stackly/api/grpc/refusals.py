"""What an agent asked of Temporal and may not: a recorded fact, once for each agent, method and reason."""

from temporalio.api.workflowservice.v1 import request_response_pb2 as temporal

from stackly import log
from stackly.agents.model import Agent
from stackly.db import Transactions
from stackly.errors import Denied, Unavailable
from stackly.events import store as events
from stackly.events.model import EventName

_log = log.get("gateway")
_SHOWN = 120
_REMEMBERED = 4096
# Whoever asks for methods of its own making fills no table with them.
_METHODS = frozenset(n.removesuffix("Request") for n in temporal.DESCRIPTOR.message_types_by_name)


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
