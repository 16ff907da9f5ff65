"""The reconciler: rows that nobody carries out get a workflow again; the third time, they fail and are torn down."""

from contextlib import suppress
from datetime import timedelta

from stackly import db, log
from stackly.control.dispatcher import bells
from stackly.control.dispatcher.carrying import Carrier, carrier
from stackly.control.dispatcher.outbox import Dispatch
from stackly.db import Session
from stackly.engine import acts, expecting, teardowns
from stackly.events import store as events
from stackly.events.model import Bell
from stackly.runs import queue, store
from stackly.runs import tests as tests_store
from stackly.runs.model import RunEvent
from stackly.runs.queue import Carried
from stackly.spec.runs import TEST_ENDED, RunKind, TestStatus
from stackly.teardown import service as teardown
from stackly.teardown import store as obligations
from stackly.teardown.model import Obligation
from stackly.temporal.steps import run_workflow_id, test_workflow_id

_log = log.get("engine")

MAX_RESTARTS = 3
# A row younger than this may not have its workflow yet: its doorbell is on the way.
YOUNG_S = 10.0


async def reconcile(dispatch: Dispatch) -> int:
    """Compare open rows with open workflows. Returns how many were started anew or ended."""
    async with dispatch.transactions() as session:
        rows = await queue.carried(session, older_than_s=YOUNG_S)
    dispatch.unreconciled.keep([_workflow_id(row) for row in rows])
    due = [row for row in rows if dispatch.unreconciled.is_due(_workflow_id(row))]
    return await acts.each(dispatch.transactions, "reconcile", due, lambda row: _tried(dispatch, row), _workflow_id)


async def _tried(dispatch: Dispatch, row: Carried) -> bool:
    """One that fails unforeseen is left alone ever longer."""
    try:
        done = await _reconcile(dispatch, row)
    except Exception as e:
        if not acts.is_outage(e):
            dispatch.unreconciled.failed(_workflow_id(row))
        raise
    dispatch.unreconciled.went_well(_workflow_id(row))
    return done


def _workflow_id(row: Carried) -> str:
    return test_workflow_id(row.run, row.test) if row.test else run_workflow_id(row.run)


def _kind(row: Carried) -> str:
    return "TestRun" if row.test else "Run"


async def _reconcile(dispatch: Dispatch, row: Carried) -> bool:
    found = await carrier(dispatch.client, _workflow_id(row), _kind(row), timeout=bells.DEADLINE)
    if found is Carrier.CARRIES and not (row.overdue or row.outdated):
        return False
    if found in {Carrier.CARRIES, Carrier.STRANGER}:
        await bells.terminate(dispatch.client, _workflow_id(row))
    if row.overdue or (row.restarts >= MAX_RESTARTS and not row.outdated):
        await _give_up(dispatch, row)
        return True
    async with dispatch.transactions() as session:
        if not await _still_open(session, row):
            return False
        # Code that changed under a workflow is not its own doing.
        restarts = await queue.forget_execution(session, row, counted=found is Carrier.ENDED and not row.outdated)
        if row.outdated and not row.test:
            await expecting.let_through_before(session, row.run)
    _log.warning("workflow.restarted", run_id=row.run, test=row.test, restarts=restarts, why=found.value)
    if row.test:
        await bells.start_test(dispatch.client, row.run, row.test)
    else:
        await bells.start_run(dispatch.client, row.run, again=True)
    return True


async def _still_open(session: Session, row: Carried) -> bool:
    """It may have ended between the look at the row and the look at Temporal."""
    if row.test:
        test = await tests_store.get_test(session, row.run, row.test, lock=True)
        return test.status not in TEST_ENDED
    run = await store.get_run(session, row.run, lock=True)
    return not run.is_terminal


async def _give_up(dispatch: Dispatch, row: Carried) -> None:
    why = "past its deadline" if row.overdue else f"its workflow failed {MAX_RESTARTS} times"
    async with dispatch.transactions() as session:
        run = await store.get_run(session, row.run, lock=True)
        at = await db.now(session)
        if row.test:
            test = await tests_store.get_test(session, row.run, row.test, lock=True)
            if test.status in TEST_ENDED:
                return
            if test.state is not None:
                await obligations.make_due(session, test.state, at, reason=why)
            reasons = [*test.reasons, why]
            await tests_store.end_open_phases(session, row.run, row.test, at, "failed", why)
            await tests_store.update_test(
                session, row.run, row.test, status=TestStatus.FAILED.value, reasons=reasons, deadline=None
            )
            await events.ring(session, Bell.RUN_RING, row.run)
        elif not run.is_terminal:
            if run.kind is RunKind.DESTROY:
                await teardowns.ended(session, run, error=why, at=at)
            await tests_store.end_open_phases(session, run.id, "", at, "failed", why)
            await store.transition(session, run, RunEvent.FAIL, at=at, reason=why)
    _log.error("workflow.given_up", run_id=row.run, test=row.test, reason=why)


async def sweep_obligations(dispatch: Dispatch) -> int:
    """Ask for the destroy of every state whose obligation is due and that nobody destroys."""
    async with dispatch.transactions() as session:
        due = await obligations.due(session, limit=50)
    return await acts.each(
        dispatch.transactions, "obligation", due, lambda one: _sweep(dispatch, one), lambda one: one.id
    )


async def _sweep(dispatch: Dispatch, obligation: Obligation) -> bool:
    """One that fails unforeseen comes after all others: only so many are looked at at once."""
    try:
        return await _ask_destroy(dispatch, obligation)
    except Exception as e:
        if not acts.is_outage(e):
            await _delay(dispatch, obligation)
        raise


async def _delay(dispatch: Dispatch, obligation: Obligation) -> None:
    with suppress(Exception):  # the first error is the one to tell
        async with dispatch.transactions() as session:
            await obligations.renew(session, obligation.state, await db.now(session) + acts.UNFORESEEN_CAP)


async def _ask_destroy(dispatch: Dispatch, obligation: Obligation) -> bool:
    async with dispatch.transactions() as session:
        if await _is_carried(session, obligation.state):
            await obligations.renew(session, obligation.state, await db.now(session) + timedelta(minutes=15))
            return False
        run = await teardown.request_destroy(session, obligation, cause="sweep", reason="its obligation is due")
    return run is not None


async def _is_carried(session: Session, state: str) -> bool:
    """A live test tears its own state down; the sweeper comes only when there is none."""
    return await tests_store.has_open_test(session, state)


async def expire(dispatch: Dispatch) -> int:
    """Waiting runs past their deadline end, with what they waited for as the reason."""
    async with dispatch.transactions() as session:
        runs = await queue.expired(session, limit=100)
    return await acts.each(dispatch.transactions, "expire", runs, lambda run: _expire(dispatch, run))


async def _expire(dispatch: Dispatch, run_id: str) -> bool:
    try:
        return await _end_expired(dispatch, run_id)
    except Exception as e:
        if not acts.is_outage(e):
            with suppress(Exception):  # the first error is the one to tell
                async with dispatch.transactions() as session:
                    await queue.prolong(session, run_id, by=acts.UNFORESEEN_CAP)
        raise


async def _end_expired(dispatch: Dispatch, run_id: str) -> bool:
    async with dispatch.transactions() as session:
        run = await queue.lock_expired(session, run_id)
        if run is None:
            return False
        at = await db.now(session)
        reason = f"waited for {run.blocker or 'its turn'} until its deadline"
        if run.kind is RunKind.DESTROY:
            await teardowns.ended(session, run, error=reason, at=at)
        await store.transition(session, run, RunEvent.FAIL, at=at, reason=reason)
    return True
