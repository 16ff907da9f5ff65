"""Which changes of a stack's code and of a stack's state make sense: two tables, every pair answered."""

from collections.abc import Mapping
from enum import StrEnum

from stackly.errors import Conflict
from stackly.stacks.model import HOLDS_RESOURCES, CodeStatus, StateStatus


class StateEvent(StrEnum):
    DEPLOYED = "deployed"  # resources exist, or may: written before the first create
    CODE_GONE = "code_gone"
    CODE_BACK = "code_back"
    ASSOCIATED = "associated"
    DESTROY_ASKED = "destroy_asked"
    DESTROY_ENDED = "destroy_ended"  # an inventory shows nothing
    DESTROY_FAILED = "destroy_failed"
    DESTROY_CANCELLED = "destroy_cancelled"
    WAIVED = "waived"


class CodeEvent(StrEnum):
    FOUND = "found"  # in a commit, and valid
    FOUND_INVALID = "found_invalid"
    GONE_HOLDING = "gone_holding"  # while a state holds resources
    GONE_EMPTY = "gone_empty"


class StateMoveRefused(Conflict):
    title = "The stack state's status does not allow this."


class CodeMoveRefused(Conflict):
    title = "The stack's status does not allow this."


_S, _E = StateStatus, StateEvent
_C, _V = CodeStatus, CodeEvent

# What is not here is refused; a status that maps to itself is a no-op.
TRANSITIONS: Mapping[StateStatus, Mapping[StateEvent, StateStatus]] = {
    _S.EMPTY: {
        _E.DEPLOYED: _S.ACTIVE,
        _E.CODE_GONE: _S.EMPTY,
        _E.CODE_BACK: _S.EMPTY,
        _E.DESTROY_ENDED: _S.EMPTY,
        _E.DESTROY_FAILED: _S.EMPTY,
        _E.DESTROY_CANCELLED: _S.EMPTY,
    },
    _S.ACTIVE: {
        _E.DEPLOYED: _S.ACTIVE,
        _E.CODE_GONE: _S.LOOSE,
        _E.CODE_BACK: _S.ACTIVE,
        _E.DESTROY_ASKED: _S.DESTROYING,
        _E.DESTROY_ENDED: _S.DESTROYED,
        _E.DESTROY_FAILED: _S.ACTIVE,
        _E.DESTROY_CANCELLED: _S.ACTIVE,
        _E.WAIVED: _S.WAIVED,
    },
    _S.LOOSE: {
        # An apply that was under way when its code went: the resources are there, the code still is not.
        _E.DEPLOYED: _S.LOOSE,
        _E.CODE_GONE: _S.LOOSE,
        _E.CODE_BACK: _S.ACTIVE,
        _E.ASSOCIATED: _S.ACTIVE,
        _E.DESTROY_ASKED: _S.DESTROYING,
        _E.DESTROY_ENDED: _S.DESTROYED,
        _E.DESTROY_FAILED: _S.LOOSE,
        _E.DESTROY_CANCELLED: _S.LOOSE,
        _E.WAIVED: _S.WAIVED,
    },
    _S.DESTROYING: {
        _E.DEPLOYED: _S.DESTROYING,
        _E.CODE_GONE: _S.DESTROYING,
        _E.CODE_BACK: _S.DESTROYING,
        _E.DESTROY_ASKED: _S.DESTROYING,
        _E.DESTROY_ENDED: _S.DESTROYED,
        _E.DESTROY_FAILED: _S.ACTIVE,
        _E.DESTROY_CANCELLED: _S.ACTIVE,
        _E.WAIVED: _S.WAIVED,
    },
    _S.DESTROYED: {
        _E.DEPLOYED: _S.ACTIVE,
        _E.CODE_GONE: _S.DESTROYED,
        _E.CODE_BACK: _S.DESTROYED,
        _E.DESTROY_ENDED: _S.DESTROYED,
        _E.DESTROY_FAILED: _S.DESTROYED,
        _E.DESTROY_CANCELLED: _S.DESTROYED,
    },
    _S.WAIVED: {
        _E.DEPLOYED: _S.ACTIVE,
        _E.CODE_GONE: _S.WAIVED,
        _E.CODE_BACK: _S.WAIVED,
        _E.DESTROY_ENDED: _S.DESTROYED,
        _E.DESTROY_FAILED: _S.WAIVED,
        _E.DESTROY_CANCELLED: _S.WAIVED,
        _E.WAIVED: _S.WAIVED,
    },
}

CODE_TRANSITIONS: Mapping[CodeStatus, Mapping[CodeEvent, CodeStatus]] = {
    status: {
        _V.FOUND: _C.ACTIVE,
        _V.FOUND_INVALID: _C.REJECTED,
        _V.GONE_HOLDING: _C.LOOSE,
        _V.GONE_EMPTY: _C.DEREGISTERED,
    }
    for status in (_C.ACTIVE, _C.REJECTED, _C.LOOSE)
} | {
    # Code that comes to a place whose row was deregistered is registered as another row.
    _C.DEREGISTERED: {_V.GONE_EMPTY: _C.DEREGISTERED}
}

_REFUSALS: Mapping[StateEvent, str] = {
    _E.ASSOCIATED: "only a loose state is associated with other code",
    _E.DESTROY_ASKED: "there is nothing to destroy",
    _E.WAIVED: "it holds nothing that could be waived",
}


def after_state(status: str, event: StateEvent) -> StateStatus:
    """Raises: StateMoveRefused."""
    found = TRANSITIONS[StateStatus(status)].get(event)
    if found is None:
        raise StateMoveRefused(f"The state is {status}: {_REFUSALS[event]}.", status=status, event=event)
    return found


def after_code(status: str, event: CodeEvent) -> CodeStatus:
    """Raises: CodeMoveRefused."""
    found = CODE_TRANSITIONS[CodeStatus(status)].get(event)
    if found is None:
        raise CodeMoveRefused(
            "The stack was deregistered; code at its place is registered as a new stack.", status=status, event=event
        )
    return found


def holds(status: str) -> bool:
    return status in HOLDS_RESOURCES
