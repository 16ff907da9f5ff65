"""Every stack of before is accounted for, and every stack of now: the same, moved, new, gone."""

from hypothesis import given
from hypothesis import strategies as st

from stackly.engine.moves import Passage, Place, passage


def places(**told: str) -> dict[str, Place]:
    """Shape: path="key name"."""
    return {path: Place(*text.split()) for path, text in told.items()}


def test_a_moved_directory_is_known_by_its_content() -> None:
    assert passage(places(a="k1 x"), places(b="k1 x")) == Passage((), {"b": "a"}, (), ())


def test_moved_and_changed_is_known_by_its_name_if_only_one_has_it() -> None:
    assert passage(places(a="k1 x"), places(b="k2 x")).moved == {"b": "a"}
    two = passage(places(a="k1 x"), places(b="k2 x", c="k3 x"))
    assert (two.moved, two.new, two.gone) == ({}, ("b", "c"), ("a",))


def test_swapped_directories_changed_places() -> None:
    assert passage(places(a="k1 x", b="k2 y"), places(a="k2 y", b="k1 x")).moved == {"a": "b", "b": "a"}
    assert passage(places(a="k1 x", b="k2 x"), places(a="k2 x", b="k1 x")).moved == {"a": "b", "b": "a"}
    assert passage(places(a="k1 x", b="k2 y"), places(a="k3 y", b="k4 x")).moved == {"a": "b", "b": "a"}


def test_what_one_directory_hands_to_the_next_does_not_make_it_move() -> None:
    """Three environments of one stack, the same name each: a change wanders from one to the next."""
    seen = passage(places(dev="k3 app", prod="k1 app"), places(dev="k4 app", prod="k3 app"))
    assert seen == Passage(("dev", "prod"), {}, (), ())


def test_a_copy_is_a_new_stack_and_the_original_stays() -> None:
    assert passage(places(a="k1 x"), places(a="k2 x", b="k1 x")) == Passage(("a",), {}, ("b",), ())


def test_a_chain_of_moves_keeps_every_one() -> None:
    seen = passage(places(a="k1 x", b="k2 y"), places(b="k1 x", c="k2 y"))
    assert seen == Passage((), {"b": "a", "c": "b"}, (), ())


def test_moved_over_another_one_ends_that_one() -> None:
    assert passage(places(a="k1 x", b="k2 y"), places(b="k1 x")) == Passage((), {"b": "a"}, (), ("b",))


def test_a_stack_that_cannot_be_read_stays_where_it_is() -> None:
    after = {"a": Place("k2", None)}
    assert passage(places(a="k1 x"), after).stays == ("a",)


def test_a_new_name_at_the_same_place_is_the_same_stack() -> None:
    assert passage(places(a="k1 x"), places(a="k2 y")) == Passage(("a",), {}, (), ())


_PLACES = st.dictionaries(
    st.sampled_from("abcdef"), st.builds(Place, st.sampled_from(["k1", "k2", "k3"]), st.sampled_from(["x", "y", None]))
)


@given(_PLACES, _PLACES)
def test_every_stack_is_accounted_for_once(before: dict[str, Place], after: dict[str, Place]) -> None:
    seen = passage(before, after)
    assert sorted([*seen.stays, *seen.moved, *seen.new]) == sorted(after)
    assert sorted([*seen.stays, *seen.moved.values(), *seen.gone]) == sorted(before)
    assert all(now != then for now, then in seen.moved.items())
