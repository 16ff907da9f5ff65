"""YAML as a tree that remembers where everything stands: bounded, without tags, duplicate keys or cycles."""

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import yaml

from stackly import texts
from stackly.errors import FileInvalid, FileProblem

MAX_CHARACTERS = 128 * 1024
MAX_DEPTH = 32
MAX_NODES = 20_000  # aliases count as often as they are used

_PLAIN_TAGS = {
    f"tag:yaml.org,2002:{t}"
    for t in (["str", "int", "float", "bool", "null", "map", "seq", "timestamp", "merge", "value"])
}


class Node(NamedTuple):
    """One value of the file.

    Shape: `text` of a scalar is what stands in the file, so `off` and `16.10` stay themselves; `plain` is unquoted;
    `unknown` is a scalar whose reference could not be replaced. `entries` of a map, `items` of a list. Lines and
    columns count from 1.
    """

    kind: Literal["map", "list", "scalar"]
    line: int
    column: int
    text: str = ""
    plain: bool = False
    unknown: bool = False
    items: "tuple[Node, ...]" = ()
    entries: "tuple[tuple[Node, Node], ...]" = ()

    def get(self, key: str) -> "Node | None":
        return next((value for name, value in self.entries if name.text == key), None)


def load(text: str, file: str) -> Node:
    """Read one YAML document. Raises: FileInvalid with every problem of its form."""
    if len(text) > MAX_CHARACTERS:
        raise FileInvalid(
            [FileProblem(file, 0, 0, f"The file is larger than {MAX_CHARACTERS // 1024} KiB; shorten it.")]
        )
    try:
        root = yaml.compose(text, Loader=_Bounded)
    except _TooDeepError as e:
        message = f"This is nested deeper than {MAX_DEPTH} levels; flatten it."
        raise FileInvalid([FileProblem(file, e.line, e.column, message)]) from e
    except yaml.MarkedYAMLError as e:
        raise FileInvalid([_syntax(file, e)]) from e
    except yaml.reader.ReaderError as e:
        line = text.count("\n", 0, e.position) + 1
        column = e.position - (text.rfind("\n", 0, e.position) + 1) + 1
        raise FileInvalid([FileProblem(file, line, column, "This character is not allowed in YAML; delete it.")]) from e
    if root is None:
        raise FileInvalid([FileProblem(file, 1, 1, "The file is empty; a suite needs version, name and tests.")])
    return _Converter(file).convert(root)


class _TooDeepError(Exception):
    def __init__(self, mark: Any) -> None:
        self.line: int = mark.line + 1
        self.column: int = mark.column + 1


class _Bounded(yaml.SafeLoader):
    """Ends where collections are too deep: the composer recurses, once for each level."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]  # the library has no types for it
        deeper = isinstance(event, yaml.CollectionStartEvent)
        self.depth += deeper
        if self.depth > MAX_DEPTH:
            raise _TooDeepError(event.start_mark)
        node = super().compose_node(parent, index)
        self.depth -= deeper
        return node


def _syntax(file: str, e: yaml.MarkedYAMLError) -> FileProblem:
    mark = e.problem_mark or e.context_mark
    said = " ".join(str(e.problem or e.context or e).split())
    line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
    return FileProblem(file, line, column, f"This is not valid YAML: {said}. Correct it here or just above.")


class _Converter:
    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[FileProblem] = []
        self.open: set[int] = set()  # ids of the collections being converted: an alias to one of them is a cycle
        self.count = 0

    def convert(self, root: yaml.Node) -> Node:
        node = self.node(root)
        if self.problems:
            raise FileInvalid(self.problems)
        return node

    def bad(self, at: yaml.Node, message: str) -> FileProblem:
        problem = FileProblem(self.file, at.start_mark.line + 1, at.start_mark.column + 1, message)
        self.problems.append(problem)
        return problem

    def node(self, given: yaml.Node) -> Node:
        self.count += 1
        if self.count > MAX_NODES:
            message = f"The file has more than {MAX_NODES} values with its aliases written out; shorten it."
            raise FileInvalid([*self.problems, self.bad(given, message)])
        line, column = given.start_mark.line + 1, given.start_mark.column + 1
        if given.tag not in _PLAIN_TAGS:
            self.bad(given, f"The tag {given.tag} is not allowed; write a plain value.")
        if isinstance(given, yaml.ScalarNode):
            if why := texts.flaw(given.value):
                self.bad(given, f"This text {why}; delete that character.")
            return Node("scalar", line, column, text=given.value, plain=given.style is None)
        if id(given) in self.open:
            self.bad(given, "This alias refers to itself; write the value out.")
            return Node("scalar", line, column, unknown=True)
        self.open.add(id(given))
        try:
            if isinstance(given, yaml.SequenceNode):
                return Node("list", line, column, items=tuple(self.node(i) for i in given.value))
            return Node("map", line, column, entries=tuple(self.pairs(given.value)))
        finally:
            self.open.discard(id(given))

    def pairs(self, given: Iterable[tuple[yaml.Node, yaml.Node]]) -> Iterable[tuple[Node, Node]]:
        seen: dict[str, int] = {}
        for k, v in given:
            key, value = self.node(k), self.node(v)
            if key.kind != "scalar":
                self.bad(k, "A key must be a word, not a list or a map.")
            elif key.text == "<<":
                self.bad(k, "Merge keys (<<) are not supported; write the keys out.")
            elif key.text in seen:
                self.bad(k, f"`{key.text}` stands here and in line {seen[key.text]}; keep one of them.")
            else:
                seen[key.text] = key.line
                yield key, value
