"""Leases and agents that stand still while a gateway served them are gone (engine rule 18)."""

from collections.abc import Callable
from datetime import timedelta

from stackly import clock, log
from stackly.agents import store as agents
from stackly.db import Session, Transactions
from stackly.events import store as events
from stackly.events.model import Bell
from stackly.ids import AgentId
from stackly.runs import steps
from stackly.temporal.steps import STEP_GRACE, STEP_MARGIN, STEP_TTL

_log = log.get("engine")

# Recovery begins only when the agent has surely stopped: its own limit, its grace, and a margin (engine rule 12).
GONE_AFTER = STEP_TTL + STEP_GRACE + STEP_MARGIN
# Units: seconds. Of a longer stretch between two looks nobody knows how much of it was served.
_LONGEST_STRETCH_S = 10.0


class ServedTime:
    """A clock that goes only while agents can be heard: when a gateway's counter moved between two looks."""

    def __init__(self) -> None:
        self._passed = 0.0
        self._last: tuple[int | None, float] | None = None

    def at(self, served: int | None, now: float) -> float:
        """Units: seconds. `served` None: there is no gateway that counts, and all time passes."""
        if self._last is not None and (served is None or served != self._last[0]):
            self._passed += min(now - self._last[1], _LONGEST_STRETCH_S)
        self._last = (served, now)
        return self._passed


class Reaper:
    """Watches counters on the time that was served; after a start, or when Postgres was away, it counts anew."""

    def __init__(
        self,
        transactions: Transactions,
        *,
        gone_after: timedelta = GONE_AFTER,
        now: Callable[[], float] = clock.monotonic,
    ) -> None:
        self._transactions = transactions
        self._now = now
        self._gone_after = gone_after
        self.forget()

    def forget(self) -> None:
        """Postgres was away: nobody could renew, so nobody's stillness counts."""
        self._time = ServedTime()
        self._steps = steps.Seen[steps.StepId](self._gone_after)
        self._edges = steps.Seen[AgentId](self._gone_after)

    async def look(self) -> list[steps.StepId]:
        """One look at every running step and edge agent. Returns the steps that were marked gone for their lease."""
        async with self._transactions() as session:
            at = self._time.at(await agents.served(session), self._now())
            gone = await steps.reap(session, self._steps, at)
            await self._lose_edges(session, at)
        for key in gone:
            _log.warning("step.gone", run_id=key.run, test=key.test, step=key.step, attempt=key.attempt)
        return gone

    async def _lose_edges(self, session: Session, at: float) -> None:
        """An edge agent is never started again: its steps are gone with it, and its test is rung."""
        for agent, beat in sorted(self._edges.silent(await agents.edge_beats(session), at).items()):
            seconds = f"{self._gone_after.total_seconds():.0f} s"
            lost = await agents.lose_edge(
                session,
                agent,
                beat=beat,
                reason=f"its edge agent sent no heartbeat for {seconds} while the gateway served",
            )
            if lost is not None:
                await steps.report_gone(session, agent, "")
                await events.ring(session, Bell.TEST_RING, f"{lost.run}/{lost.test}")
                _log.warning("edge.lost", agent=agent, run=lost.run, test=lost.test, machine=lost.machine)
