"""What is gathered while one file is read."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from stackly.errors import FileProblem
from stackly.suites.document import Node

BAD: Any = object()  # what a kind returns when it has reported a problem


class Reading:
    """What is gathered while one file is read: problems, and the place of every path."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.found: dict[FileProblem, None] = {}
        self.where: dict[str, tuple[int, int]] = {}

    def bad(self, at: Node, message: str) -> Any:
        self.found[FileProblem(self.file, at.line, at.column, message)] = None
        return BAD

    def place(self, path: str) -> tuple[int, int]:
        """Where a path stands, or the nearest one above it that was written."""
        return place(self.where, path)

    def bad_at(self, path: str, message: str) -> None:
        line, column = self.place(path)
        self.found[FileProblem(self.file, line, column, message)] = None

    @property
    def problems(self) -> list[FileProblem]:
        return sorted(self.found, key=lambda p: (p.line, p.column, p.message))


def place(where: Mapping[str, tuple[int, int]], path: str) -> tuple[int, int]:
    """Where a path stands, or the nearest one above it that was written; (0, 0) is the whole file."""
    while path and path not in where:
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return where.get(path, (0, 0))


def close(word: str, known: Sequence[str]) -> str:
    """The nearest known words, or all of them."""
    near = difflib.get_close_matches(word, known, n=2, cutoff=0.6)
    return " or ".join(f"`{n}`" for n in near) if near else f"one of {', '.join(known)}"
