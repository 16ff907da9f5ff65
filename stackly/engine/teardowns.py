"""What ends a teardown: an inventory that an agent took of the target itself, and what it means for rows."""

from dataclasses import asdict
from datetime import datetime

from stackly.agents import store as agents
from stackly.db import Session
from stackly.engine.contracts.control import VerifyAnswer
from stackly.engine.contracts.site import InventoryOutcome
from stackly.events import store as events
from stackly.events.model import Bell
from stackly.runs.model import Run
from stackly.stacks import store as stacks
from stackly.suites import store as suites
from stackly.teardown import service, store


async def verify(session: Session, run: Run, seen: InventoryOutcome) -> VerifyAnswer:
    """Store what was seen; nothing left of the owner closes the obligation and frees what it held."""
    owner_run, owner_test = str(run.spec.get("owner_run") or ""), str(run.spec.get("owner_test") or "")
    items = [asdict(i) for i in seen.items]
    await store.store_inventory(
        session,
        target=seen.target,
        agent=run.agent or "",
        items=items,
        owner_run=owner_run,
        owner_test=owner_test,
    )
    left = [f"{i.kind} {i.id}" for i in seen.items]
    if left:
        return VerifyAnswer(empty=False, left=left)
    await stacks.get_state(session, run.state, lock=True)
    await suites.release_for_state(session, run.state)
    if owner_run:
        await agents.retire_edges(session, owner_run, owner_test)
    await service.met(session, run, reason="the inventory is empty")
    if owner_run and owner_test:
        await events.ring(session, Bell.TEST_RING, f"{owner_run}/{owner_test}")
    return VerifyAnswer(empty=True, left=[])


async def ended(session: Session, run: Run, *, error: str, at: datetime) -> None:
    """A destroy run ended; when it failed, its obligation falls due again."""
    if error:
        await service.failed(session, run, error=error, at=at)
