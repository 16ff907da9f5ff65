"""Terraform's source as tokens: comments, strings, heredocs and brackets, and nothing of what they mean.

A scan, not a parser: a file that is broken elsewhere still shows what can be seen of it, and what stands in a comment
or a text is not taken for code.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

_TOKEN = re.compile(
    r"""
    (?P<space>[ \t\r\f\v\ufeff]+ | \#[^\n]* | //[^\n]* | /\*.*?(?:\*/|\Z))
  | (?P<heredoc><<-?(?P<tag>[^\W\d][\w-]*)[ \t\r]*\n)
  | (?P<string>"(?:[^"\\$%\n] | \\. | [$%](?!\{) )*")
  | (?P<quote>")
  | (?P<name>[^\W\d][\w-]*)
  | (?P<end>\n)
  | (?P<mark>.)
    """,
    re.VERBOSE | re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Token:
    """Shape: `kind` is heredoc, string (without interpolation), quote (with one), name, end (of a line) or mark."""

    kind: str
    text: str
    at: int


@dataclass(frozen=True, slots=True)
class TextBlock:
    """A block at the top of a file, or inside another. Shape: `labels` without quotes; `body` without its braces."""

    type: str
    labels: tuple[str, ...]
    body: tuple[Token, ...]
    at: int


@lru_cache(maxsize=256)
def tokens(text: str) -> tuple[Token, ...]:
    """Everything but blanks and comments."""
    out: list[Token] = []
    at = 0
    while match := _TOKEN.match(text, at):
        kind = match.lastgroup or ""
        end = match.end()
        if match["heredoc"]:
            end = _heredoc_end(text, end, match["tag"])
            kind = "heredoc"
        elif kind == "quote":  # a string with an interpolation, or one that never ends
            end = _template_end(text, at)
        if match["space"] is None:
            out.append(Token(kind, text[at:end], at))
        at = end
    return tuple(out)


def blocks(found: tuple[Token, ...]) -> Iterator[TextBlock]:
    """The blocks that stand directly in a file or a body. One that never ends goes to the end."""
    i = 0
    while i < len(found):
        opening = _opening(found, i)
        if opening is None:
            i = _after(found, i) if found[i].text == "{" else i + 1
            continue
        end = _after(found, opening)
        labels = tuple(unquoted(t) for t in found[i + 1 : opening])
        yield TextBlock(found[i].text, labels, found[opening + 1 : end - 1], found[i].at)
        i = end


def attribute(body: tuple[Token, ...], name: str) -> tuple[Token, ...]:
    """The tokens of an attribute's value, () where the body has none of that name. The last one counts."""
    return dict(attributes(body)).get(name, ())


def attributes(body: tuple[Token, ...]) -> Iterator[tuple[str, tuple[Token, ...]]]:
    """The attributes that stand directly in a body, in order."""
    depth = 0
    for i, token in enumerate(body):
        if depth == 0 and token.kind == "name" and _fresh(body, i) and [t.text for t in body[i + 1 : i + 2]] == ["="]:
            yield token.text, _value(body, i + 2)
        depth += _DEPTH.get(token.text, 0) if token.kind == "mark" else 0


def unquoted(token: Token) -> str:
    return token.text[1:-1] if token.kind in ("string", "quote") else token.text


def place(text: str, at: int) -> tuple[int, int]:
    """Units: line and column from 1."""
    line = text.count("\n", 0, at) + 1
    return line, at - text.rfind("\n", 0, at)


_DEPTH = {"{": 1, "(": 1, "[": 1, "}": -1, ")": -1, "]": -1}


def _opening(found: tuple[Token, ...], i: int) -> int | None:
    """Where the brace of a block stands whose type is the token at `i`."""
    if found[i].kind != "name" or not _fresh(found, i):
        return None
    for j in range(i + 1, len(found)):
        if found[j].text == "{" and found[j].kind == "mark":
            return j
        if found[j].kind not in ("string", "quote", "name"):
            return None
    return None


def _fresh(found: tuple[Token, ...], i: int) -> bool:
    return i == 0 or found[i - 1].kind == "end" or (found[i - 1].kind == "mark" and found[i - 1].text in "{}")


def _after(found: tuple[Token, ...], opening: int) -> int:
    """The place behind the brace that closes the one at `opening`."""
    depth = 0
    for i in range(opening, len(found)):
        if found[i].kind == "mark":
            depth += {"{": 1, "}": -1}.get(found[i].text, 0)
        if depth == 0:
            return i + 1
    return len(found) + 1


def _value(body: tuple[Token, ...], start: int) -> tuple[Token, ...]:
    depth = 0
    for i in range(start, len(body)):
        if depth == 0 and body[i].kind == "end":
            return body[start:i]
        depth += _DEPTH.get(body[i].text, 0) if body[i].kind == "mark" else 0
    return body[start:]


def _heredoc_end(text: str, start: int, tag: str) -> int:
    """Where a heredoc ends: before the newline after its tag, or with the file when the tag never comes."""
    closing = re.compile(rf"^[ \t]*{re.escape(tag)}[ \t\r]*$", re.MULTILINE)
    found = closing.search(text, start)
    return found.end() if found else len(text)


def _template_end(text: str, start: int) -> int:
    """Where a string with `${...}` in it ends. A quote inside an interpolation opens a string of its own."""
    at = start + 1
    nesting = ['"']
    while at < len(text) and nesting:
        two, one = text[at : at + 2], text[at]
        if nesting[-1] == '"' and one == "\\":
            at += 1
        elif nesting[-1] == '"' and two in ("${", "%{") and text[at - 1 : at] != two[0]:
            nesting.append("}")
            at += 1
        elif one == nesting[-1]:
            nesting.pop()
        elif nesting[-1] == '"' and one == "\n":
            return at  # a quoted string does not span lines: unfinished
        elif nesting[-1] == "}" and one in '{"':
            nesting.append("}" if one == "{" else '"')
        at += 1
    return at
