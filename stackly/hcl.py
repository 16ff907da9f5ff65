"""Strict reading of HCL: what Terraform refuses is refused here too, and every problem has a place.

Source: python-hcl2's tree; its own `loads` loses positions, lets the last of two attributes win and hides references.
"""

import re
from dataclasses import dataclass
from typing import Any, Protocol

from stackly.errors import FileInvalid, FileProblem
from stackly.hcl_text import depth_problem, heredoc, unescape

MAX_BYTES = 512 * 1024
MAX_DEPTH = 100

Literal = str | int | float | bool | None | list["Literal"] | dict[str, "Literal"]


@dataclass(frozen=True, slots=True)
class Value:
    """The right side of an attribute, or a part of it.

    Shape: `kind` is string, number, bool, null, list, object or expression (a reference, a call, an operator);
    `items` are a list's elements, `entries` an object's; `text` is the source as written.
    """

    kind: str
    text: str
    line: int
    column: int
    scalar: str | int | float | bool | None = None
    items: tuple["Value", ...] = ()
    entries: tuple[tuple[str, "Value"], ...] = ()

    def plain(self) -> Literal:
        """Raises: ValueError on an expression; ask `expression()` first."""
        if self.kind == "list":
            return [item.plain() for item in self.items]
        if self.kind == "object":
            return {key: value.plain() for key, value in self.entries}
        if self.kind == "expression":
            raise ValueError(f"{self.text} is no literal")
        return self.scalar

    def expression(self) -> "Value | None":
        """The first part that is not a literal."""
        if self.kind == "expression":
            return self
        parts = self.items + tuple(value for _, value in self.entries)
        return next((found for part in parts if (found := part.expression())), None)


@dataclass(frozen=True, slots=True)
class Attribute:
    name: str
    value: Value
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Block:
    type: str
    labels: tuple[str, ...]
    body: "Body"
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Body:
    attributes: tuple[Attribute, ...]
    blocks: tuple[Block, ...]
    line: int
    column: int

    def attribute(self, name: str) -> Attribute | None:
        return next((a for a in self.attributes if a.name == name), None)

    def of_type(self, name: str) -> tuple[Block, ...]:
        return tuple(b for b in self.blocks if b.type == name)


class Read(Protocol):
    """What reads a text: `read` itself, or a process that may be killed over it."""

    def __call__(self, text: str, file: str, *, max_bytes: int = MAX_BYTES) -> tuple[Body, list[FileProblem]]: ...


def parse(text: str, file: str, *, max_bytes: int = MAX_BYTES) -> Body:
    """Raises: FileInvalid with every structural problem; a syntax error ends the reading at its place."""
    body, problems = read(text, file, max_bytes=max_bytes)
    if problems:
        raise FileInvalid(problems)
    return body


def read(text: str, file: str, *, max_bytes: int = MAX_BYTES) -> tuple[Body, list[FileProblem]]:
    """The file, and what is wrong with its structure, for who looks for more. Of two equal names the first counts.

    Raises: FileInvalid where no structure is to be seen: a syntax error, or past a bound.
    """
    text = text.removeprefix("\ufeff")
    _check_bounds(text, file, max_bytes)
    text = text if text.endswith("\n") else text + "\n"
    reader = _Reader(text, file)
    try:
        body = reader.body(_tree(text, file).body, (1, 1))
    except FileInvalid:
        raise
    except Exception as wrong:  # the tree's own surprises must not pass as a crash
        raise _too_tangled(file, wrong) from wrong
    return body, sorted(reader.problems, key=lambda p: (p.line, p.column))


def literal_problem(value: Value, file: str) -> FileProblem | None:
    found = value.expression()
    if found is None:
        return None
    shown = " ".join(found.text.split())[:60]
    return FileProblem(
        file, found.line, found.column, f"only literal values here; `{shown}` would have to be evaluated"
    )


def _check_bounds(text: str, file: str, max_bytes: int) -> None:
    if len(text.encode("utf-8", "surrogatepass")) > max_bytes:
        raise FileInvalid([FileProblem(file, 0, 0, f"the file is larger than {max_bytes // 1024} KB")])
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise FileInvalid([FileProblem(file, line, 1, "a NUL byte: this is not a text file")])
    place = depth_problem(text, MAX_DEPTH)
    if place:
        raise FileInvalid([FileProblem(file, *place, f"brackets are nested deeper than {MAX_DEPTH}")])


def _tree(text: str, file: str) -> Any:
    import hcl2  # the grammar costs 0.1 s, which a command that reads no HCL should not pay
    from lark.exceptions import UnexpectedInput

    try:
        return hcl2.parses(text)
    except UnexpectedInput as wrong:
        raise FileInvalid([_syntax_problem(wrong, text, file)]) from wrong
    except Exception as wrong:  # RecursionError, VisitError, RuntimeError: the library promises no kind
        raise _too_tangled(file, wrong) from wrong


def _too_tangled(file: str, wrong: Exception) -> FileInvalid:
    what = (
        "nested or chained too deeply"
        if "Recursion" in repr(wrong) + repr(wrong.__context__)
        else "not readable as HCL"
    )
    return FileInvalid([FileProblem(file, 0, 0, f"the file is {what}")])


def _syntax_problem(wrong: Any, text: str, file: str) -> FileProblem:
    line, column = wrong.line, wrong.column
    token = getattr(wrong, "token", None)
    if token is not None and token.type == "$END":
        lines = text.rstrip("\n").split("\n")
        return FileProblem(
            file, len(lines), len(lines[-1]) + 1, "the file ends too early: a closing bracket is missing"
        )
    if not isinstance(line, int) or line < 1:
        return FileProblem(file, 0, 0, "not readable as HCL")
    found = str(token) if token is not None else text.split("\n")[line - 1][column - 1 : column]
    if found.strip(" \t") in ("", "\n") or found.startswith("\n"):
        return FileProblem(file, line, column, "the line ends too early: a value or a closing bracket is missing")
    shown = found.strip().split("\n")[0][:40]
    return FileProblem(
        file, line, column, f"did not expect `{shown}` here; look for a missing quote, comma, `=` or bracket before it"
    )


class _Reader:
    """Turns the library's nodes into ours and collects what it lets through."""

    def __init__(self, text: str, file: str) -> None:
        self.text = text
        self.file = file
        self.problems: list[FileProblem] = []

    def body(self, node: Any, place: tuple[int, int]) -> Body:
        attributes: list[Attribute] = []
        blocks: list[Block] = []
        seen: dict[str, int] = {}
        end = -1
        for child in node.children:
            kind = child.lark_name() if child is not None else ""
            if kind not in ("attribute", "block"):
                continue
            meta = _meta(child)
            self._own_line(meta, end)
            # The grammar counts line ends behind a binary operator's right side as part of it.
            end = meta.start_pos + len(self.text[meta.start_pos : meta.end_pos].rstrip())
            if kind == "block":
                blocks.append(self._block(child))
                continue
            read = self._attribute(child)
            if read.name in seen:
                self._problem(read.line, read.column, f'"{read.name}" is set twice; first in line {seen[read.name]}')
                continue
            seen[read.name] = read.line
            attributes.append(read)
        for block in blocks:
            if block.type in seen:
                self._problem(
                    block.line,
                    block.column,
                    f'"{block.type}" is both a block and an attribute (line {seen[block.type]})',
                )
        return Body(tuple(attributes), tuple(blocks), *place)

    def _problem(self, line: int, column: int, message: str) -> None:
        self.problems.append(FileProblem(self.file, line, column, message))

    def _own_line(self, meta: Any, end: int) -> None:
        """The grammar takes two definitions on one line; HCL does not."""
        if end >= 0 and "\n" not in self.text[end : meta.start_pos]:
            self._problem(meta.line, meta.column, "a definition must start on its own line")

    def _attribute(self, node: Any) -> Attribute:
        name, meta = node.identifier, _meta(node)
        return Attribute(str(name.children[0].value), self.value(node.expression), meta.line, meta.column)

    def _block(self, node: Any) -> Block:
        labels = [label for label in node.labels if label.lark_name() != "new_line_or_comment"]
        words = [self._label(label) for label in labels]
        meta = _meta(node)
        self._brace(_meta(labels[-1]))
        body = node.body
        inner = _meta(body)
        place = (meta.line, meta.column) if getattr(inner, "empty", True) else (inner.line, inner.column)
        return Block(words[0], tuple(words[1:]), self.body(body, place), meta.line, meta.column)

    def _brace(self, last: Any) -> None:
        opening = self.text.find("{", last.end_pos)
        if "\n" in self.text[last.end_pos : opening]:
            self._problem(last.line, last.column, "the opening brace belongs on the line of the block's name")

    def _label(self, node: Any) -> str:
        if node.lark_name() != "string":
            return str(node.children[0].value)
        value = self._string(node, _meta(node))
        if value.kind == "expression":
            self._problem(value.line, value.column, "a block's label is plain text; no `${` in it")
            return ""
        return str(value.scalar)

    def value(self, node: Any) -> Value:
        meta = _meta(node)
        text = self.text[meta.start_pos : meta.end_pos]
        inner = _inner(node)
        kind = inner.lark_name() if inner is not None else ""
        simple = self._scalar(kind, inner, text, meta)
        if simple is not None:
            return simple
        if kind == "tuple":
            return Value("list", text, meta.line, meta.column, items=tuple(self.value(e) for e in inner.elements))
        if kind == "object" and (entries := self._entries(inner)) is not None:
            return Value("object", text, meta.line, meta.column, entries=entries)
        return Value("expression", text, meta.line, meta.column)

    def _scalar(self, kind: str, inner: Any, text: str, meta: Any) -> Value | None:
        if kind == "string":
            return self._string(inner, meta)
        if kind in ("heredoc_template", "heredoc_template_trim"):
            body = heredoc(str(inner.children[0].value))
            if re.search(r"(?<!\$)\$\{|(?<!%)%\{", body):
                return Value("expression", text, meta.line, meta.column)
            return Value("string", text, meta.line, meta.column, body.replace("$${", "${").replace("%%{", "%{"))
        if kind in ("int_lit", "float_lit") or (kind == "unary_op" and _NEGATIVE.fullmatch(text)):
            return self._number(text, meta)
        if kind == "literal_value":
            word = str(inner.children[0].value)
            return Value("null" if word == "null" else "bool", text, meta.line, meta.column, _WORDS[word])
        return None

    def _number(self, text: str, meta: Any) -> Value:
        plain = re.sub(r"[()\s]", "", text)
        if len(plain) > 40 or abs(float(plain)) > 1e300:
            self._problem(meta.line, meta.column, "the number is too large")
            return Value("number", text, meta.line, meta.column, 0)
        number = int(plain) if re.fullmatch(r"-?[0-9]+", plain) else float(plain)
        return Value("number", text, meta.line, meta.column, number)

    def _string(self, node: Any, meta: Any) -> Value:
        out: list[str] = []
        text = self.text[meta.start_pos : meta.end_pos]
        for part in node.string_parts:
            content = part.content
            raw = getattr(content, "value", None)
            if not isinstance(raw, str):
                return Value("expression", text, meta.line, meta.column)
            escaped = content.lark_name() != "STRING_CHARS"  # $${ and %%{ stand for themselves
            out.append(self._chars(raw[1:] if escaped else raw, _meta(part)))
        return Value("string", text, meta.line, meta.column, "".join(out))

    def _chars(self, raw: str, meta: Any) -> str:
        if "\n" in raw:
            self._problem(meta.line, meta.column, "a quoted string must end on its line; use \\n or a heredoc")
        read, wrong = unescape(raw)
        if wrong:
            self._problem(meta.line, meta.column, f"`{wrong}` is no escape; write \\\\ for a backslash")
        return read

    def _entries(self, node: Any) -> tuple[tuple[str, Value], ...] | None:
        """None where a key has to be evaluated."""
        out: dict[str, Value] = {}
        for element in node.elements:
            meta = _meta(element)
            key = self._key(element.children[0])
            if key is None:
                return None
            if key in out:
                self._problem(meta.line, meta.column, f'"{key}" is set twice in one object')
            out[key] = self.value(element.children[-1])
        return tuple(out.items())

    def _key(self, node: Any) -> str | None:
        inner = _inner(node.children[0])
        if inner is not None and inner.lark_name() == "identifier":
            return str(inner.children[0].value)
        value = self.value(inner if inner is not None else node)
        if value.kind in ("string", "number"):
            return str(value.scalar)
        return None


_NEGATIVE = re.compile(r"-\s*[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_WORDS = {"true": True, "false": False, "null": None}


def _meta(node: Any) -> Any:
    """Where a node stands: `line`, `column` from 1, `start_pos`, `end_pos` in the text."""
    return node._meta  # noqa: SLF001 - the library has no public way to a node's place


def _inner(node: Any) -> Any:
    """The single part of an expression term; parentheses around one are taken off."""
    while node is not None and node.lark_name() == "expr_term":
        parts = [
            c
            for c in node.children
            if c is not None and hasattr(c, "children") and c.lark_name() != "new_line_or_comment"
        ]
        if len(parts) != 1:
            return None
        node = parts[0]
    return node
