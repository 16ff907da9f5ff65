"""What a Terraform file rests on outside itself: local modules, `source = "./x"` or `"../x"`, and files that it reads.

By scan (`terraform_text`): a file that is broken elsewhere still shows what it calls.
"""

import json
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from stackly.terraform_reads import Reads, reads
from stackly.terraform_text import attribute, blocks, place, tokens


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a local module. Units: line and column from 1."""

    source: str
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Rests:
    """What one module file rests on."""

    calls: tuple[Call, ...] = ()
    reads: Reads = field(default_factory=Reads)


NOTHING = Rests()


def rests(text: str, *, is_json: bool) -> Rests:
    found = Rests(calls_of_json(text) if is_json else calls(text), reads(text, is_json=is_json))
    return found if found != NOTHING else NOTHING


@lru_cache(maxsize=4096)
def calls(text: str) -> tuple[Call, ...]:
    """The local modules that a .tf file calls, in order."""
    if "module" not in text:
        return ()
    out: list[Call] = []
    for block in blocks(tokens(text)):
        value = attribute(block.body, "source") if block.type == "module" else ()
        source = _unquoted(value[0].text) if len(value) == 1 and value[0].kind == "string" else ""
        if is_local(source):
            out.append(Call(source, *place(text, value[0].at)))
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


def _unquoted(literal: str) -> str:
    try:
        value = json.loads(literal)  # HCL's escapes are JSON's, but for \U
    except ValueError:
        return literal[1:-1]
    return str(value)
