"""What becomes of stacks and their states when code comes, moves and goes. Nothing here ever destroys.

A sync says what it saw: `code_gone`, `code_moved`, `code_back`. Each locks the stack's states, and doing it again
changes nothing. `move_state` is the only writer of a state's status, and `transitions` says which moves there are.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from stackly import clock, db
from stackly.db import Session
from stackly.events import store as events
from stackly.events.model import EventName
from stackly.stacks import loose_store, store
from stackly.stacks.config import DEFAULT_STATE
from stackly.stacks.config_schema import AUTO_DESTROY
from stackly.stacks.model import CodeStatus, StackCode, StackState, StateStatus
from stackly.stacks.transitions import CodeEvent, StateEvent, after_code, after_state, holds

_UNTIED: Mapping[str, Any] = {"reason": None, "successor": None, "destroy_at": None, "destroy_left_s": None}


async def move_state(
    session: Session, state: str, event: StateEvent, *, why: str | None = None, **values: Any
) -> StackState:
    """Move a state along `transitions.TRANSITIONS`; it is locked here. A repeated event changes no status.

    Shape: `values` are further columns (reason, commit, agent, code, …); `why` a destroy failed or was called off is
    kept where the state is loose after it. What made it loose goes when that ends.
    Raises: StateMoveRefused.
    """
    seen = await store.get_state(session, state, lock=True)
    status = after_state(seen.status, event)
    if event in {StateEvent.DESTROY_FAILED, StateEvent.DESTROY_CANCELLED} and status is StateStatus.ACTIVE:
        code = await store.get_code(session, seen.code)
        if code.status not in {CodeStatus.ACTIVE, CodeStatus.REJECTED}:
            status = after_state(status, StateEvent.CODE_GONE)
            values = {"reason": _end_it(code, why or code.reason or "its code went away", seen.name)} | values
    if status not in {StateStatus.LOOSE, seen.status}:
        values = {**_UNTIED, **values}
    moved = await loose_store.write_state(session, state, status=status.value, **values)
    if status != seen.status and seen.test is None:
        await _tell(session, moved, before=seen.status, event=event)
    return moved


async def _tell(session: Session, state: StackState, *, before: str, event: StateEvent) -> None:
    at = clock.iso(await db.now(session))
    payload = {
        "state": state.id,
        "stack": state.code,
        "name": state.name,
        "from": before,
        "to": state.status,
        "event": event.value,
        "reason": state.reason,
    }
    n = f"{state.status}@{state.since.isoformat()}@{at}"
    await events.record(session, state.account, f"state/{state.id}", EventName.STATE_CHANGED, n, payload)


async def code_gone(session: Session, code: StackCode, *, reason: str) -> list[StackState]:
    """The code went away. Returns the states that are loose now; what they hold stays, and so does the way to end it.

    A stack none of whose states holds anything is deregistered. With `deregister { action = "auto_destroy" }` in its
    last configuration the loose states get a time at which their destroy is asked for.
    Raises: CodeMoveRefused.
    """
    before = {s.id: s.status for s in await store.states_of(session, code.id)}
    after = await _all_loosened(session, code, reason)
    loose = [s for s in after if s.status == StateStatus.LOOSE]
    for state in loose:
        if before[state.id] == StateStatus.ACTIVE:  # a timer that a person stopped does not come back
            await _schedule(session, code, state)
    return loose


async def code_moved(session: Session, origin: StackCode, code: StackCode, *, same_tree: bool) -> list[StackState]:
    """The code of `origin` stands in `code` now (already written), with the same content or another (`same_tree`).

    Returns the states of `origin` that hold resources: loose, with `code` as their successor, and never destroyed by a
    timer. Whether one follows is what a plan against the new code tells: call `engine.loose.follow` where the deploy of
    `code` would be asked for; it asks for those plans and says why the state is not deployed into meanwhile.
    Raises: CodeMoveRefused.
    """
    how = "moved" if same_tree else "moved, and changed,"
    reason = f"{origin.path} {how} to {code.path} in {code.commit[:7]}"
    waiting = [s for s in await _all_loosened(session, origin, reason) if s.status == StateStatus.LOOSE]
    why = f"{reason}; whether it follows is told by a plan against {code.path}"
    return [
        await loose_store.write_state(
            session, s.id, **{**_UNTIED, "successor": code.id, "reason": f"{why}; {follow_command(s, code)}"}
        )
        for s in waiting
    ]


async def code_back(session: Session, code: StackCode) -> list[StackState]:
    """The code stands at its place again, and is valid (call it after the upsert of a row that was loose).

    Returns its states that were loose: they are active again, and their timers are gone. States that followed other
    code meanwhile stay there.
    """
    back = [s for s in await store.states_of(session, code.id) if s.status == StateStatus.LOOSE]
    if code.status == CodeStatus.LOOSE:
        await store.set_code_status(session, code.id, after_code(code.status, CodeEvent.FOUND), None)
    return [await move_state(session, s.id, StateEvent.CODE_BACK) for s in back]


async def call_off(session: Session, state: StackState, *, actor: str) -> bool:
    """No timer destroys this loose state any more. False when none would have."""
    row = await store.get_state(session, state.id, lock=True)
    if not await loose_store.clear_timer(session, state.id):
        return False
    payload = {"state": state.name, "stack_id": state.code, "destroy_at": row.destroy_at and clock.iso(row.destroy_at)}
    at = (await db.now(session)).isoformat()
    subject, name = f"state/{state.id}", EventName.LOOSE_DESTROY_CANCELLED
    await events.record(session, state.account, subject, name, at, payload | {"actor": actor})
    return True


async def states_ended(session: Session, *, limit: int = 100, code: str | None = None) -> list[StackCode]:
    """Deregister the loose stacks (or this one) of which no state holds anything any more."""
    ended = []
    for each in await loose_store.emptied_codes(session, limit=limit, code=code):
        found = await store.get_code(session, each)
        status = after_code(found.status, CodeEvent.GONE_EMPTY)
        await store.set_code_status(session, each, status, found.reason)
        payload = {"stack": found.name, "path": found.path, "ref": found.ref, "commit": found.commit}
        n = f"emptied@{(await db.now(session)).isoformat()}"
        await events.record(session, found.account, f"stack/{each}", EventName.MODULE_DEREGISTERED, n, payload)
        ended.append(found)
    return ended


async def _all_loosened(session: Session, code: StackCode, reason: str) -> list[StackState]:
    """The states first, then the stack itself: loose while one of them holds resources."""
    after = [await _loosened(session, code, s, reason) for s in await store.states_of(session, code.id)]
    is_holding = any(holds(s.status) for s in after)
    status = after_code(code.status, CodeEvent.GONE_HOLDING if is_holding else CodeEvent.GONE_EMPTY)
    if status != code.status:
        await store.set_code_status(session, code.id, status, reason)
    return after


async def _loosened(session: Session, code: StackCode, state: StackState, reason: str) -> StackState:
    if state.status == StateStatus.LOOSE:
        return state  # since then, and for the reason it was told
    told = {"reason": _end_it(code, reason, state.name)} if state.status == StateStatus.ACTIVE else {}
    return await move_state(session, state.id, StateEvent.CODE_GONE, **told)


async def _schedule(session: Session, code: StackCode, state: StackState) -> None:
    """A timer where the stack's last configuration asks for one; it stands while the repository is out of reach."""
    said: Mapping[str, Any] = code.config.get("deregister") or {}
    if said.get("action") != AUTO_DESTROY:
        return
    after_s = float(said["after_s"])
    repo = await store.get_repo(session, code.repo)
    if repo.status != "active":
        await loose_store.write_state(session, state.id, destroy_left_s=after_s)
        return
    at = await db.now(session) + timedelta(seconds=after_s)
    await loose_store.write_state(session, state.id, destroy_at=at)
    payload = {
        "stack": code.name,
        "stack_id": code.id,
        "state": state.name,
        "destroy_at": clock.iso(at),
        "reason": state.reason,
        "cancel": f"stackly stack destroy {code.id} --state {state.name} --cancel",
    }
    subject = f"state/{state.id}"
    await events.record(session, state.account, subject, EventName.LOOSE_DESTROY_SCHEDULED, at.isoformat(), payload)


def follow_command(state: StackState, code: StackCode) -> str:
    """How a person lets a state follow its code, whatever a plan says."""
    return f"`stackly stack associate {state.code} {code.id}{_named(state.name)}` to do it anyway"


def _named(state: str) -> str:
    return "" if state == DEFAULT_STATE else f" --state {state}"


def _end_it(code: StackCode, reason: str, state: str) -> str:
    """Why it is loose, and both ways out of it."""
    named = _named(state)
    return (
        f"{reason}; `stackly stack associate {code.id} TARGET{named}` gives it other code, "
        f"`stackly stack destroy {code.id}{named}` ends it"
    )
