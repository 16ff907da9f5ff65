"""A record that may carry a matrix: it is read once per cell, with `${matrix.X}` replaced."""

import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from stackly.suites import matrix
from stackly.suites.document import Node
from stackly.suites.fields import MATRIX_RESERVED, matrix_schema
from stackly.suites.kinds import Json, Record, plain_value
from stackly.suites.reading import BAD, Reading

_REFERENCE = r"\$\{([^}]*)\}?"
_AXIS = r"[A-Za-z_][A-Za-z0-9_]{0,62}"


@dataclass(frozen=True, slots=True)
class _Value:
    key: str  # JSON text: 1, true and "1" are three values
    node: Node = field(compare=False)


class ReadCell(NamedTuple):
    """Shape: `values` as JSON; `data` what the record read."""

    values: Json
    data: Json


class ReadCells(NamedTuple):
    path: str
    has_matrix: bool
    cells: tuple[ReadCell, ...]


class Celled(NamedTuple):
    """Reads to ReadCells."""

    record: Record

    def read(self, node: Node, path: str, on: Reading) -> Any:
        given = node.get("matrix") if node.kind == "map" else None
        rest = _without_matrix(node)
        if given is None:
            return ReadCells(path, has_matrix=False, cells=(self._cell(rest, {}, path, on),))
        cells = _expand(given, on)
        if cells is None:  # its problems are reported; the rest of the test is looked at all the same
            self.record.read(_fill(rest, None, on), path, on)
            return BAD
        return ReadCells(path, has_matrix=True, cells=tuple(self._cell(rest, c, path, on) for c in cells))

    def _cell(self, node: Node, cell: dict[str, _Value], path: str, on: Reading) -> ReadCell:
        data = self.record.read(_fill(node, cell, on), path, on)
        return ReadCell({k: plain_value(v.node) for k, v in cell.items()}, data if isinstance(data, dict) else {})

    def schema(self, *, refs: bool) -> Json:  # noqa: ARG002 - inside a test references are always allowed
        own = self.record.schema(refs=True)
        own["properties"] = own["properties"] | {"matrix": matrix_schema()}
        return own


def _without_matrix(node: Node) -> Node:
    return node._replace(entries=tuple((k, v) for k, v in node.entries if k.text != "matrix"))


def _fill(node: Node, cell: dict[str, _Value] | None, on: Reading, *, top: bool = True) -> Node:
    """The node with every `${matrix.X}` replaced. Shape: without a cell such a scalar becomes `unknown`."""
    if node.kind == "list":
        return node._replace(items=tuple(_fill(i, cell, on, top=False) for i in node.items))
    if node.kind == "map":
        entries = ((k, v if top and k.text == "name" else _fill(v, cell, on, top=False)) for k, v in node.entries)
        return node._replace(entries=tuple(entries))
    return _fill_scalar(node, cell, on) if "${" in node.text else node


def _fill_scalar(node: Node, cell: dict[str, _Value] | None, on: Reading) -> Node:
    whole = re.fullmatch(_REFERENCE, node.text)
    replaced: list[_Value] = []

    def one(m: re.Match[str]) -> str:
        name = m[1]
        if not m[0].endswith("}") or not (name == "commit" or name.startswith("matrix.")):
            on.bad(node, f"`{m[0][:60]}` cannot be filled in; only ${{commit}} and ${{matrix.X}} can.")
        elif name == "commit":
            return m[0]
        elif cell is None:
            return ""
        elif (value := cell.get(name.removeprefix("matrix."))) is not None:
            replaced.append(value)
            return value.node.text
        else:
            known = ", ".join(cell) or "none: the test has no matrix"
            on.bad(node, f"`{m[0]}` names no axis of every cell; the axes here are {known}.")
        unknown.append(name)
        return ""

    unknown: list[str] = []
    text = re.sub(_REFERENCE, one, node.text)
    lost = bool(unknown) or (cell is None and "${matrix." in node.text)
    return node._replace(text=text, plain=bool(whole and replaced and replaced[0].node.plain), unknown=lost)


def _expand(given: Node, on: Reading) -> list[dict[str, _Value]] | None:
    before = len(on.found)
    if given.kind != "map" or not given.entries:
        on.bad(given, "`matrix` is a map of axes to lists of values, such as `clients: [8, 64]`; write one.")
        return None
    axes = {k.text: _axis(k, v, on) for k, v in given.entries if k.text not in MATRIX_RESERVED}
    include = _rules(given.get("include"), on, known=None)
    exclude = _rules(given.get("exclude"), on, known=set(axes))
    if len(on.found) == before and matrix.product_size(axes) > 64 * matrix.MAX_CELLS:
        on.bad(given, f"The matrix has {matrix.product_size(axes)} cells; write at most {matrix.MAX_CELLS}.")
    if len(on.found) > before:
        return None
    cells = matrix.expand(axes, include, exclude)
    if not cells:
        return on.bad(given, "Every cell is excluded; leave at least one.") and None
    if len(cells) > matrix.MAX_CELLS:
        return on.bad(given, f"The matrix has {len(cells)} cells; write at most {matrix.MAX_CELLS}.") and None
    return cells


def _axis(name: Node, values: Node, on: Reading) -> list[_Value]:
    if not re.fullmatch(_AXIS, name.text):
        on.bad(name, f"`{name.text[:60]}` is no name for an axis; write letters, digits and _.")
    if values.kind != "list" or not 1 <= len(values.items) <= matrix.MAX_CELLS:
        on.bad(values, f"An axis is a list of 1 to {matrix.MAX_CELLS} values; write `{name.text}: [a, b]`.")
        return []
    out: list[_Value] = []
    for item in values.items:
        value = _value(item, on)
        if value in out:
            on.bad(item, f"`{item.text}` stands twice in axis `{name.text}`; keep one.")
        elif value is not None:
            out.append(value)
    return out


def _value(node: Node, on: Reading) -> _Value | None:
    if node.kind != "scalar" or node.unknown or (node.plain and node.text in {"", "~", "null"}):
        on.bad(node, "A value of a matrix is a text, a number, true or false; write one.")
        return None
    if "${" in node.text:
        on.bad(node, "A value of a matrix cannot refer to anything; write the value.")
        return None
    import json  # late: many a command writes none

    return _Value(json.dumps(plain_value(node)), node)


def _rules(given: Node | None, on: Reading, *, known: set[str] | None) -> list[dict[str, _Value]]:
    if given is None:
        return []
    if given.kind != "list":
        on.bad(given, "`include` and `exclude` are lists of maps, such as `- {clients: 64}`; write a list.")
        return []
    out = []
    for entry in given.items:
        if entry.kind != "map" or not entry.entries:
            on.bad(entry, "An entry here is a map of axes to values, such as `{clients: 64}`; write one.")
            continue
        read: dict[str, _Value] = {}
        for k, v in entry.entries:
            if not re.fullmatch(_AXIS, k.text) or (known is not None and k.text not in known):
                on.bad(k, f"`{k.text[:60]}` is no axis of this matrix; write one of {', '.join(sorted(known or ()))}.")
            elif (value := _value(v, on)) is not None:
                read[k.text] = value
        out.append(read)
    return out
