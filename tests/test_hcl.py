import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stackly import hcl
from stackly.errors import FileInvalid

EVERYTHING = """# a comment
thing "name" {
  text   = "q\\"\\n$${x} %%{y} \\u00e4"
  whole  = 3
  minus  = -4
  part   = -1.5
  yes    = true
  none   = null
  list   = ["a", 1, { a = "x", "b c" : 2 }]
  body   = <<-EOT
      one
        two
    EOT
  ref    = "a${var.x}b"
  call   = foo(1)
  inner {
    deep = (7)
  }
}
"""


def refused(text: str) -> list[tuple[int, int, str]]:
    with pytest.raises(FileInvalid) as caught:
        hcl.parse(text, "f.hcl")
    return [(p.line, p.column, p.message) for p in caught.value.problems]


def value(text: str) -> hcl.Literal:
    found = hcl.parse(f"a = {text}\n", "f.hcl").attribute("a")
    assert found is not None
    return found.value.plain()


def test_literals_mean_what_terraform_says_they_mean() -> None:
    (block,) = hcl.parse(EVERYTHING, "f.hcl").blocks
    assert (block.type, block.labels, block.line, block.column) == ("thing", ("name",), 2, 1)
    got = {a.name: a.value.plain() for a in block.body.attributes if a.value.expression() is None}
    assert got == {
        "text": 'q"\n${x} %{y} ä',
        "whole": 3,
        "minus": -4,
        "part": -1.5,
        "yes": True,
        "none": None,
        "list": ["a", 1, {"a": "x", "b c": 2}],
        "body": "one\n  two\n",
    }
    assert value("<<EOT\nhi\nEOT") == "hi\n"
    (inner,) = block.body.of_type("inner")
    assert inner.body.attributes[0].value.plain() == 7
    assert (inner.body.attributes[0].line, inner.body.attributes[0].column) == (17, 5)


@pytest.mark.parametrize(
    "text", ['"a${var.x}"', "foo(1)", "var.x", "[1, [var.x]]", "{ a = 1 + 2 }", "<<E\n${x}\nE", "-x"]
)
def test_what_would_have_to_be_evaluated_is_found_with_its_place(text: str) -> None:
    found = hcl.parse(f"a = {text}\n", "f.hcl").attribute("a")
    assert found is not None
    problem = hcl.literal_problem(found.value, "f.hcl")
    assert problem is not None
    assert problem.line == 1
    assert problem.column >= 5
    assert "only literal values here" in problem.message


@pytest.mark.parametrize(
    ("text", "line", "column", "says"),
    [
        ("a = 1\nb = 2\na = 3\n", 3, 1, '"a" is set twice; first in line 1'),
        ("a = {\n  x = 1\n  x = 2\n}\n", 3, 3, "set twice in one object"),
        ("a = 1\na {\n}\n", 2, 1, "both a block and an attribute"),
        ('x "${a}" {\n}\n', 1, 3, "plain text"),
        ("x\n{\n}\n", 1, 1, "opening brace"),
        ("a = 1 b = 2\n", 1, 7, "its own line"),
        ('a = "\\q"\n', 1, 6, "no escape"),
        ('a = "x\ny"\n', 1, 6, "must end on its line"),
        ("a = 1e999\n", 1, 5, "too large"),
        ("a =\n", 1, 4, "ends too early"),
        ("x {\n  a = [1,\n", 2, 10, "a closing bracket is missing"),
        ("a = 'x'\n", 1, 5, "did not expect `'x'`"),
        ("}\n", 1, 1, "did not expect `}`"),
        ("a = 1\nb == 2\n", 2, 3, "did not expect `==`"),
        ("a = \0\n", 1, 1, "not a text file"),
    ],
)
def test_what_terraform_refuses_is_refused_at_its_place(text: str, line: int, column: int, says: str) -> None:
    (problem,) = refused(text)
    assert problem[:2] == (line, column)
    assert says in problem[2]


def test_all_structural_problems_come_at_once_and_in_order() -> None:
    assert [p[0] for p in refused('a = 1\na = 2\nb = "\\q"\nc {\n  d = 1\n  d = 2\n}\n')] == [2, 3, 6]


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "(" * 101 + "1" + ")" * 101,
        "a = " + "[" * 5000,
        'a = "${' + "(" * 90 + '"' + "(" * 5000,
        "a = " + "x." * 3000 + "y",
        "a = 1" + "+1" * 3000,
        "x = " + "-(" * 99 + "1",
        "# " + "x" * hcl.MAX_BYTES,
        "a = <<E\n" + "x\n" * 100,
    ],
)
def test_files_made_to_hurt_are_refused_and_nothing_else_is_raised(text: str) -> None:
    assert refused(text)


def test_brackets_in_text_and_comments_do_not_count_as_depth() -> None:
    assert value('"' + "(" * 500 + '"') == "(" * 500
    assert hcl.parse("# " + "(" * 500 + "\n/* " + "[" * 500 + " */\na = 1\n", "f").attribute("a")


def test_line_ends_and_a_byte_order_mark_of_windows_are_fine() -> None:
    body = hcl.parse("\ufeffa = 1\r\nb = 2\r\n", "f")
    assert [(a.name, a.line) for a in body.attributes] == [("a", 1), ("b", 2)]
    assert hcl.parse("", "f").attributes == ()


@given(st.text(alphabet=st.sampled_from('ab"{}[]()=\n#/*<$%\\,.:1- E'), max_size=40))
@settings(max_examples=150, deadline=None)
def test_any_text_is_read_or_refused_in_the_one_way(text: str) -> None:
    with contextlib.suppress(FileInvalid):
        hcl.parse(text, "f")


def _written(plain: hcl.Literal) -> str:
    if isinstance(plain, str):
        named = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "%": "\\u0025"}
        return '"' + "".join(named.get(c, c) for c in plain) + '"'
    if isinstance(plain, list):
        return "[" + ", ".join(_written(item) for item in plain) + "]"
    if isinstance(plain, dict):
        return "{\n" + "".join(f"{_written(key)} = {_written(item)}\n" for key, item in plain.items()) + "}"
    if plain is None or isinstance(plain, bool):
        return {None: "null", True: "true", False: "false"}[plain]
    return repr(plain)


_texts = st.text(alphabet=st.sampled_from('aäß "\\\n\t{}%#/=()'), max_size=8)
_plain: st.SearchStrategy[hcl.Literal] = st.recursive(
    _texts | st.integers(-(10**12), 10**12) | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=6,
)


@given(_plain)
@settings(max_examples=150, deadline=None)
def test_what_is_written_is_what_is_read(plain: hcl.Literal) -> None:
    assert value(_written(plain)) == plain


@pytest.mark.parametrize("value", ['self.id == ""', "a == b && c != d", "1 + 2 # why", "x >= 3\n\n", "<<E\nwords\nE"])
def test_a_definition_may_follow_any_value_on_the_next_line(value: str) -> None:
    body = hcl.parse(f'check "a" {{\n  condition = {value}\n  message   = "no"\n}}\n', "main.tf").blocks[0].body
    assert [a.name for a in body.attributes] == ["condition", "message"]


def test_two_definitions_on_one_line_are_refused() -> None:
    with pytest.raises(FileInvalid, match="own line"):
        hcl.parse("a = b == c d = 2\n", "main.tf")
