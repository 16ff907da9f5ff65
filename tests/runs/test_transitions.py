"""The one table of transitions: what can be reached, what cannot be left."""

import itertools
from collections.abc import Mapping

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stackly.runs import model
from stackly.runs.model import TRANSITIONS, RunEvent, TransitionNotAllowed, after
from stackly.spec.runs import ENDED, RunStatus
from tests.runs.lifecycle import PAGE, page

Table = Mapping[RunStatus, Mapping[RunEvent, RunStatus]]
EVENTS = st.lists(st.sampled_from(RunEvent), max_size=40)


def walk(events: list[RunEvent], status: RunStatus = RunStatus.QUEUED) -> list[RunStatus]:
    """Every status that is passed; an event that is refused changes nothing."""
    passed = [status]
    for event in events:
        try:
            passed.append(after(passed[-1], event))
        except TransitionNotAllowed:
            continue
    return passed


def reachable(table: Table, start: RunStatus) -> set[RunStatus]:
    found, todo = {start}, [start]
    while todo:
        fresh = set(table[todo.pop()].values()) - found
        found |= fresh
        todo += fresh
    return found


@given(EVENTS, st.sampled_from(RunStatus))
def test_no_sequence_of_events_leaves_a_terminal_status(events: list[RunEvent], start: RunStatus) -> None:
    passed = walk(events, start)
    for before, status in itertools.pairwise(passed):
        assert before not in ENDED, f"{before} was left for {status}"


def test_a_way_out_of_a_terminal_status_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control of the test above."""
    broken = {**TRANSITIONS, RunStatus.FAILED: {RunEvent.RECOVER: RunStatus.RECOVERING}}
    monkeypatch.setattr(model, "TRANSITIONS", broken)
    with pytest.raises(AssertionError, match="failed was left"):
        example([RunEvent.RECOVER], RunStatus.FAILED)(test_no_sequence_of_events_leaves_a_terminal_status)()


@pytest.mark.parametrize("status", RunStatus)
def test_an_end_is_reachable_from_every_status(status: RunStatus) -> None:
    assert reachable(TRANSITIONS, status) & ENDED


@pytest.mark.parametrize("status", sorted(set(RunStatus) - ENDED))
def test_every_open_run_can_fail_and_be_cancelled(status: RunStatus) -> None:
    """Nothing waits for ever, and nothing is beyond a person's reach."""
    assert after(status, RunEvent.FAIL) is RunStatus.FAILED
    assert after(status, RunEvent.CANCEL) is RunStatus.CANCELLED


def test_every_status_can_be_reached_from_the_queue() -> None:
    assert reachable(TRANSITIONS, RunStatus.QUEUED) == set(RunStatus)


def test_a_dead_end_is_seen() -> None:
    """Negative control of reachability."""
    broken = {**TRANSITIONS, RunStatus.RECOVERING: {RunEvent.RECOVER: RunStatus.RECOVERING}}
    assert not reachable(broken, RunStatus.RECOVERING) & ENDED


@given(st.sampled_from(RunStatus), st.sampled_from(RunEvent))
def test_every_pair_has_an_answer(status: RunStatus, event: RunEvent) -> None:
    if event in TRANSITIONS[status]:
        assert after(status, event) is TRANSITIONS[status][event]
        return
    with pytest.raises(TransitionNotAllowed) as refused:
        after(status, event)
    assert refused.value.fields == {"status": status, "event": event}


@given(EVENTS)
def test_a_run_that_was_superseded_had_not_passed_its_gate(events: list[RunEvent]) -> None:
    passed = walk(events)
    if passed[-1] is RunStatus.SUPERSEDED:
        before = {RunStatus.QUEUED, RunStatus.STARTING, RunStatus.PLANNING, RunStatus.AWAITING_APPROVAL}
        assert passed[-2] in before


def test_the_page_is_current() -> None:
    assert PAGE.read_text() == page(), "run: python -m tests.runs.lifecycle"
