"""States whose code moved follow when the plan against the new code changes nothing. Loose ones end when due."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from stackly import clock, log
from stackly.db import Session, Transactions
from stackly.engine import acts
from stackly.engine.contracts.control import RunEnd
from stackly.errors import Conflict
from stackly.runs import planned, queue, reads, service
from stackly.runs import store as runs_store
from stackly.runs import tests as tests_store
from stackly.runs.model import NewRun, Run, RunEvent
from stackly.spec.runs import RunKind
from stackly.stacks import association, lifecycle, loose_store
from stackly.stacks import store as stacks
from stackly.stacks.config import DEFAULT_STATE, StackConfig
from stackly.stacks.model import StackCode, StackKind, StackState, StateStatus
from stackly.stacks.transitions import StateEvent, holds

_log = log.get("engine")

BATCH = 50
_LEARNT = frozenset({"plan", "plans", "images"})


class NeverDeployed(Conflict):
    """A destroy uses the code and the variables of the last deploy."""

    title = "Nothing was ever deployed into this state."


async def follow(session: Session, wanted: Sequence[tuple[StackCode, str, NewRun]]) -> dict[str, dict[str, str]]:
    """Ask for a plan of every state that waits to follow one of these stacks. Call it before asking for their deploys.

    Returns stack id -> state name -> why nothing is deployed into a state of that name now: it would make everything a
    second time. Shape: a stack, a state's name, and its run as for a deploy, with slot and generation; a newer one
    replaces the plans that it finds. Stacks without a waiting state are not in the answer.
    """
    codes = {code.id: code for code, _, _ in wanted if code.kind == StackKind.PLAIN}
    news = {(code.id, name): new for code, name, new in wanted}
    found: dict[str, dict[str, str]] = {}
    for state in await loose_store.waiting_for(session, list(codes)) if codes else []:
        assert state.successor is not None  # that is what was asked for
        code = codes[state.successor]
        # A name that the stack does not declare is told by the default state's run: it has no plan of its own.
        new = news.get((code.id, state.name)) or news.get((code.id, DEFAULT_STATE))
        why = await _plan_for(session, code, state, new) if new is not None else ""
        if why:
            found.setdefault(code.id, {})[state.name] = why
    return found


async def _plan_for(session: Session, code: StackCode, state: StackState, new: NewRun) -> str:
    """Why nothing is deployed beside it; '' when the stack has such a state already, so that this one has to wait."""
    there = await stacks.states_of(session, code.id)
    problems = association.plan_objections(state, code, state.name, there)
    if problems:
        await _stays(session, state, code, "; ".join(problems))
        return "" if any(s.name == state.name and holds(s.status) for s in there) else "; ".join(problems)
    spec = for_state(new.spec, StackConfig.from_json(code.config), state.name)
    asked = replace(
        new,
        state=state.id,
        kind=RunKind.PREVIEW,
        cause=f"move:{code.id}",
        trigger={**new.trigger, "kind": "move", "moved_from": state.code},
        spec=spec,
        digest=None,
        agent=state.agent,
    )
    run = await service.create_run(session, asked)
    origin = await stacks.get_code(session, state.code)
    until = f"state {state.name} of {origin.path} follows when a plan against {code.path} changes nothing"
    return f"{until}{f' (run {run.id})' if run else ''}; nothing is deployed beside it meanwhile"


async def _plan_unplanned(session: Session, state_id: str) -> None:
    """A move that was seen when nothing of the new code changed: what its last run resolved is what is planned."""
    state = await stacks.get_state(session, state_id, lock=True)
    if state.successor is None or not await queue.unplanned(session, limit=1, state=state_id):
        return
    code = await stacks.get_code(session, state.successor)
    base = await reads.find_resolved(session, code.account, code.id, code.commit)
    if base is None:
        return
    new = NewRun(
        account=code.account,
        code=code.id,
        state=state.id,
        kind=RunKind.PREVIEW,
        cause="",
        generation=base["generation"],
        branch=base["branch"],
        commit=base["commit"],
        trigger=base["trigger"],
        spec=base["spec"],
        slot=code.ref,
    )
    await _plan_for(session, code, state, new)


def for_state(spec: Mapping[str, Any], config: StackConfig, state: str) -> dict[str, Any]:
    """What is carried out for that state of the code. Raises: KeyError when the configuration has no such state."""
    return {
        **unlearnt(spec),
        "variables": config.module_variables(state),
        "environment": config.environment(state) or "",
    }


def unlearnt(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A run's spec without what that run learnt while it ran: its plans."""
    return {name: value for name, value in spec.items() if name not in _LEARNT}


async def finish_preview(session: Session, end: RunEnd) -> None:
    """The end of a plan that changes nothing by itself; one asked for by a move decides whether the state follows."""
    seen = await runs_store.get_run(session, end.run)
    code, state = await _locked(session, seen)
    run = await runs_store.get_run(session, end.run, lock=True)
    if run.is_terminal:
        return
    at = clock.parse(end.at)
    status = "failed" if end.error else "succeeded"
    await tests_store.end_open_phases(session, run.id, "", at, status, end.error or None)
    if end.cancelled or run.cancel_requested:
        await runs_store.transition(session, run, RunEvent.CANCEL, at=at, reason="cancelled")
        return
    reason = end.error or None
    if run.trigger.get("kind") == "move":
        reason = await _told(session, run, code, state, end)
    event = RunEvent.FAIL if end.error else RunEvent.SUCCEED
    await runs_store.transition(session, run, event, at=at, reason=reason, changed=end.changed)


async def _locked(session: Session, run: Run) -> tuple[StackCode, StackState]:
    """Codes before states before the run, ascending (engine rule 10)."""
    seen = await stacks.get_state(session, run.state)
    for code in sorted({run.code, seen.code}):
        await stacks.get_code(session, code, lock=True)
    there = await stacks.states_of(session, run.code)
    await stacks.lock_states(session, [run.state, *(s.id for s in there)])
    return await stacks.get_code(session, run.code), await stacks.get_state(session, run.state)


async def _told(session: Session, run: Run, code: StackCode, state: StackState, end: RunEnd) -> str | None:
    """What the plan says about the move, as the state's reason and the run's. None: the state followed."""
    if state.status != StateStatus.LOOSE or state.successor != code.id:
        return f"state {state.name} does not wait to follow {code.path} any more"
    plan: Mapping[str, Any] = run.spec.get("plan") or {}
    why = f"the plan against {code.path} would {planned.amounts(plan)}"
    if end.error:
        why = f"the plan against {code.path} failed: {end.error}"
    elif (state.serial or 0) != (plan.get("serial") or 0):
        why = f"what state {state.name} holds changed while it was planned"
    elif not end.changed:
        how = f"the plan against {code.path} at {run.commit[:7]} changes nothing (run {run.id})"
        try:
            await association.associate(session, state, code, name=state.name, how=how, actor="stackly")
        except association.AssociationRefused as e:
            why = e.detail
        else:
            await stacks.update_state(session, state.id, commit=run.commit)
            return None
    await _stays(session, state, code, why)
    return why


async def _stays(session: Session, state: StackState, code: StackCode, why: str) -> None:
    """It waits for a person, with the evidence and the one command that does it anyway."""
    reason = f"{why}; {lifecycle.follow_command(state, code)}"
    if state.reason != reason:
        await loose_store.write_state(session, state.id, reason=reason)


async def sweep(transactions: Transactions) -> int:
    """Ask for the destroys that are due, and for plans that a move lacks. Returns how many destroys were asked for."""
    async with transactions() as session:
        await lifecycle.states_ended(session, limit=BATCH)
        due = await loose_store.due(session, limit=BATCH)
        unplanned = await queue.unplanned(session, limit=BATCH)

    async def plan(state: str) -> None:
        async with transactions() as session:
            await _plan_unplanned(session, state)

    async def end(state: str) -> bool:
        async with transactions() as session:
            return await _ended_by_policy(session, state)

    await acts.each(transactions, "loose plan", unplanned, plan)
    return await acts.each(transactions, "loose destroy", due, end)


async def _ended_by_policy(session: Session, state_id: str) -> bool:
    """Everything is looked at again under the state's lock: it may have been associated, or its code may be back."""
    state = await stacks.get_state(session, state_id, lock=True)
    if state_id not in await loose_store.due(session, limit=1, state=state_id):
        return False
    try:
        run = await request_destroy(
            session,
            state,
            cause=f"policy:{state.destroy_at}",
            trigger={"kind": "policy", "actor": "stackly", "ref": None, "pull_request": None, "paths": []},
            reason=f"its stack is deregistered, and auto_destroy was due: {state.reason}",
        )
    except Conflict as e:
        _log.warning("loose.not_destroyed", state_id=state.id, reason=e.detail)
        await loose_store.write_state(session, state.id, destroy_at=None, reason=e.detail)
        return False
    _log.info("loose.destroy_asked", state_id=state.id, run_id=run.id)
    return True


async def request_destroy(
    session: Session, state: StackState, *, cause: str, trigger: Mapping[str, Any], reason: str
) -> Run:
    """Ask for the destroy of a long-lived state, which the caller has locked; the open one is returned.

    It needs no code of today: the state is destroyed by the code and variables that it was deployed with.
    Raises: NeverDeployed, StateMoveRefused.
    """
    open_ = await runs_store.open_destroy(session, state.id)
    if open_ is not None:
        return open_
    last = await reads.find_deployed(session, state.account, state.id)
    if last is None:
        raise NeverDeployed(f"No run of state {state.name} says how it was made.", state=state.id)
    new = NewRun(
        account=state.account,
        code=state.code,
        state=state.id,
        kind=RunKind.DESTROY,
        cause=cause,
        generation=last["generation"],
        branch=last["branch"],
        commit=last["commit"],
        trigger=trigger,
        spec=last["spec"],
        agent=state.agent,
        reason=reason,
    )
    await lifecycle.move_state(session, state.id, StateEvent.DESTROY_ASKED)
    run = await service.create_run(session, new)
    assert run is not None  # the cause is new
    return run
