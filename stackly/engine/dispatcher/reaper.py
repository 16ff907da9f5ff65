"""Leases that stand still: a step whose counter did not change for its time to live is gone (ENGINE rule 18)."""

from datetime import timedelta

from stackly import clock, log
from stackly.db import Transactions
from stackly.engine.contracts.steps import STEP_GRACE, STEP_MARGIN, STEP_TTL
from stackly.runs import steps

_log = log.get("engine")

# Recovery begins only when the agent has surely stopped: its own limit, its grace, and a margin (ENGINE rule 12).
GONE_AFTER = STEP_TTL + STEP_GRACE + STEP_MARGIN


class Reaper:
    """Watches counters on its own monotonic clock; after a start, or when Postgres was away, it counts anew."""

    def __init__(self, transactions: Transactions, *, gone_after: timedelta = GONE_AFTER) -> None:
        self._transactions = transactions
        self._gone_after = gone_after
        self._seen = steps.Seen(gone_after)

    async def look(self) -> list[steps.StepId]:
        """One look at every running step. Returns those that were marked gone by it."""
        async with self._transactions() as session:
            gone = await steps.reap(session, self._seen, clock.monotonic())
        for key in gone:
            _log.warning("step.gone", run_id=key.run, test=key.test, step=key.step, attempt=key.attempt)
        return gone

    def forget(self) -> None:
        """Postgres was away: nobody could renew, so nobody's stillness counts."""
        self._seen = steps.Seen(self._gone_after)
