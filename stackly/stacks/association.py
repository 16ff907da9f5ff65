"""Giving a loose state other code: when that makes sense, and the change itself."""

from collections.abc import Sequence

from stackly import db
from stackly.db import Session
from stackly.errors import Conflict
from stackly.events import store as events
from stackly.events.model import EventName
from stackly.stacks import lifecycle, loose_store, store
from stackly.stacks.config import StackConfig
from stackly.stacks.model import CodeStatus, StackCode, StackKind, StackState, StateStatus
from stackly.stacks.transitions import StateEvent, holds


class AssociationRefused(Conflict):
    """Nothing was changed; every reason is listed in `problems`."""

    title = "This state cannot be associated with that stack."


def objections(state: StackState, target: StackCode, name: str, there: Sequence[StackState]) -> list[str]:
    """Everything that speaks against it, in sentences that say what to do. Shape: `there` are the target's states."""
    return _of_state(state) + plan_objections(state, target, name, there)


def plan_objections(state: StackState, target: StackCode, name: str, there: Sequence[StackState]) -> list[str]:
    """Those that make a plan of the state against that stack pointless."""
    found = _of_target(target)
    if not found:
        found += _of_variables(target, name)
    taken = next((s for s in there if s.name == name and s.id != state.id), None)
    if taken is not None and holds(taken.status):
        found.append(f"{target.path} has a state {name} of its own, which holds resources; choose another name")
    return found


def refused(state: StackState, target: StackCode, problems: Sequence[str]) -> AssociationRefused:
    return AssociationRefused("; ".join(problems), problems=list(problems), state=state.id, stack=target.id)


def _of_state(state: StackState) -> list[str]:
    found = []
    if state.status != StateStatus.LOOSE:
        found.append(f"state {state.name} is {state.status}, and only a loose state is associated with other code")
    if state.serial is None or not state.lineage:
        found.append(f"no version of state {state.name} was ever stored, so nothing is known of what it holds")
    return found


def _of_target(target: StackCode) -> list[str]:
    if target.status != CodeStatus.ACTIVE:
        why = f": {target.reason}" if target.reason else ""
        return [f"{target.path} is {target.status}{why}"]
    found = []
    if target.kind != StackKind.PLAIN:
        found.append(f"{target.path} is {target.kind}: only a plain stack, one without a suite, has lasting states")
    if target.bundle is None:
        found.append(f"the code of {target.path} was not stored; push it again")
    return found


def _of_variables(target: StackCode, name: str) -> list[str]:
    config = StackConfig.from_json(target.config)
    try:
        given = config.state_variables(name)
    except KeyError:
        return [f'{target.path}/stackly.hcl has no state "{name}": add it, or give the state another name']
    if target.requires is None and target.warnings:
        return []  # a file that could not be read: Terraform judges at the plan
    if target.requires is None:
        return [f"the variables of {target.path} were not read yet; push it again"]
    return [
        f'variable "{missing}" of {target.path} has no default, and its stackly.hcl gives none for state {name}'
        for missing in target.requires
        if missing not in given
    ]


async def associate(
    session: Session, state: StackState, target: StackCode, *, name: str, how: str, actor: str
) -> StackState:
    """The state belongs to that stack from now on, and is active. Both stacks and the states are locked by the caller.

    An unused state of that name in its place is put aside, with its history: what waits to be deployed there ends at
    its gate. Shape: `how` is the evidence.
    Raises: AssociationRefused with all problems at once; nothing was changed then.
    """
    there = await store.states_of(session, target.id)
    problems = objections(state, target, name, there)
    if problems:
        raise refused(state, target, problems)
    for unused in there:
        if unused.name == name and unused.id != state.id:
            await loose_store.write_state(session, unused.id, name=f"{name}~{unused.id}")
    moved = await lifecycle.move_state(session, state.id, StateEvent.ASSOCIATED, code=target.id, name=name)
    payload = {
        "state": state.id,
        "name": name,
        "from": state.code,
        "to": target.id,
        "stack": target.name,
        "path": target.path,
        "commit": target.commit,
        "how": how,
        "actor": actor,
    }
    at = (await db.now(session)).isoformat()
    subject = f"state/{state.id}"
    await events.record(session, state.account, subject, EventName.STATE_ASSOCIATED, f"{target.id}@{at}", payload)
    await lifecycle.states_ended(session, code=state.code)
    return moved


def is_put_aside(state: str) -> bool:
    """A name that no configuration can give."""
    return "~" in state
