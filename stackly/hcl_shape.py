"""What a file may say, written down once: the reader that enforces it and the JSON Schema that shows it."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from stackly import texts
from stackly.errors import FileProblem
from stackly.hcl import Block, Body, Literal, Value, literal_problem

Check = Callable[[Any], Any]  # takes the plain value, gives what is kept; raises ValueError with a sentence

_PLAIN = {"string": "text in quotes", "number": "a number", "bool": "true or false", "list": "a list"}
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
MAX_ITEMS = 100  # of a list, unless its field says otherwise
MAX_BLOCKS = 32  # of one type in one block
_DURATION = r"([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?"


@dataclass(frozen=True, slots=True)
class Field:
    """One attribute.

    Shape: `kind` is string, number, bool or list (of strings); `schema` is added to the attribute's JSON Schema.
    """

    name: str
    kind: str
    about: str
    default: Any = None
    required: bool = False
    check: Check | None = None
    schema: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Unbuilt:
    """A word that nothing reads yet: refused where it stands, and in neither schema nor page as if it worked.

    Shape: `instead` is what to do; `values` are those of a known attribute that are meant, () is the whole word.
    """

    name: str
    instead: str
    values: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Shape:
    """One block.

    Shape: `label` is the pattern of its label, None without one; `free` takes any literal attribute.
    """

    name: str
    about: str
    fields: tuple[Field, ...] = ()
    blocks: tuple["Shape", ...] = ()
    label: str | None = None
    many: bool = False
    required: bool = False
    free: bool = False
    unbuilt: tuple[Unbuilt, ...] = ()


@dataclass(frozen=True, slots=True)
class Read:
    """A block as its shape gives it: every field present, checked or at its default.

    Shape: `given` maps the names that were written to their values, with places.
    """

    label: str
    fields: dict[str, Any]
    blocks: dict[str, tuple["Read", ...]]
    given: dict[str, Value]
    line: int
    column: int

    def block(self, name: str) -> "Read | None":
        found = self.blocks[name]
        return found[0] if found else None


def read_all(
    body: Body, shapes: tuple[Shape, ...], file: str, problems: list[FileProblem]
) -> dict[str, tuple[Read, ...]]:
    """The blocks at the top of a file; every problem is added to `problems`."""
    problems.extend(_unkept(body, file))
    top = Shape("file", "", blocks=shapes)
    return _read(Block("file", (), body, 1, 1), top, file, problems).blocks


def _unkept(body: Body, file: str) -> Iterator[FileProblem]:
    """Texts that no database keeps, each at its place."""
    for block in body.blocks:
        for why in filter(None, map(texts.flaw, block.labels)):
            yield FileProblem(
                file, block.line, block.column, f"the name of `{block.type}` {why}; delete that character"
            )
        yield from _unkept(block.body, file)
    for attribute in body.attributes:
        yield from _unkept_in(attribute.value, file)


def _unkept_in(value: Value, file: str) -> Iterator[FileProblem]:
    named = [name for name, _ in value.entries]
    for why in filter(None, map(texts.flaw, [*named, *([value.scalar] if isinstance(value.scalar, str) else [])])):
        yield FileProblem(file, value.line, value.column, f"this text {why}; delete that character")
    for part in (*value.items, *(inside for _, inside in value.entries)):
        yield from _unkept_in(part, file)


def _read(block: Block, shape: Shape, file: str, problems: list[FileProblem]) -> Read:
    label = _label(block, shape, file, problems)
    fields: dict[str, Any] = {field.name: field.default for field in shape.fields}
    given: dict[str, Value] = {}
    known = {field.name: field for field in shape.fields}
    for attribute in block.body.attributes:
        if shape.free:
            problem = literal_problem(attribute.value, file)
            problems.extend([problem] if problem else [])
            fields[attribute.name] = None if problem else attribute.value.plain()
            given[attribute.name] = attribute.value
        elif later := _unbuilt(shape, attribute.name, attribute.value):
            problems.append(FileProblem(file, attribute.line, attribute.column, later))
        elif attribute.name in known:
            given[attribute.name] = attribute.value
            fields[attribute.name] = _value(attribute.value, known[attribute.name], file, problems)
        else:
            message = _unknown(attribute.name, shape, block=False)
            problems.append(FileProblem(file, attribute.line, attribute.column, message))
    missing = [f.name for f in shape.fields if f.required and f.name not in given]
    problems.extend(FileProblem(file, block.line, block.column, f'"{name}" is missing here') for name in missing)
    return Read(label, fields, _blocks(block, shape, file, problems), given, block.line, block.column)


def _blocks(block: Block, shape: Shape, file: str, problems: list[FileProblem]) -> dict[str, tuple[Read, ...]]:
    known = {inner.name: inner for inner in shape.blocks}
    out: dict[str, tuple[Read, ...]] = dict.fromkeys(known, ())
    for inner in block.body.blocks:
        if later := _unbuilt(shape, inner.type, None):
            problems.append(FileProblem(file, inner.line, inner.column, later))
            continue
        if inner.type not in known:
            problems.append(FileProblem(file, inner.line, inner.column, _unknown(inner.type, shape, block=True)))
            continue
        read = _read(inner, known[inner.type], file, problems)
        before = out[inner.type]
        twin = next((b for b in before if b.label == read.label), None)
        if before and (twin or not known[inner.type].many):
            shown = f'{inner.type} "{read.label}"' if twin and read.label else inner.type
            first = (twin or before[0]).line
            problems.append(
                FileProblem(file, inner.line, inner.column, f"a second `{shown}`; the first is in line {first}")
            )
            continue
        if len(before) == MAX_BLOCKS:
            message = f"more than {MAX_BLOCKS} `{inner.type}` blocks"
            problems.append(FileProblem(file, inner.line, inner.column, message))
            break
        out[inner.type] = (*before, read)
    for name, inner_shape in known.items():
        if inner_shape.required and not block.body.of_type(name):
            problems.append(FileProblem(file, block.line, block.column, f"there is no `{name}` block here"))
    return out


def _unbuilt(shape: Shape, name: str, value: Value | None) -> str | None:
    """Why this word cannot be taken; None where it can."""
    found = next((u for u in shape.unbuilt if u.name == name), None)
    if found is None:
        return None
    if not found.values:
        return f"`{name}` is not carried out by this release; {found.instead}"
    plain = value.scalar if value is not None and value.kind in {"string", "bool", "number"} else None
    if plain not in found.values:
        return None
    shown = f'"{plain}"' if isinstance(plain, str) else str(plain).lower()
    return f"`{name} = {shown}` is not carried out by this release; {found.instead}"


def _label(block: Block, shape: Shape, file: str, problems: list[FileProblem]) -> str:
    if shape.label is None:
        if block.labels:
            problems.append(FileProblem(file, block.line, block.column, f"`{shape.name}` takes no name"))
        return ""
    if len(block.labels) != 1:
        problems.append(FileProblem(file, block.line, block.column, f'write `{shape.name} "name" {{`: one name'))
        return block.labels[0] if block.labels else ""
    if not re.fullmatch(shape.label, block.labels[0]):
        message = f'the name "{block.labels[0]}" must match {shape.label}'
        problems.append(FileProblem(file, block.line, block.column, message))
    return block.labels[0]


def _unknown(name: str, shape: Shape, *, block: bool) -> str:
    fields, blocks = [f.name for f in shape.fields], [b.name for b in shape.blocks]
    if block and (name in fields or shape.free):
        return f"`{name}` is an attribute: write `{name} = ...`"
    if not block and name in blocks:
        return f"`{name}` is a block: write `{name} {{ ... }}`"
    what = "block" if block else "attribute"
    near = ", ".join(sorted(blocks if block else fields))
    return f"unknown {what} `{name}`; known here: {near}" if near else f"unknown {what} `{name}`; there are none here"


def _value(value: Value, field: Field, file: str, problems: list[FileProblem]) -> Any:
    problem = literal_problem(value, file)
    if problem is None and value.kind != field.kind:
        message = f'"{field.name}" must be {_PLAIN[field.kind]}, not {_PLAIN.get(value.kind, value.kind)}'
        problem = FileProblem(file, value.line, value.column, message)
    if problem is not None:
        problems.append(problem)
        return field.default
    if field.kind == "list":
        return _list(value, field, file, problems)
    return _checked(value, field, file, problems)


def _list(value: Value, field: Field, file: str, problems: list[FileProblem]) -> tuple[Any, ...]:
    out: list[Any] = []
    if not value.items and dict(field.schema).get("minItems"):
        problems.append(FileProblem(file, value.line, value.column, f'"{field.name}" must not be empty'))
    most = dict(field.schema).get("maxItems", MAX_ITEMS)
    if len(value.items) > most:
        message = f'"{field.name}" has {len(value.items)} entries; at most {most} are allowed'
        problems.append(FileProblem(file, value.line, value.column, message))
        return tuple(out)
    for item in value.items:
        if item.kind != "string":
            message = f'"{field.name}" is a list of texts in quotes'
            problems.append(FileProblem(file, item.line, item.column, message))
            continue
        before = len(problems)
        kept = _checked(item, field, file, problems)
        if len(problems) > before:
            continue
        if kept in out:
            problems.append(FileProblem(file, item.line, item.column, f'"{item.scalar}" is listed twice'))
            continue
        out.append(kept)
    return tuple(out)


def _checked(value: Value, field: Field, file: str, problems: list[FileProblem]) -> Any:
    plain: Literal = value.plain()
    if field.check is None:
        return plain
    try:
        return field.check(plain)
    except ValueError as wrong:
        problems.append(FileProblem(file, value.line, value.column, f'"{field.name}": {wrong}'))
        return field.default


def duration(text: str) -> int:
    """Units: seconds, from texts such as 90s, 15m, 1h30m, 2d. Raises: ValueError."""
    found = re.fullmatch(_DURATION, text)
    if not text or found is None:
        raise ValueError(f"`{text}` is no duration; write for example 90s, 15m, 3h or 1h30m")
    return sum(int(part[:-1]) * _UNITS[part[-1]] for part in found.groups() if part)


def between(low: float, high: float, unit: str = "") -> Check:
    def check(number: float) -> float:
        if not low <= number <= high:
            raise ValueError(f"{number:g} is outside {low:g} to {high:g}{unit}")
        return number

    return check


def whole(low: int, high: int) -> Check:
    def check(number: float) -> int:
        if number != int(number):
            raise ValueError(f"{number:g} is not a whole number")
        return int(between(low, high)(number))

    return check


def lasting(low: str, high: str) -> Check:
    """Units: gives seconds."""

    def check(text: str) -> int:
        seconds = duration(text)
        if not duration(low) <= seconds <= duration(high):
            raise ValueError(f"{text} is outside {low} to {high}")
        return seconds

    return check


def one_of(*choices: str) -> Check:
    def check(text: str) -> str:
        if text not in choices:
            raise ValueError(f"`{text}` is not one of {', '.join(choices)}")
        return text

    return check


def matching(pattern: str, about: str) -> Check:
    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"`{text}` is not {about}")
        return text

    return check


def json_schema(shape: Shape, title: str) -> dict[str, Any]:
    """JSON Schema (2020-12) of HCL's own JSON form of the file: blocks are objects, a label is a key."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        "type": "object",
        "properties": {shape.name: _schema_of(shape)},
        "required": [shape.name] if shape.required else [],
        "additionalProperties": False,
    }


def _schema_of(shape: Shape) -> dict[str, Any]:
    properties: dict[str, Any] = {f.name: _field_schema(f) for f in shape.fields}
    properties |= {b.name: _schema_of(b) for b in shape.blocks}
    body: dict[str, Any] = {"description": shape.about, "type": "object", "properties": properties}
    needed = [f.name for f in shape.fields if f.required] + [b.name for b in shape.blocks if b.required]
    body |= {"required": needed, "additionalProperties": shape.free}
    if shape.label is None:
        return body
    labelled: dict[str, Any] = {"type": "object", "patternProperties": {f"^({shape.label})$": body}}
    labelled |= {"additionalProperties": False, "minProperties": 1}
    return labelled if shape.many else labelled | {"maxProperties": 1}


def _field_schema(field: Field) -> dict[str, Any]:
    types = {"string": "string", "number": "number", "bool": "boolean"}
    extra = dict(field.schema)
    out: dict[str, Any] = {"description": field.about}
    if field.kind == "list":
        outer = {k: extra.pop(k) for k in ("minItems", "maxItems") if k in extra}
        out |= {
            "type": "array",
            "items": {"type": "string"} | extra,
            "uniqueItems": True,
            "maxItems": MAX_ITEMS,
        } | outer
    else:
        out |= {"type": types[field.kind]} | extra
    return out
