"""The version, told without the parser: scripts ask for it often, and the parser alone costs a third of a second."""

from collections.abc import Sequence
from typing import Any

from stackly.cli.exits import Exit
from stackly.cli.speech import Format, Speech

_FORMS: dict[tuple[str, ...], Format] = {
    (): Format.TEXT,
    ("--json",): Format.JSON,
    **{(option, form.value): form for form in Format for option in ("--output", "-o")},
}


def found() -> dict[str, Any]:
    from importlib.metadata import PackageNotFoundError, version  # late: not every command needs it

    try:
        return {"version": version("stackly")}
    except PackageNotFoundError:
        return {"version": "0.0.0"}


def tell(say: Speech) -> None:
    say.one(found(), lambda v: f"stackly {v['version']}")


def quickly(argv: Sequence[str]) -> Exit | None:
    """None when this is another command, or one for the parser."""
    form = _FORMS.get(tuple(argv[1:])) if argv and argv[0] == "version" else None
    if form is None:
        return None
    tell(Speech(form))
    return Exit.OK
