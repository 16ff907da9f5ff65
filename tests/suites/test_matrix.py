"""Matrix expansion against the rule written out in full."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from stackly.suites.matrix import expand, product_size

NAMES = st.sampled_from("abc")
VALUES = st.integers(0, 3)
AXES = st.dictionaries(NAMES, st.lists(VALUES, min_size=1, max_size=3, unique=True), max_size=3)
ENTRIES = st.lists(st.dictionaries(st.sampled_from("abcd"), VALUES, min_size=1, max_size=3), max_size=3)
EXCLUDES = st.lists(st.dictionaries(NAMES, VALUES, min_size=1, max_size=2), max_size=3)


@given(AXES, EXCLUDES)
def test_exclude_removes_exactly_the_cells_that_match(
    axes: dict[str, list[int]], exclude: list[dict[str, int]]
) -> None:
    every = [dict(zip(axes, v, strict=True)) for v in itertools.product(*axes.values())] if axes else []
    kept = [c for c in every if not any(rule.items() <= c.items() for rule in exclude)]
    assert expand(axes, (), exclude) == kept
    assert len(expand(axes)) == product_size(axes)


@given(AXES, ENTRIES, EXCLUDES)
def test_include_never_changes_an_axis_and_never_loses_a_cell(
    axes: dict[str, list[int]], include: list[dict[str, int]], exclude: list[dict[str, int]]
) -> None:
    before, after = expand(axes, (), exclude), expand(axes, include, exclude)
    assert all(old.items() <= new.items() for old, new in zip(before, after, strict=False))
    alone = after[len(before) :]
    assert alone == [e for e in include if not any(_fits(e, c) for c in before)]


def _fits(entry: dict[str, int], cell: dict[str, int]) -> bool:
    return all(cell[k] == v for k, v in entry.items() if k in cell)


def test_include_as_in_the_documentation_of_github() -> None:
    cells = expand(
        {"fruit": ["apple", "pear"], "animal": ["cat", "dog"]},
        [
            {"color": "green"},
            {"color": "pink", "animal": "cat"},
            {"fruit": "apple", "shape": "circle"},
            {"fruit": "banana"},
            {"fruit": "banana", "animal": "cat"},
        ],
    )
    assert cells == [
        {"fruit": "apple", "animal": "cat", "color": "pink", "shape": "circle"},
        {"fruit": "apple", "animal": "dog", "color": "green", "shape": "circle"},
        {"fruit": "pear", "animal": "cat", "color": "pink"},
        {"fruit": "pear", "animal": "dog", "color": "green"},
        {"fruit": "banana"},
        {"fruit": "banana", "animal": "cat"},
    ]
