"""S4: every pair of a status and an event answers, and the rows do what the tables say."""

import itertools

import pytest

from stackly.stacks.model import HOLDS_RESOURCES, CodeStatus, StateStatus
from stackly.stacks.transitions import (
    CODE_TRANSITIONS,
    TRANSITIONS,
    CodeEvent,
    CodeMoveRefused,
    StateEvent,
    StateMoveRefused,
    after_code,
    after_state,
)
from tests.stacks.lifecycle_page import PAGE, page

STATE_PAIRS = list(itertools.product(StateStatus, StateEvent))
CODE_PAIRS = list(itertools.product(CodeStatus, CodeEvent))
# Ends of what is held: an inventory that shows nothing, or a named person.
ENDS = {StateEvent.DESTROY_ENDED, StateEvent.WAIVED}


def refusal(status: StateStatus, event: StateEvent) -> str:
    """Why that pair is refused; '' when it is not."""
    try:
        after_state(status, event)
    except StateMoveRefused as e:
        return e.detail
    return ""


def answer(status: StateStatus, event: StateEvent) -> StateStatus | None:
    return None if refusal(status, event) else after_state(status, event)


@pytest.mark.parametrize(("status", "event"), STATE_PAIRS, ids=str)
def test_every_pair_of_a_state_answers(status: StateStatus, event: StateEvent) -> None:
    why = refusal(status, event)
    if not why:
        assert after_state(status, event) in StateStatus
        return
    assert f"is {status}: " in why
    assert len(why.split()) > 5


@pytest.mark.parametrize(("status", "event"), CODE_PAIRS, ids=str)
def test_every_pair_of_a_stack_answers(status: CodeStatus, event: CodeEvent) -> None:
    if status is not CodeStatus.DEREGISTERED or event is CodeEvent.GONE_EMPTY:
        assert after_code(status, event) in CodeStatus
        return
    with pytest.raises(CodeMoveRefused, match="registered as a new stack"):
        after_code(status, event)


@pytest.mark.parametrize(("status", "event"), STATE_PAIRS, ids=str)
def test_an_event_that_comes_twice_changes_nothing_more(status: StateStatus, event: StateEvent) -> None:
    once = answer(status, event)
    if once is not None and event is not StateEvent.ASSOCIATED:
        again = answer(once, event)
        assert again == once or (event is StateEvent.DESTROY_ASKED and again == StateStatus.DESTROYING)


@pytest.mark.parametrize(("status", "event"), STATE_PAIRS, ids=str)
def test_only_an_inventory_or_a_person_ends_what_is_held(status: StateStatus, event: StateEvent) -> None:
    after = answer(status, event)
    if after is not None and status in HOLDS_RESOURCES and event not in ENDS:
        assert after in HOLDS_RESOURCES


@pytest.mark.parametrize("status", StateStatus)
def test_code_that_goes_never_destroys(status: StateStatus) -> None:
    after = answer(status, StateEvent.CODE_GONE)
    assert after is not None
    assert after == (StateStatus.LOOSE if status is StateStatus.ACTIVE else status)


def test_every_status_is_reached_and_every_event_does_something() -> None:
    moves = [(s, e, t) for s, events in TRANSITIONS.items() for e, t in events.items() if s != t]
    assert {t for _, _, t in moves} == set(StateStatus) - {StateStatus.EMPTY}
    assert {e for _, e, _ in moves} == set(StateEvent)
    assert set(TRANSITIONS) == set(StateStatus)
    assert set(CODE_TRANSITIONS) == set(CodeStatus)


def test_a_loose_state_has_three_ends_and_one_way_back() -> None:
    loose = {e: t for e, t in TRANSITIONS[StateStatus.LOOSE].items() if t is not StateStatus.LOOSE}
    assert loose == {
        StateEvent.CODE_BACK: StateStatus.ACTIVE,
        StateEvent.ASSOCIATED: StateStatus.ACTIVE,
        StateEvent.DESTROY_ASKED: StateStatus.DESTROYING,
        StateEvent.DESTROY_ENDED: StateStatus.DESTROYED,
        StateEvent.WAIVED: StateStatus.WAIVED,
    }


def test_the_page_says_what_the_tables_say() -> None:
    """`python -m tests.stacks.lifecycle_page` writes it."""
    assert PAGE.read_text() == page()
