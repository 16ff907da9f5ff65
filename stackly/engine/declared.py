"""The states a stack declares: one that is declared no more is loose, one that is declared again is not."""

from collections.abc import Mapping

from stackly.db import Session
from stackly.engine.notes import Notes
from stackly.events.model import EventName
from stackly.stacks import lifecycle, registry_store
from stackly.stacks.model import FoundStack, StackCode, StackKind, StackState, StateStatus
from stackly.stacks.transitions import StateEvent


async def reconcile(
    session: Session, notes: Notes, written: Mapping[str, StackCode], found: Mapping[str, FoundStack]
) -> None:
    """Bring the named states of valid plain stacks to what their configurations say. Shape: both by path."""
    valid = {c.id: c for p, c in written.items() if c.kind == StackKind.PLAIN and not found[p].errors}
    for state in await registry_store.named_states(session, valid) if valid else []:
        code = valid[state.code]
        names = {s["name"] for s in code.config.get("states", [])}
        if state.name not in names:
            await _undeclared(session, notes, code, state)
        elif state.status == StateStatus.LOOSE and state.successor is None:
            await lifecycle.move_state(session, state.id, StateEvent.CODE_BACK)


async def _undeclared(session: Session, notes: Notes, code: StackCode, state: StackState) -> None:
    """What it holds stays."""
    reason = f"state {state.name} is declared in {code.path}/stackly.hcl no more"
    if state.status != StateStatus.ACTIVE:
        return
    ends = f"{reason}; `stackly stack destroy {code.id} --state {state.name}` ends it"
    await lifecycle.move_state(session, state.id, StateEvent.CODE_GONE, reason=ends)
    payload = {"stack": code.name, "path": code.path, "ref": code.ref, "states": [state.name], "reason": reason}
    notes.fact(f"stack/{code.id}", EventName.STACK_LOOSENED, payload | {"commit": code.commit})
