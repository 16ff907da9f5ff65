"""Facts about a run, as the seed has its events: with their stack, payload, time and context."""

from collections.abc import Mapping
from typing import Any

from stackly.db import Session
from stackly.events import store as events
from stackly.events.model import EventName
from stackly.runs.model import Run


async def tell(
    session: Session, run: Run, name: EventName, n: str = "", payload: Mapping[str, Any] | None = None
) -> bool:
    """Append it once per run and `n`. False when it is there already."""
    said = {
        "run": run.id,
        "stack": str(run.spec.get("stack") or run.code),
        "stack_id": run.code,
        **(payload or {}),
        "context": {
            "kind": run.kind.value,
            "state": run.state,
            "branch": run.branch,
            "commit": run.commit,
            "trigger": run.trigger.get("kind"),
            "actor": run.trigger.get("actor"),
            "environment": run.spec.get("environment") or None,
        },
    }
    return await events.record(session, run.account, f"run/{run.id}", name, n, said)
