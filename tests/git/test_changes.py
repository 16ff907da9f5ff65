from random import Random

from hypothesis import given
from hypothesis import strategies as st

from stackly.git.changes import Change, changes

TREES = st.dictionaries(st.sampled_from("abcdefg"), st.sampled_from("123"), max_size=7)


def test_each_verb_once() -> None:
    before = {"a": "1", "b": "2", "c": "3"}
    after = {"a": "1", "b": "9", "d": "3", "e": "4"}
    assert changes(before, after) == [
        Change("updated", "b", "2", "9"),
        Change("added", "d", None, "3", moved_from="c"),
        Change("added", "e", None, "4"),
        Change("removed", "c", "3", None),
    ]


@given(TREES, TREES)
def test_applied_to_before_they_give_after(before: dict[str, str], after: dict[str, str]) -> None:
    state = dict(before)
    for change in changes(before, after):
        assert state.get(change.path) == change.before
        if change.after is None:
            del state[change.path]
        else:
            state[change.path] = change.after
    assert state == after


@given(TREES, TREES)
def test_moves_pair_removed_with_added_of_equal_content_once(before: dict[str, str], after: dict[str, str]) -> None:
    found = changes(before, after)
    origins = [c.moved_from for c in found if c.moved_from]
    removed = {c.path for c in found if c.verb == "removed"}
    assert len(origins) == len(set(origins))
    assert set(origins) <= removed
    assert all(before[c.moved_from] == c.after for c in found if c.moved_from)
    unpaired_new = {c.after for c in found if c.verb == "added" and not c.moved_from}
    unpaired_old = {before[p] for p in removed - set(origins)}
    assert not unpaired_new & unpaired_old


@given(TREES, TREES, st.randoms())
def test_order_does_not_depend_on_the_order_of_the_input(
    before: dict[str, str], after: dict[str, str], random: Random
) -> None:
    shuffled = [list(d.items()) for d in (before, after)]
    for items in shuffled:
        random.shuffle(items)
    assert changes(dict(shuffled[0]), dict(shuffled[1])) == changes(before, after)


@given(TREES)
def test_nothing_changed_is_nothing(trees: dict[str, str]) -> None:
    assert changes(trees, trees) == []
