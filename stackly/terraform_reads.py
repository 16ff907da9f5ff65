"""Which files a Terraform file reads by `file`, `templatefile`, `fileset` and their kin, where the path is constant.

Constant but for `path.module`, `path.root` and locals that are constant themselves. By scan, in both of Terraform's
languages; what has to be evaluated otherwise is nobody's to know before Terraform runs.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from stackly.terraform_text import Token, attributes, blocks, place, tokens

MODULE: Final = "\x01"  # the module's own directory
ROOT: Final = "\x02"  # where Terraform runs
_LOCAL = re.compile("\x03([^\x03]*)\x03")
_READERS = frozenset(
    {"file", "fileexists", "filebase64", "filemd5", "filesha1", "filesha256", "filesha512", "templatefile"}
    | {"filebase64sha256", "filebase64sha512"}
)
_SET = "fileset"
_NEST = 20


@dataclass(frozen=True, slots=True)
class Read:
    """One call. Shape: `path` holds MODULE, ROOT and locals in control characters; `pattern` of `fileset` alone."""

    function: str
    path: str
    pattern: str
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Reads:
    """What one file reads, and the constants that it gives its directory. Shape: `constants` name -> as `Read.path`."""

    found: tuple[Read, ...] = ()
    constants: tuple[tuple[str, str], ...] = ()


@lru_cache(maxsize=1024)
def reads(text: str, *, is_json: bool) -> Reads:
    if is_json:
        return _of_json(text)
    found = tokens(text)
    calls = tuple(_calls(found, text, 0, _NEST)) if "file" in text else ()
    return Reads(calls, tuple(_constants(found)) if "locals" in text else ())


def resolved(path: str, constants: Mapping[str, str]) -> str | None:
    """With the directory's constants put in; None where one is not constant."""
    for _ in range(_NEST):
        names = _LOCAL.findall(path)
        if not names:
            return path
        if any(name not in constants for name in names) or len(path) > 4096:
            return None
        path = _LOCAL.sub(lambda found: constants[found.group(1)], path)
    return None


def _of_json(text: str) -> Reads:
    """Its expressions are texts with interpolations."""
    try:
        data = json.loads(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError):
        return Reads()
    found = [call for value in _texts(data) for call in _template_calls(value, text, 0, _NEST)]
    groups = data.get("locals", {}) if isinstance(data, dict) else {}
    constants = [
        (name, constant)
        for group in (groups if isinstance(groups, list) else [groups])
        if isinstance(group, dict)
        for name, value in group.items()
        if isinstance(value, str) and (constant := _template(value, _NEST)) is not None
    ]
    return Reads(tuple(found), tuple(constants))


def _texts(value: Any) -> Iterator[str]:
    waiting = [value]
    while waiting:
        at = waiting.pop()
        if isinstance(at, str):
            yield at
        elif isinstance(at, dict | list):
            waiting.extend(at.values() if isinstance(at, dict) else at)


def _constants(found: tuple[Token, ...]) -> Iterator[tuple[str, str]]:
    for block in blocks(found):
        if block.type == "locals":
            for name, value in attributes(block.body):
                constant = _constant(value, _NEST)
                if constant is not None:
                    yield name, constant


def _calls(found: tuple[Token, ...], text: str, start: int, nest: int) -> Iterator[Read]:
    """Calls among tokens that stand in `text` from `start` on, those inside interpolations too."""
    for i, token in enumerate(found):
        if token.kind in ("quote", "heredoc") and nest:
            yield from _template_calls(token.text, text, start + token.at, nest - 1)
        elif token.kind == "name" and token.text in {*_READERS, _SET} and found[i + 1 : i + 2]:
            given = _arguments(found, i + 1)
            values = [_constant(argument, nest) for argument in given[:2]]
            is_set = token.text == _SET
            if values and values[0] is not None and not (is_set and (len(values) < 2 or values[1] is None)):
                pattern = str(values[1]) if is_set else ""
                yield Read(token.text, values[0], pattern, *place(text, start + token.at))


def _template_calls(template: str, text: str, start: int, nest: int) -> Iterator[Read]:
    for at, inner in _interpolations(template):
        yield from _calls(tokens(inner), text, start + at, nest)


def _interpolations(template: str) -> Iterator[tuple[int, str]]:
    """What stands between `${` or `%{` and its brace. Shape: (place, text)."""
    at = 0
    while (found := re.compile(r"(?<![$%])[$%]\{").search(template, at)) is not None:
        end = _closing(template, found.end())
        yield found.end(), template[found.end() : end]
        at = end + 1


def _closing(template: str, start: int) -> int:
    depth = 1
    for token in tokens(template[start:]):
        if token.kind == "mark":
            depth += {"{": 1, "}": -1}.get(token.text, 0)
        if depth == 0:
            return start + token.at
    return len(template)


def _arguments(found: tuple[Token, ...], opening: int) -> list[tuple[Token, ...]]:
    """The arguments of a call whose parenthesis stands at `opening`; none when it is no call, or never ends."""
    if found[opening].text != "(" or found[opening].kind != "mark":
        return []
    depth, start, out = 0, opening + 1, []
    for i in range(opening, len(found)):
        if found[i].kind != "mark":
            continue
        depth += {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(found[i].text, 0)
        if depth == 0 or (depth == 1 and found[i].text == ","):
            out.append(tuple(t for t in found[start:i] if t.kind != "end"))
            start = i + 1
        if depth == 0:
            return [argument for argument in out if argument]
    return []


def _constant(found: tuple[Token, ...], nest: int) -> str | None:
    """What an expression is, where that is constant."""
    words = [t.text for t in found]
    if nest <= 0 or not found:
        return None
    if len(found) == 1 and found[0].kind == "string":
        return _unescaped(words[0][1:-1])
    if len(found) == 1 and found[0].kind == "quote":
        return _template(words[0][1:-1], nest - 1)
    if words[:2] == ["path", "."] and len(words) == 3:
        return {"module": MODULE, "root": ROOT, "cwd": ROOT}.get(words[2])
    if words[:2] == ["local", "."] and len(words) == 3 and found[2].kind == "name":
        return f"\x03{words[2]}\x03"
    if words[0] == "(" and words[-1] == ")" and len(_arguments(found, 0)) == 1:
        return _constant(found[1:-1], nest - 1)
    if found[0].kind == "name" and len(found) > 2 and words[1] == "(" and words[-1] == ")":
        return _applied(words[0], _arguments(found, 1), nest - 1)
    return None


def _applied(function: str, given: list[tuple[Token, ...]], nest: int) -> str | None:
    if function in ("abspath", "pathexpand", "trimspace", "tostring") and len(given) == 1:
        return _constant(given[0], nest)
    if function == "join" and len(given) == 2 and given[1][0].text == "[":
        given = [given[0], *_arguments((Token("mark", "(", 0), *given[1][1:-1], Token("mark", ")", 0)), 0)]
    elif function not in ("join", "format"):
        return None
    values = [_constant(argument, nest) for argument in given]
    if any(value is None for value in values):
        return None
    first, *rest = [str(value) for value in values]
    if function == "join":
        return first.join(rest)
    return first.replace("%s", "{}").format(*rest) if first.count("%s") == len(rest) and "{" not in first else None


def _template(template: str, nest: int) -> str | None:
    out, at = [], 0
    for start, inner in _interpolations(template):
        value = _constant(tokens(inner), nest)
        if value is None or template[start - 2] == "%":
            return None
        out += [_unescaped(template[at : start - 2]), value]
        at = start + len(inner) + 1
    return "".join([*out, _unescaped(template[at:])])


def _unescaped(raw: str) -> str:
    try:
        return str(json.loads(f'"{raw}"', strict=False))  # HCL's escapes are JSON's, but for \U
    except ValueError:
        return raw
