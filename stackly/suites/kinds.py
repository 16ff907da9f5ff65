"""Kinds of values a suite file may hold. Each reads a node and writes its own piece of the JSON Schema.

Named tuples, which cost a tenth of a data class to make: a command that checks a file makes all of them.
"""

import math
import re
from typing import Any, NamedTuple, Protocol

from stackly.suites.document import Node
from stackly.suites.reading import BAD, Reading, close

Json = dict[str, Any]

_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_DURATION = re.compile(r"(?=\d)((?P<h>\d{1,6})h)?((?P<m>\d{1,7})m)?((?P<s>\d{1,8})s)?")
_PERCENT = r"(?P<n>[0-9]{1,3}(\.[0-9]{1,6})?)%"
_BOOLS = {"true": True, "false": False}
_EMPTY = {"", "~", "null", "Null", "NULL"}
REFERENCE = r"\$\{(commit|matrix\.[A-Za-z_][A-Za-z0-9_]*)\}"


class Kind(Protocol):
    def read(self, node: Node, path: str, on: Reading, /) -> Any: ...

    def schema(self, *, refs: bool) -> Json:
        """Shape: with `refs` a `${...}` may stand for the value."""
        ...


def _or_reference(own: Json, *, refs: bool) -> Json:
    return {"anyOf": [own, {"type": "string", "pattern": REFERENCE}]} if refs else own


def _scalar(node: Node, on: Reading, wanted: str) -> str | None:
    """The text of a scalar that is there; else the problem is reported, or was before."""
    if node.unknown:
        return None
    if node.kind != "scalar":
        on.bad(node, f"A {node.kind} stands here; write {wanted}.")
        return None
    if node.plain and node.text in _EMPTY:
        on.bad(node, f"There is no value; write {wanted}, or delete the key.")
        return None
    return node.text


def plain_value(node: Node) -> Any:
    """A scalar as JSON: true and false, numbers written as JSON writes them, everything else text."""
    if not node.plain:
        return node.text
    if node.text in _BOOLS:
        return _BOOLS[node.text]
    if _INTEGER.fullmatch(node.text) and len(node.text) <= 18:
        return int(node.text)
    if _DECIMAL.fullmatch(node.text) and math.isfinite(float(node.text)):
        return float(node.text)
    return node.text


class Text(NamedTuple):
    """Shape: `wanted` completes "write ..."; `numbers` lets an unquoted 17 or 16.10 count as written."""

    wanted: str = "a text"
    pattern: str = ""
    choices: tuple[str, ...] = ()
    longest: int = 1000
    numbers: bool = False

    def read(self, node: Node, _path: str, on: Reading) -> Any:
        text = _scalar(node, on, self.wanted)
        if text is None:
            return BAD
        if not self.numbers and not isinstance(plain_value(node), str):
            return on.bad(node, f"`{text}` is no text; write {self.wanted}, in quotes if it looks like a number.")
        if self.choices and text not in self.choices:
            return on.bad(node, f"`{text}` is unknown; write one of {', '.join(self.choices)}.")
        if len(text) > self.longest or (self.pattern and not re.fullmatch(self.pattern, text)):
            return on.bad(node, f"`{text[:60]}` does not fit; write {self.wanted}.")
        return text

    def schema(self, *, refs: bool) -> Json:
        own: Json = {"type": ["string", "number"] if self.numbers else "string", "maxLength": self.longest}
        if self.pattern:
            own["pattern"] = f"^(?:{self.pattern})$"
        if self.choices:
            own = {"enum": list(self.choices)}
        return _or_reference(own, refs=refs)


class Whole(NamedTuple):
    lo: int
    hi: int

    def read(self, node: Node, _path: str, on: Reading) -> Any:
        wanted = f"a whole number from {self.lo} to {self.hi}" if self.lo < self.hi else f"{self.lo}"
        text = _scalar(node, on, wanted)
        if text is None:
            return BAD
        if not node.plain or not _INTEGER.fullmatch(text):
            return on.bad(node, f"`{text[:60]}` is no whole number; write {wanted}, without quotes.")
        if len(text) > 18 or not self.lo <= int(text) <= self.hi:
            return on.bad(node, f"{text[:60]} is out of range; write {wanted}.")
        return int(text)

    def schema(self, *, refs: bool) -> Json:
        return _or_reference({"type": "integer", "minimum": self.lo, "maximum": self.hi}, refs=refs)


class Decimal(NamedTuple):
    lo: float
    hi: float

    def read(self, node: Node, _path: str, on: Reading) -> Any:
        wanted = f"a number from {self.lo:.15g} to {self.hi:.15g}"
        text = _scalar(node, on, wanted)
        if text is None:
            return BAD
        if not node.plain or not _DECIMAL.fullmatch(text):
            return on.bad(node, f"`{text[:60]}` is no number; write {wanted}, without quotes or a unit.")
        if not self.lo <= float(text) <= self.hi:
            return on.bad(node, f"{text[:60]} is out of range; write {wanted}.")
        return float(text)

    def schema(self, *, refs: bool) -> Json:
        return _or_reference({"type": "number", "minimum": self.lo, "maximum": self.hi}, refs=refs)


class Flag(NamedTuple):
    def read(self, node: Node, _path: str, on: Reading) -> Any:
        text = _scalar(node, on, "true or false")
        if text is None:
            return BAD
        if not node.plain or text not in _BOOLS:
            return on.bad(node, f"`{text[:60]}` is neither; write true or false.")
        return _BOOLS[text]

    def schema(self, *, refs: bool) -> Json:
        return _or_reference({"type": "boolean"}, refs=refs)


class Duration(NamedTuple):
    """Units: read as seconds; `lo` and `hi` as a person writes them."""

    lo: str
    hi: str

    def read(self, node: Node, _path: str, on: Reading) -> Any:
        wanted = f"a duration from {self.lo} to {self.hi} with its unit, such as 90s, 5m or 1h30m"
        text = _scalar(node, on, wanted)
        if text is None:
            return BAD
        value = seconds(text)
        if value is None:
            return on.bad(node, f"`{text[:60]}` is no duration; write {wanted}.")
        if not (seconds(self.lo) or 0) <= value <= (seconds(self.hi) or 0):
            return on.bad(node, f"{text[:60]} is out of range; write {wanted}.")
        return value

    def schema(self, *, refs: bool) -> Json:
        own: Json = {"type": "string", "pattern": r"^(?=\d)(\d{1,6}h)?(\d{1,7}m)?(\d{1,8}s)?$"}
        own["description"] = f"{self.lo} to {self.hi}; h, m, s"
        return _or_reference(own, refs=refs)


def seconds(text: str) -> int | None:
    """Units: seconds of `1h30m`, `90s`; None when it is no duration."""
    m = _DURATION.fullmatch(text)
    if m is None:
        return None
    return int(m["h"] or 0) * 3600 + int(m["m"] or 0) * 60 + int(m["s"] or 0)


class Percent(NamedTuple):
    """Units: read as a fraction; `lo` and `hi` are percents."""

    lo: float
    hi: float

    def read(self, node: Node, _path: str, on: Reading) -> Any:
        wanted = f"a share from {self.lo:g}% to {self.hi:g}%"
        text = _scalar(node, on, wanted)
        if text is None:
            return BAD
        m = re.fullmatch(_PERCENT, text)
        if m is None or not self.lo <= float(m["n"]) <= self.hi:
            return on.bad(node, f"`{text[:60]}` does not fit; write {wanted}, with the percent sign.")
        return float(m["n"]) / 100

    def schema(self, *, refs: bool) -> Json:
        own = {"type": "string", "pattern": f"^{_PERCENT.replace('?P<n>', '')}$"}
        return _or_reference(own, refs=refs)


class Verbatim(NamedTuple):
    """A scalar of any type, kept as the text that stands in the file: `off` stays off."""

    def read(self, node: Node, _path: str, on: Reading) -> Any:
        text = _scalar(node, on, "a value")
        return BAD if text is None else text

    def schema(self, *, refs: bool) -> Json:  # noqa: ARG002 - a text already allows a reference
        return {"type": ["string", "number", "boolean"]}


class Free(NamedTuple):
    """What another program defines: scalars, lists and maps, kept as JSON."""

    def read(self, node: Node, path: str, on: Reading) -> Any:
        if node.kind == "list":
            return [self.read(item, f"{path}[{i}]", on) for i, item in enumerate(node.items)]
        if node.kind == "map":
            return {k.text: self.read(v, f"{path}.{k.text}", on) for k, v in node.entries}
        text = _scalar(node, on, "a value")
        return BAD if text is None else plain_value(node)

    def schema(self, *, refs: bool) -> Json:  # noqa: ARG002 - anything goes
        return {"type": ["string", "number", "boolean", "array", "object"]}


class ListOf(NamedTuple):
    item: Kind
    lo: int
    hi: int
    what: str

    def read(self, node: Node, path: str, on: Reading) -> Any:
        if node.unknown:
            return BAD
        wanted = f"a list of {self.lo} to {self.hi} {self.what}"
        if node.kind != "list":
            return on.bad(node, f"A {node.kind} stands here; write {wanted}, in brackets or with dashes.")
        if not self.lo <= len(node.items) <= self.hi:
            return on.bad(node, f"There are {len(node.items)}; write {wanted}.")
        for i, item in enumerate(node.items):
            on.where[f"{path}[{i}]"] = (item.line, item.column)
        read = [self.item.read(item, f"{path}[{i}]", on) for i, item in enumerate(node.items)]
        return [r for r in read if r is not BAD]

    def schema(self, *, refs: bool) -> Json:
        return {"type": "array", "items": self.item.schema(refs=refs), "minItems": self.lo, "maxItems": self.hi}


class MapOf(NamedTuple):
    """A map whose keys are data. Shape: `keys` are the allowed ones, else `pattern` decides."""

    value: Kind
    what: str
    pattern: str = ""
    keys: tuple[str, ...] = ()
    lo: int = 0
    hi: int = 256

    def read(self, node: Node, path: str, on: Reading) -> Any:
        if node.unknown:
            return BAD
        if node.kind != "map":
            return on.bad(node, f"A {node.kind} stands here; write a map of {self.what}, `key: value`.")
        if not self.lo <= len(node.entries) <= self.hi:
            return on.bad(node, f"There are {len(node.entries)}; write {self.lo} to {self.hi} {self.what}.")
        out: Json = {}
        for key, value in node.entries:
            if self.keys and key.text not in self.keys:
                on.bad(key, f"`{key.text}` is unknown; write {close(key.text, self.keys)}.")
            elif self.pattern and not re.fullmatch(self.pattern, key.text):
                on.bad(key, f"`{key.text[:60]}` is no name for one of the {self.what}; it must match {self.pattern}.")
            else:
                here = f"{path}.{key.text}"
                on.where[here] = (key.line, key.column)
                out[key.text] = self.value.read(value, here, on)
        return {k: v for k, v in out.items() if v is not BAD}

    def schema(self, *, refs: bool) -> Json:
        own: Json = {"type": "object", "additionalProperties": self.value.schema(refs=refs)}
        own |= {"minProperties": self.lo, "maxProperties": self.hi}
        if self.keys:
            own["propertyNames"] = {"enum": list(self.keys)}
        elif self.pattern:
            own["propertyNames"] = {"pattern": f"^(?:{self.pattern})$"}
        return own


class Field(NamedTuple):
    """Shape: `default` is what the reader fills in; None fills in nothing. `doc` ends up in the JSON Schema."""

    name: str
    kind: Kind
    default: Any = None
    required: bool = False
    doc: str = ""
    literal: bool = False  # no `${...}` here


class Record(NamedTuple):
    """A map with known keys. Unknown ones are refused."""

    what: str
    fields: tuple[Field, ...]

    def read(self, node: Node, path: str, on: Reading) -> Any:
        """Shape: a dict without the keys that were bad, so that rules can look at the others."""
        if node.unknown:
            return BAD
        if node.kind != "map":
            return on.bad(node, f"A {node.kind} stands here; write {self.what} as a map, `key: value`.")
        known_here = {f.name: f for f in self.fields}
        out: Json = {f.name: f.default for f in self.fields if f.default is not None}
        for key, value in node.entries:
            here = f"{path}.{key.text}" if path else key.text
            known = known_here.get(key.text)
            if known is None:
                on.bad(key, f"`{key.text}` is unknown in {self.what}; write {close(key.text, tuple(known_here))}.")
                continue
            at = value if value.kind == "scalar" else key
            on.where[here] = (at.line, at.column)
            out.pop(key.text, None)
            read = known.kind.read(value, here, on)
            if read is not BAD:
                out[key.text] = read
        present = {k.text for k, _ in node.entries}
        for f in self.fields:
            if f.required and f.name not in present:
                on.bad(node, f"`{f.name}` is missing in {self.what}; add it{f': {f.doc}' if f.doc else ''}.")
        return out

    def schema(self, *, refs: bool) -> Json:
        properties = {}
        for f in self.fields:
            properties[f.name] = f.kind.schema(refs=refs and not f.literal)
            if f.doc:
                properties[f.name] = properties[f.name] | {"description": f.doc}
        own: Json = {"type": "object", "additionalProperties": False, "properties": properties}
        required = [f.name for f in self.fields if f.required]
        return own | {"required": required} if required else own


class ScalarOr(NamedTuple):
    """A short form and a long one: `repeats: 5` beside `repeats: {min: 5, max: 12}`."""

    scalar: Kind
    long: Record

    def read(self, node: Node, path: str, on: Reading) -> Any:
        return (self.long if node.kind == "map" else self.scalar).read(node, path, on)

    def schema(self, *, refs: bool) -> Json:
        return {"anyOf": [self.scalar.schema(refs=refs), self.long.schema(refs=refs)]}
