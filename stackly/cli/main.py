"""The console entry: `stackly`."""

import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from stackly import texts
from stackly.cli.exits import Exit
from stackly.cli.speech import Format, Speech
from stackly.cli.version import quickly

if TYPE_CHECKING:
    import typer

# Where each verb's work is, and its line of the help, which is shown without loading that.
# Shape: module and function of this room, whether it reports in Markdown and JUnit, the first line of its docstring.
VERBS: Mapping[str, tuple[str, str, bool, str]] = {
    "up": ("local", "up", False, "Start everything on this machine, or find it running."),
    "down": ("local", "down", False, "Stop everything on this machine, the machines of tests last."),
    "status": ("local", "status", False, "The components of the local platform."),
    "logs": ("local", "logs", False, "The log of one component."),
    "doctor": ("local", "doctor", False, "What this machine lacks, and the one command that mends it."),
    "demo": ("demo", "demo", True, "Push an example, follow its run, print the verdict; exits by the outcome."),
    "init": ("init", "init", False, "Write a stack that runs as it is: main.tf, stackly.hcl and suite.yaml."),
    "inventory": ("events", "inventory", False, "What exists on the targets, and what of it nobody should hold."),
    "explain": ("events", "explain", False, "Why something happened, or why not, and what would change that."),
    "approve": ("approvals", "approve", False, "Agree with exactly what you looked at."),
    "deny": ("approvals", "deny", False, "Refuse, with a reason."),
    "schema": ("files", "schema", False, "The JSON Schema of a file."),
    "login": ("about", "login", False, "Keep a token for this server; it is read from stdin, never from an argument."),
    "version": ("about", "version", False, "The version of this command."),
    "completion": (
        "about",
        "completion",
        False,
        "What makes your shell complete this command: stackly completion bash >> ~/.bashrc",
    ),
}
NOUNS: Mapping[str, tuple[str, str, str]] = {
    "repo": ("repos", "app", "Repositories."),
    "stack": ("stacks", "app", "Stacks and their states."),
    "run": ("runs", "app", "Runs."),
    "suite": ("files", "suite_app", "Suite files."),
    "approval": ("approvals", "app", "What waits for a person."),
    "agent": ("agents", "app", "Agents."),
    "event": ("events", "app", "The event log."),
    "obligation": ("obligations", "app", "What is still to be destroyed."),
    "policy": ("files", "policy_app", "Policy files."),
}


def build(word: str | None = None) -> "typer.Typer":
    """The command with what its first word names; with another word only the names of all, which load nothing."""
    from stackly.cli.command import command, new_app  # late: see `quickly`
    from stackly.cli.place import Place, default_home

    app = new_app(lambda server: Place(default_home(), server))
    if word is not None and word in VERBS:
        module, work, reports, _ = VERBS[word]
        command(app, word, reports=reports)(getattr(import_module(f"stackly.cli.{module}"), work))
    elif word is not None and word in NOUNS:
        module, attribute, _ = NOUNS[word]
        app.add_typer(getattr(import_module(f"stackly.cli.{module}"), attribute))
    else:
        for name, about in {n: str(found[-1]) for n, found in (*VERBS.items(), *NOUNS.items())}.items():
            app.command(name, help=about)(_unloaded)
    return app


def _unloaded() -> None:
    """Stands for a command in a list of all; the word of one that is called loads it."""


def asked_of_shell(environment: Mapping[str, str]) -> list[str]:
    """The words before the one that a shell wants completed. Shape: without the command itself."""
    typed = environment.get("COMP_WORDS")
    if typed is not None:
        return typed.split()[1 : int(environment.get("COMP_CWORD") or 1)]
    words = environment.get("_TYPER_COMPLETE_ARGS", "")
    return words.split()[1:] if words.endswith(" ") else words.split()[1:-1]


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
    from typer.completion import completion_init  # type: ignore[attr-defined]  # typer does so with add_completion only

    words = argv
    if "_STACKLY_COMPLETE" in os.environ:
        words = asked_of_shell(os.environ)
        sys.modules.setdefault("rich", None)  # type: ignore[arg-type]  # typer would load it to draw plain words
        completion_init()
    try:
        ended = build(first_word(words))(list(argv), prog_name="stackly", standalone_mode=False)
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
