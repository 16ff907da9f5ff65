"""The one door for text: what is kept, what is refused, and how it is shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackly import texts
from stackly.errors import FileProblem, Invalid

KEPT = [
    "a\u2028b",
    "a\x85b",
    "zero\u200cwidth",
    "\U0001f469\u200d\U0001f52c",
    "no\u00a0break",
    "caf\u00e9",
    "a\nb",
    "\x1b[31m",
]


@pytest.mark.parametrize("text", KEPT)
def test_characters_like_any_other_are_kept(text: str) -> None:
    assert texts.flaw(text) is None
    assert texts.kept(text) == text
    assert texts.decoded(text.encode()) == text
    assert list(texts.flaws({text: [text]})) == []


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "caf\udce9", "\udfff\ud800"])
def test_what_no_database_keeps_is_refused_and_named(text: str) -> None:
    assert texts.flaw(text)
    assert texts.flaw(texts.kept(text)) is None
    assert texts.flaw(texts.shown(text)) is None
    assert [place for place, _ in texts.flaws({"ok": 1, "list": [{"x": text}]})] == ["/list/0/x"]
    assert [place for place, _ in texts.flaws({text: 1})] == [f"/{texts.kept(text)}"]
    assert texts.flaw(Invalid(f"{text} is wrong").detail) is None
    problem = FileProblem(text, 1, 1, text).as_dict()
    assert list(texts.flaws(problem)) == []


def test_bytes_that_are_no_utf_8_are_shown_as_bytes() -> None:
    assert texts.decoded(b"caf\xe9") is None
    assert texts.legible(b"caf\xe9\0") == "caf\\xe9\\x00"
    assert texts.shown(b"caf\xe9\n".decode("utf-8", "surrogateescape")) == "caf\\xe9\\x0a"
    assert texts.shown("a\u2028b\x85\x1b\u202e") == "a\\u2028b\\x85\\x1b\\u202e"


@given(st.binary())
def test_any_bytes_can_be_shown_on_one_line(raw: bytes) -> None:
    told = texts.shown(texts.legible(raw))
    assert texts.flaw(told) is None
    assert len(told.splitlines()) <= 1
    told.encode()


@given(
    st.recursive(
        st.text() | st.integers() | st.none(), lambda inside: st.lists(inside) | st.dictionaries(st.text(), inside)
    )
)
def test_whatever_was_kept_has_no_flaw(value: object) -> None:
    assert list(texts.flaws(texts.kept_all(value))) == []
