"""What a command says: the result on stdout, everything else on stderr; colour only where a person looks."""

import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, TextIO
from urllib.parse import urlsplit, urlunsplit

Json = dict[str, Any]
Column = tuple[str, Callable[[Json], object]]

# Names of branches and lines of logs are other people's text: it must not steer the terminal.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_INKS = {
    **dict.fromkeys(("worse", "fail", "failed", "invalid", "block", "deny", "rejected", "overdue", "orphan"), "31"),
    **dict.fromkeys(("better", "pass", "allow", "succeeded", "running", "active", "ok"), "32"),
    **dict.fromkeys(("inconclusive", "hold", "cancelled", "superseded", "awaiting_approval", "queued", "loose"), "33"),
}


class Format(StrEnum):
    TEXT = "text"
    JSON = "json"
    JSONL = "jsonl"


class ReportFormat(StrEnum):
    """What a run can be shown as, besides."""

    TEXT = "text"
    JSON = "json"
    JSONL = "jsonl"
    MARKDOWN = "markdown"
    JUNIT = "junit"


def clean(text: object) -> str:
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", str(text))


def without_credential(url: str) -> str:
    """A URL as people see it: what JSON carries for scripts is not for screens."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def dump(thing: Any, *, pretty: bool) -> str:
    import json  # late: many a command writes none

    return json.dumps(thing, indent=2 if pretty else None, ensure_ascii=False)


def has_colour(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


class Speech:
    def __init__(self, form: str = Format.TEXT) -> None:
        self.form = form

    @property
    def is_json(self) -> bool:
        return self.form in {Format.JSON, Format.JSONL}

    def one(self, thing: Json, text: Callable[[Json], str]) -> None:
        """A single result: one object, or what `text` makes of it."""
        self.line(dump(thing, pretty=self.form == Format.JSON) if self.is_json else text(thing))

    def item(self, thing: Json, text: Callable[[Json], str]) -> None:
        """One item of a stream: a line either way."""
        self.line(dump(thing, pretty=False) if self.is_json else text(thing))

    def page(self, page: Json, columns: Sequence[Column], *, empty: str = "none") -> None:
        """A list: {"items", "next"}, an item a line, or a table."""
        items = page["items"]
        if self.form == Format.JSON:
            self.line(dump({"items": items, "next": page.get("next")}, pretty=True))
        elif self.form == Format.JSONL:
            for item in items:
                self.line(dump(item, pretty=False))
        else:
            self.line(table([name for name, _ in columns], [[of(i) for _, of in columns] for i in items]) or empty)
            if page.get("next"):
                self.note(f"There is more: --cursor {page['next']}")

    def line(self, text: str) -> None:
        print(text, flush=True)

    def note(self, text: str) -> None:
        """Progress, and hints: to stderr."""
        print(clean(text), file=sys.stderr, flush=True)

    def problem(self, problem: Mapping[str, Any]) -> None:
        if self.is_json:
            print(dump(dict(problem), pretty=False), file=sys.stderr, flush=True)
            return
        ink = ("\x1b[31m", "\x1b[0m") if has_colour(sys.stderr) else ("", "")
        title, detail = clean(problem.get("title", "Error")), clean(problem.get("detail", ""))
        # The detail of a problem of ours is a whole sentence; its title would say that again.
        said = detail if detail and (problem.get("type") or detail == title) else f"{title} {detail}".strip()
        print(f"{ink[0]}stackly:{ink[1]} {said}", file=sys.stderr, flush=True)


def paint(word: object) -> str:
    """A status or a verdict in its colour, where stdout is a terminal."""
    text = clean(word)
    ink = _INKS.get(text)
    return f"\x1b[{ink}m{text}\x1b[0m" if ink and has_colour(sys.stdout) else text


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Shape: '' without rows. Nothing is cut off unless a person looks at it in a narrow window."""
    listed = [[_cell(value) for value in row] for row in rows]
    if not listed:
        return ""
    # Late: rich costs more than many a command.
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for head in heads:
        made.add_column(head, overflow="fold", no_wrap=not sys.stdout.isatty())
    for row in listed:
        made.add_row(*(Text(value, style=_style(value)) for value in row))
    console = Console(
        width=None if sys.stdout.isatty() else 4000, no_color=not has_colour(sys.stdout), highlight=False, emoji=False
    )
    with console.capture() as drawn:
        console.print(made)
    return "\n".join(line.rstrip() for line in drawn.get().rstrip("\n").split("\n"))


def _style(value: str) -> str:
    ink = _INKS.get(value)
    return {"31": "red", "32": "green", "33": "yellow"}[ink] if ink else ""


def _cell(value: object) -> str:
    if value is None or value == "":
        return "-"
    return clean(value).replace("\n", " ")


def field(name: str) -> Column:
    return name.replace("_", " ").upper(), lambda item: item.get(name)


def short(commit: object) -> str:
    return str(commit)[:7] if commit else "-"


def facts(pairs: Iterable[tuple[str, object]]) -> str:
    """Shape: a name and its value a line, aligned; what is unknown is left out."""
    known = [(name, value) for name, value in pairs if value not in (None, "", [], {})]
    width = max((len(name) for name, _ in known), default=0)
    return "\n".join(f"{name:<{width}}  {paint(value)}" for name, value in known)
