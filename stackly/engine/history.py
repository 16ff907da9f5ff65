"""A ref that left its history behind: what stood on it is marked, what waits is void, and administrators are told."""

from collections.abc import Collection, Sequence

from stackly import db
from stackly.approvals import store as approvals
from stackly.db import Session
from stackly.engine.notes import Notes
from stackly.engine.pushes import Pushed, Rewritten
from stackly.events import store as events
from stackly.events.model import Bell, EventName
from stackly.runs import creating
from stackly.runs import store as runs
from stackly.runs.model import TRANSITIONS, Run, RunEvent
from stackly.stacks import refs_store
from stackly.stacks import store as stacks

# An event names so many of the commits; a rewritten history may have thousands.
MAX_TOLD = 100


async def account_for(
    session: Session, pushed: Pushed, notes: Notes, lost: frozenset[str], rewritten: Rewritten | None
) -> None:
    """Mark states that stand on lost commits, unmark those that history came back to, void what waits on lost ones."""
    change = pushed.change
    marked = await refs_store.mark_states(session, change.repo, change.ref, lost=lost, head=change.commit or None)
    await refs_store.set_lost(session, change.repo, change.ref, lost)
    if rewritten is None:
        return
    reason = f"the history of {pushed.branch} was rewritten: {{commit}} is no part of it any more"
    waiting = await creating.waiting_of_ref(session, change.repo, change.ref, sorted(lost))
    ended = await void(session, waiting, reason)
    payload = {
        "audience": "administrators",
        "repo": pushed.repo.full_name,
        "ref": change.ref,
        "kind": rewritten.kind,
        "before": rewritten.before,
        "commit": change.commit,
        "merge_base": rewritten.base,
        "lost_commits": sorted(lost)[:MAX_TOLD],
        "states": [
            {"stack": m.name, "stack_id": m.stack, "path": m.path, "state": m.state, "commit": m.commit} for m in marked
        ],
        "runs_ended": ended,
    }
    notes.fact(f"push/{change.repo}/{change.ref}", EventName.HISTORY_REWRITTEN, payload)


async def end_waiting(session: Session, codes: Collection[str], reason: str) -> list[str]:
    """The code of these stacks is gone: nothing that waits for them begins any more."""
    return await void(session, await creating.waiting_of_codes(session, codes), reason)


async def void(session: Session, runs_: Sequence[str], reason: str) -> list[str]:
    """End runs that have not begun to change anything; plans and approvals of theirs count no more. Returns their ids.

    A push's is superseded, a person's rejected. Shape: `{commit}` in the reason becomes the run's commit.
    """
    seen = await creating.open_runs(session, runs_)
    await stacks.lock_states(session, sorted({r.state for r in seen}))
    at = await db.now(session)
    ended = []
    for run in await creating.open_runs(session, runs_, lock=True):
        event = _end_of(run)
        if event is None:
            continue
        why = reason.replace("{commit}", run.commit[:7])
        request = await approvals.open_request(session, run.id)
        if request is not None:
            await approvals.close_request(session, request.id, "void", why)
        await runs.transition(session, run, event, at=at, reason=why)
        if run.is_admitted:
            await events.ring(session, Bell.RUN_RING, run.id)  # its workflow may wait for a vote
        ended.append(str(run.id))
    return ended


def _end_of(run: Run) -> RunEvent | None:
    """None for one that has begun: it is carried to its end."""
    if run.status not in creating.BEFORE_ANY_CHANGE[run.kind]:
        return None
    first = RunEvent.SUPERSEDE if run.slot is not None else RunEvent.REJECT
    return first if first in TRANSITIONS[run.status] else RunEvent.CANCEL
