"""A hostile file ends in a clear problem, quickly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackly.errors import FileInvalid
from stackly.suites.document import MAX_CHARACTERS, load
from stackly.suites.schema import parse

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(8)
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("a: [", "not valid YAML"),
        ("a: 1\n---\nb: 2\n", "not valid YAML"),
        ("a: \x00", "not allowed"),
        ("x" * (MAX_CHARACTERS + 1), "larger than"),
        ("[" * 5000, "deeper than"),
        ("a: " + "{a: " * 200 + "1" + "}" * 200, "deeper than"),
        (BOMB, "more than 20000 values"),
        ("a: &a [*a]", "refers to itself"),
        ("a: !!python/object/apply:os.system [id]", "tag"),
        ("a: 1\na: 2\n", "stands here and in line 1"),
        ("a: &a {b: 1}\nc: {<<: *a}\n", "Merge keys"),
        ("? [a]\n: 1\n", "A key must be a word"),
    ],
)
def test_hostile_files(text: str, says: str) -> None:
    with pytest.raises(FileInvalid) as caught:
        load(text, "f")
    assert says in caught.value.problems[0].message


def test_an_alias_is_written_out() -> None:
    node = load("a: &a {b: 1}\nc: *a\n", "f")
    again = node.get("c")
    assert again is not None
    assert again.get("b") is not None


@given(st.text(alphabet=st.sampled_from("abc:-[]{}&*!'\"#\n \t,?|>%@$"), max_size=60))
def test_any_text_parses_or_is_refused_with_problems(text: str) -> None:
    with pytest.raises(FileInvalid) as caught:
        parse(text, "f")
    assert caught.value.problems
