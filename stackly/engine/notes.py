"""What one sync says: facts and decisions, collected while it decides, written in two statements at its end."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from stackly.db import Session
from stackly.events import store as events
from stackly.events.model import DecisionRecord, EventName


class Notes:
    """Shape: each fact once per subject, name and generation of the ref."""

    def __init__(self, account: str, generation: int, at: datetime) -> None:
        self.generation = generation
        self._account = account
        self._at = at
        self._facts: list[events.Fact] = []
        self._decisions: list[DecisionRecord] = []

    def fact(self, subject: str, name: EventName, payload: Mapping[str, Any], *, part: str = "") -> None:
        n = f"{self.generation}/{part}" if part else f"{self.generation}"
        self._facts.append(events.Fact(self._account, subject, name, n, payload))

    def no_run(self, subject: str, why: str, inputs: Mapping[str, Any], *, part: str = "") -> None:
        """A decision as well: "no run, because". Shape: `part` is a state's name, where a stack has several."""
        node = {"policy": "", "outcome": "no_run", "rule": "push", "text": why}
        record = DecisionRecord(
            account=self._account,
            subject=subject,
            generation=self.generation,
            question="push",
            operation=None,
            inputs=dict(inputs),
            tzdata="",
            at=self._at,
            decision="no_run",
            tree=[node],
            next_check=None,
        )
        self._decisions.append(record)
        n = f"{self.generation}/{part}" if part else f"{self.generation}"
        payload = {**inputs, "reason": why}
        self._facts.append(events.Fact(self._account, subject, EventName.RUN_NOT_CREATED, n, payload))

    async def write(self, session: Session) -> None:
        await events.record_all(session, self._facts)
        await events.record_decisions(session, self._decisions)
