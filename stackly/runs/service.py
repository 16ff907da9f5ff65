"""Commands on runs: ask for one, cancel one. Nothing here waits and nothing here talks to Temporal."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from stackly import db
from stackly.db import Session
from stackly.errors import Conflict
from stackly.events import store as events
from stackly.events.model import Bell, EventName
from stackly.runs import creating, store
from stackly.runs.model import QUEUE_PATIENCE, Blocker, NewRun, Run, RunEvent, Waiting
from stackly.spec.runs import SUPERSEDING, RunKind
from stackly.stacks import lifecycle, registry_store
from stackly.stacks import store as stacks
from stackly.stacks.transitions import StateEvent


class RunEnded(Conflict):
    title = "The run has ended already."


async def create_run(session: Session, new: NewRun) -> Run | None:
    """Queue a run under its state's row lock, which the caller may hold; supersede what it replaces; ring admission.

    Returns None when this very cause has made its run already, so that a repeated sync is harmless.
    """
    return (await create_runs(session, [new])).get(new.state)


async def create_runs(session: Session, wanted: Sequence[NewRun]) -> dict[str, Run]:
    """The same for many states of one account, each at most once. Shape: state -> its run, where one was made."""
    await stacks.lock_states(session, [n.state for n in wanted])
    at = await db.now(session)
    blocked = await _superseded(session, wanted, at)
    fresh = [n for n in wanted if n.state not in blocked]
    if not fresh:
        return {}
    seqs = await registry_store.next_seqs(session, [n.state for n in fresh])
    waiting = Waiting(Blocker.QUEUE, "waiting for admission", at + QUEUE_PATIENCE, next_check=at)
    made = await creating.insert_runs(session, [(n, seqs[n.state]) for n in fresh], waiting)
    await events.record_all(session, [_created(run) for run in made])
    if made:
        await events.ring(session, Bell.ADMIT, made[0].account)
    return {run.state: run for run in made}


def _created(run: Run) -> events.Fact:
    payload = {"run": run.id, "kind": run.kind, "stack": run.code, "commit": run.commit, "trigger": dict(run.trigger)}
    return events.Fact(run.account, f"run/{run.id}", EventName.RUN_CREATED, "", payload)


async def _superseded(session: Session, wanted: Sequence[NewRun], at: datetime) -> set[str]:
    """Replace what waits in the slots. Returns the states whose slot holds a run that is not older."""
    slots = {(str(n.state), n.slot): n for n in wanted if n.slot is not None and n.kind in SUPERSEDING}
    waiting = await creating.replaceable(session, slots) if slots else []
    found = [(slots[str(r.state), str(r.slot)], r) for r in waiting]
    blocked = {new.state for new, older in found if older.generation >= new.generation}
    for new, older in found:
        if new.state not in blocked:
            reason = f"a newer push to {new.branch} ({new.commit[:7]})"
            await store.transition(session, older, RunEvent.SUPERSEDE, at=at, reason=reason)
            if older.is_admitted:
                await events.ring(session, Bell.RUN_RING, older.id)  # its workflow waits for a vote
    return blocked


async def cancel(session: Session, account: str, run_id: str, *, actor: str) -> Run:
    """Set the column and ring; a run that was not admitted ends here (engine rule 9).

    Raises: RunEnded.
    """
    seen = await store.get_run(session, run_id, account=account)
    await stacks.get_state(session, seen.state, lock=True)  # before the run (engine rule 10)
    run = await store.get_run(session, run_id, lock=True)
    if run.is_terminal:
        raise RunEnded(f"Run {run.id} is {run.status}.", run=run.id, status=run.status)
    await store.request_cancel(session, run.id)
    if not run.is_admitted:
        at, why = await db.now(session), f"cancelled by {actor}"
        if run.kind is RunKind.DESTROY:
            await lifecycle.move_state(session, run.state, StateEvent.DESTROY_CANCELLED, why=f"its destroy was {why}")
        return await store.transition(session, run, RunEvent.CANCEL, at=at, reason=why)
    await events.ring(session, Bell.RUN_RING, run.id)
    for test in await store_tests_of(session, run.id):
        await events.ring(session, Bell.TEST_RING, f"{run.id}/{test}")
    return replace(run, cancel_requested=True)


async def store_tests_of(session: Session, run: str) -> list[str]:
    from stackly.runs import tests  # late: tests imports this room's store as well

    return [t.test for t in await tests.list_tests(session, run)]
