"""What becomes of stacks and their states when code comes, moves and goes. Nothing here ever destroys."""

from stackly.db import Session
from stackly.stacks import store
from stackly.stacks.model import HOLDS_RESOURCES, StackCode, StackState


async def code_gone(session: Session, code: StackCode, *, reason: str) -> list[StackState]:
    """The code went away. Returns the states that hold resources: they are loose now, and so is the stack."""
    holding = [s for s in await store.states_of(session, code.id) if s.status in HOLDS_RESOURCES]
    for state in holding:
        await store.update_state(session, state.id, status="loose")
    await store.set_code_status(session, code.id, "loose" if holding else "deregistered", reason)
    return holding
