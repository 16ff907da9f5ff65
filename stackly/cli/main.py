"""The console entry: `stackly`."""

import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from stackly import texts
from stackly.cli.exits import Exit
from stackly.cli.place import Place, default_home
from stackly.cli.speech import Format, Speech
from stackly.cli.version import quickly

if TYPE_CHECKING:
    import typer

# Where each verb's work is. Shape: module and function of this room, and whether it reports in Markdown and JUnit.
_VERBS: Mapping[str, tuple[str, str, bool]] = {
    "up": ("local", "up", False),
    "down": ("local", "down", False),
    "status": ("local", "status", False),
    "logs": ("local", "logs", False),
    "doctor": ("local", "doctor", False),
    "demo": ("demo", "demo", True),
    "inventory": ("events", "inventory", False),
    "explain": ("events", "explain", False),
    "approve": ("approvals", "approve", False),
    "deny": ("approvals", "deny", False),
    "schema": ("files", "schema", False),
    "login": ("about", "login", False),
    "version": ("about", "version", False),
    "completion": ("about", "completion", False),
}
_NOUNS: Mapping[str, tuple[str, str]] = {
    "repo": ("repos", "app"),
    "stack": ("stacks", "app"),
    "run": ("runs", "app"),
    "suite": ("files", "suite_app"),
    "approval": ("approvals", "app"),
    "agent": ("agents", "app"),
    "event": ("events", "app"),
    "obligation": ("obligations", "app"),
    "policy": ("files", "policy_app"),
}


def build(word: str | None = None) -> "typer.Typer":
    """The whole command; for a known first word only that part of it, since building all costs half a second."""
    from stackly.cli.command import command, new_app

    app = new_app(lambda server: Place(default_home(), server))
    known = word in _VERBS or word in _NOUNS
    for verb, (module, work, reports) in _VERBS.items():
        if verb == word or not known:
            command(app, verb, reports=reports)(getattr(import_module(f"stackly.cli.{module}"), work))
    for noun, (module, attribute) in _NOUNS.items():
        if noun == word or not known:
            app.add_typer(getattr(import_module(f"stackly.cli.{module}"), attribute))
    return app


def first_word(argv: Sequence[str]) -> str | None:
    """The first argument that is no option, nor an option's value."""
    words = iter(argv)
    for word in words:
        if word == "--server":
            next(words, None)
        elif not word.startswith("-"):
            return word
    return None


def run(argv: Sequence[str]) -> int:
    """One call. Shape: its exit."""
    told = quickly(argv)
    if told is not None:
        return told
    odd = next((word for word in argv if texts.flaw(word)), None)
    if odd is not None:
        detail = f"The argument {texts.shown(odd)} is not UTF-8; a name is given as it is shown."
        Speech(_form(argv)).problem(
            {"type": "/problems/invalid", "title": "Not so.", "detail": detail, "kind": "invalid"}
        )
        return Exit.USAGE
    import typer  # late: see `quickly`

    completes = "_STACKLY_COMPLETE" in os.environ
    try:
        ended = build(None if completes else first_word(argv))(list(argv), prog_name="stackly", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        return Exit.INTERRUPTED
    except Exception as e:
        if not hasattr(e, "format_message"):  # what the parser raises, whichever click is in use
            raise
        return _misused(e, argv)
    return int(ended or 0)


def _misused(error: Any, argv: Sequence[str]) -> Exit:
    """A usage error in the form that was asked for."""
    form = _form(argv)
    said = error.format_message()
    if not said:  # a group without a command: its help is already on the screen
        return Exit.USAGE
    Speech(form).problem({"type": "/problems/invalid", "title": "Not so.", "detail": said, "kind": "invalid"})
    if form == Format.TEXT and getattr(error, "ctx", None) is not None:
        print(f"Try: {error.ctx.command_path} --help", file=sys.stderr)
    return Exit.USAGE


def _form(argv: Sequence[str]) -> Format:
    told = f"{' '.join(argv)} "
    asked = ("--json ", "--output json", "--output=json", "-o json", "-ojson")
    return Format.JSON if any(a in told for a in asked) else Format.TEXT


def main() -> None:
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
