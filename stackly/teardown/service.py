"""Tearing down: who asks for a destroy, what ends an obligation."""

from datetime import datetime

from stackly.accounts import store as accounts
from stackly.db import Session
from stackly.errors import Conflict
from stackly.events import store as events
from stackly.events.model import Bell, EventName
from stackly.ids import AccountId
from stackly.runs import service as runs
from stackly.runs import store as runs_store
from stackly.runs.model import NewRun, Run
from stackly.spec.runs import RunKind
from stackly.stacks import lifecycle
from stackly.stacks import store as stacks
from stackly.stacks.model import StackState
from stackly.stacks.transitions import StateEvent
from stackly.teardown import store
from stackly.teardown.model import Obligation, ObligationNotFound, retry_after


class ObligationClosed(Conflict):
    """It was met, or somebody waived it before."""

    title = "This obligation is not open."


# After this many failed destroys a person may need to look; the tries go on.
STUCK_AFTER = 5


async def request_destroy(session: Session, obligation: Obligation, *, cause: str, reason: str) -> Run | None:
    """Ask for the destroy of an obligation's state; the open one is returned when there is one (engine rule 17).

    Its run gives its hold up in this transaction: admission raises the epoch, and its steps are refused from then on.
    None where there is nothing to ask for: this cause has its run, or the obligation was closed meanwhile.
    """
    state = await stacks.get_state(session, obligation.state, lock=True)
    found = await runs_store.open_destroy(session, obligation.state)
    if found is not None:
        return found
    if await store.find_open(session, obligation.state) is None:
        return None
    owner = await runs_store.get_run(session, obligation.run)
    kit = dict(obligation.kit)
    new = NewRun(
        account=obligation.account,
        code=state.code,
        state=obligation.state,
        kind=RunKind.DESTROY,
        cause=cause,
        generation=await runs_store.count_runs(session, obligation.state),
        branch=owner.branch,
        commit=owner.commit,
        trigger={"kind": "teardown", "actor": "stackly", "ref": None, "pull_request": None, "paths": []},
        spec={**kit, "owner_test": kit.get("owner_test")},
        parent=owner.id,
        agent=kit.get("agent"),
        reason=reason,
    )
    await lifecycle.move_state(session, obligation.state, StateEvent.DESTROY_ASKED)
    return await runs.create_run(session, new)


async def met(session: Session, run: Run, *, reason: str) -> None:
    """An independent inventory shows nothing: the obligation is over, and so is the state."""
    await store.close(session, run.state, status="met", reason=reason)
    state = await lifecycle.move_state(session, run.state, StateEvent.DESTROY_ENDED)
    await lifecycle.states_ended(session, code=state.code)
    payload = {"run": run.id, "state": run.state}
    await events.record(session, run.account, f"state/{run.state}", EventName.OBLIGATION_MET, run.id, payload)


async def waive(session: Session, state: str, *, person: str, reason: str) -> StackState:
    """A named person answers for what the state holds: nobody destroys it any more, whoever was asked before.

    Shape: `person` is an identity. Raises: StateMoveRefused when it holds nothing.
    """
    moved = await lifecycle.move_state(session, state, StateEvent.WAIVED, waived_by=person, reason=reason)
    obligation = await store.find_open(session, state)
    if obligation is not None:
        await store.close(session, state, status="waived", reason=reason, waived_by=person)
        payload = {"state": state, "run": obligation.run, "reason": reason, "by": person}
        await events.record(
            session, moved.account, f"state/{state}", EventName.OBLIGATION_WAIVED, obligation.id, payload
        )
        if moved.test:
            await events.ring(session, Bell.TEST_RING, f"{obligation.run}/{moved.test}")
    destroy = await runs_store.open_destroy(session, state)
    if destroy is not None and not destroy.cancel_requested:
        await runs.cancel(
            session, moved.account, destroy.id, actor=await _login(session, AccountId(moved.account), person)
        )
    await free_waived(session)
    await events.ring(session, Bell.ADMIT, moved.account)
    await lifecycle.states_ended(session, code=moved.code)
    return moved


async def _login(session: Session, account: AccountId, person: str) -> str:
    return next(i.login for i in await accounts.list_identities(session, account) if i.id == person)


async def waive_obligation(session: Session, account: str, obligation: str, *, person: str, reason: str) -> None:
    """Raises: ObligationNotFound, ObligationClosed."""
    found = await store.find(session, account, obligation)
    if found is None:
        raise ObligationNotFound.of(obligation)
    await stacks.get_state(session, found.state, lock=True)
    found = await store.find(session, account, obligation) or found
    if found.status != "open":  # a later one of its state may be
        raise ObligationClosed(f"Obligation {obligation} is {found.status} already.", obligation=obligation)
    await waive(session, found.state, person=person, reason=reason)


async def free_waived(session: Session) -> None:
    """Networks of waived states of which the targets show nothing any more are anybody's again."""
    for account in await store.release_waived(session):
        await events.ring(session, Bell.ADMIT, account)


async def failed(session: Session, run: Run, *, error: str, at: datetime) -> None:
    """The destroy did not empty the inventory: it is asked for again, later each time."""
    obligation = await store.find_open(session, run.state)
    if obligation is None:  # a long-lived state: it is what it was before, and a person decides
        why = f"its destroy failed (run {run.id}): {error}"
        await lifecycle.move_state(session, run.state, StateEvent.DESTROY_FAILED, why=why)
        return
    ladder = obligation.ladder + 1
    due = at + retry_after(obligation.ladder)
    await store.make_due(session, run.state, due, ladder=ladder, reason=error)
    await events.ring(session, Bell.ADMIT, run.account)  # what waits behind it is told by what it is held up
    if ladder >= STUCK_AFTER:
        payload = {"run": run.id, "state": run.state, "tries": ladder, "reason": error}
        await events.record(session, run.account, f"state/{run.state}", EventName.TEARDOWN_STUCK, f"{ladder}", payload)
