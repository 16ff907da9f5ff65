"""Which local modules a Terraform file calls: `source = "./x"` or `"../x"` inside `module` blocks.

A scan, not a parser: it knows comments, strings, heredocs and braces, so a file that is broken elsewhere still
tells what it calls, and what stands in a comment or a text is not taken for a call.
"""

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

_TOKEN = re.compile(
    r"""
    (?P<space>[ \t\r\f\v]+ | \#[^\n]* | //[^\n]* | /\*.*?(?:\*/|\Z))
  | (?P<heredoc><<-?(?P<tag>[A-Za-z_][\w-]*)[ \t\r]*\n)
  | (?P<string>"(?:[^"\\$%\n] | \\. | [$%](?!\{) )*")
  | (?P<quote>")
  | (?P<name>[A-Za-z_][\w-]*)
  | (?P<end>\n)
  | (?P<mark>.)
    """,
    re.VERBOSE | re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a local module. Units: line and column from 1."""

    source: str
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int


@lru_cache(maxsize=4096)
def calls(text: str) -> tuple[Call, ...]:
    """The local modules that a .tf file calls, in order."""
    if "module" not in text:
        return ()
    tokens = _tokens(text)
    out: list[Call] = []
    depth = 0
    for i, token in enumerate(tokens):
        if token.text == "{":
            depth += 1
        elif token.text == "}":
            depth = max(0, depth - 1)
        elif depth == 0 and _opens_module(tokens, i):
            out.extend(_sources(text, tokens, i + 3))
    return tuple(out)


@lru_cache(maxsize=1024)
def calls_of_json(text: str) -> tuple[Call, ...]:
    """The local modules that a .tf.json file calls. What cannot be read calls nothing: Terraform will say why."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return ()
    found = (value.get("source") for value in _blocks(data) if isinstance(value, dict))
    return tuple(Call(source, 1, 1) for source in found if isinstance(source, str) and is_local(source))


def is_local(source: str) -> bool:
    """Terraform's own rule: a local source starts with ./ or ../"""
    return source in (".", "..") or source.startswith(("./", "../"))


def _blocks(data: Any) -> list[Any]:
    modules = data.get("module") if isinstance(data, dict) else None
    groups = modules if isinstance(modules, list) else [modules]
    bodies = [body for group in groups if isinstance(group, dict) for body in group.values()]
    return [b for body in bodies for b in (body if isinstance(body, list) else [body])]


def _tokens(text: str) -> list[_Token]:
    out: list[_Token] = []
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
            out.append(_Token(kind, text[at:end], at))
        at = end
    return out


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


def _opens_module(tokens: list[_Token], i: int) -> bool:
    fresh = i == 0 or tokens[i - 1].kind == "end" or tokens[i - 1].text == "}"
    following = [t.text for t in tokens[i + 1 : i + 3]]
    return fresh and tokens[i].text == "module" and len(following) == 2 and following[1] == "{"


def _sources(text: str, tokens: list[_Token], start: int) -> list[Call]:
    """`source` attributes of the block whose body starts there."""
    out: list[Call] = []
    depth = 1
    for i in range(start, len(tokens)):
        depth += {"{": 1, "}": -1}.get(tokens[i].text, 0)
        if depth == 0:
            break
        if depth == 1 and [t.text for t in tokens[i : i + 2]] == ["source", "="] and i + 2 < len(tokens):
            value = tokens[i + 2]
            source = _unquoted(value.text) if value.kind == "string" else ""
            if is_local(source):
                out.append(Call(source, *_place(text, value.at)))
    return out


def _unquoted(literal: str) -> str:
    try:
        value = json.loads(literal)  # HCL's escapes are JSON's, but for \U
    except ValueError:
        return literal[1:-1]
    return str(value)


def _place(text: str, at: int) -> tuple[int, int]:
    line = text.count("\n", 0, at) + 1
    return line, at - text.rfind("\n", 0, at)
