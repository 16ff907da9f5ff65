"""Commands on runs: ask for one, cancel one. Nothing here waits and nothing here talks to Temporal."""

from dataclasses import replace

from stackly import db
from stackly.db import Session
from stackly.errors import Conflict
from stackly.events import store as events
from stackly.events.model import Bell, EventName
from stackly.runs import store
from stackly.runs.model import (
    QUEUE_PATIENCE,
    SUPERSEDING,
    Blocker,
    NewRun,
    Run,
    RunEvent,
    Waiting,
)
from stackly.stacks import store as stacks


class RunEnded(Conflict):
    title = "The run has ended already."


async def create_run(session: Session, new: NewRun) -> Run | None:
    """Queue a run under its state's row lock, which the caller may hold; supersede what it replaces; ring admission.

    Returns None when this very cause has made its run already, so that a repeated sync is harmless.
    """
    await stacks.get_state(session, new.state, lock=True)
    at = await db.now(session)
    if new.slot is not None and new.kind in SUPERSEDING:
        for older in await store.queued_in_slot(session, new.state, new.slot):
            if older.generation >= new.generation:
                return None
            await store.transition(
                session, older, RunEvent.SUPERSEDE, at=at, reason=f"a newer push to {new.branch} ({new.commit[:7]})"
            )
            if older.is_admitted:
                await events.ring(session, Bell.RUN_RING, older.id)  # its workflow waits for a vote
    seq = await stacks.next_seq(session, new.state)
    waiting = Waiting(Blocker.QUEUE, "waiting for admission", at + QUEUE_PATIENCE, next_check=at)
    run = await store.insert_run(session, new, seq=seq, waiting=waiting)
    if run is None:
        return None
    await events.record(
        session,
        run.account,
        f"run/{run.id}",
        EventName.RUN_CREATED,
        "",
        {"run": run.id, "kind": run.kind, "stack": run.code, "commit": run.commit, "trigger": dict(run.trigger)},
    )
    await events.ring(session, Bell.ADMIT, run.account)
    return run


async def cancel(session: Session, account: str, run_id: str, *, actor: str) -> Run:
    """Set the column and ring; a run that was not admitted ends here (ENGINE rule 9).

    Raises: RunEnded.
    """
    run = await store.get_run(session, run_id, lock=True, account=account)
    if run.is_terminal:
        raise RunEnded(f"Run {run.id} is {run.status}.", run=run.id, status=run.status)
    await store.request_cancel(session, run.id)
    if not run.is_admitted:
        at = await db.now(session)
        return await store.transition(session, run, RunEvent.CANCEL, at=at, reason=f"cancelled by {actor}")
    await events.ring(session, Bell.RUN_RING, run.id)
    for test in await store_tests_of(session, run.id):
        await events.ring(session, Bell.TEST_RING, f"{run.id}/{test}")
    return replace(run, cancel_requested=True)


async def store_tests_of(session: Session, run: str) -> list[str]:
    from stackly.runs import tests  # late: tests imports this room's store as well

    return [t.test for t in await tests.list_tests(session, run)]
