"""`stackly version`, `completion`, `login`: the command itself, and who you are."""

import sys
from typing import Annotated

import typer

from stackly.cli.command import Invocation
from stackly.cli.exits import CommandFailed, Exit
from stackly.cli.version import tell

_SHELLS = ("bash", "zsh", "fish")


def version(call: Invocation) -> None:
    """The version of this command."""
    tell(call.say)


def completion(
    call: Invocation, shell: Annotated[str, typer.Argument(metavar="|".join(_SHELLS), help="Your shell.")]
) -> None:
    """What makes your shell complete this command: stackly completion bash >> ~/.bashrc"""
    if shell not in _SHELLS:
        raise CommandFailed(Exit.USAGE, "There is no such choice.", f"{shell!r} is none of {', '.join(_SHELLS)}.")
    from typer._completion_shared import get_completion_script

    script = get_completion_script(prog_name="stackly", complete_var="_STACKLY_COMPLETE", shell=shell)
    call.say.one({"shell": shell, "script": script}, lambda s: str(s["script"]))


def login(
    call: Invocation,
    *,
    with_token: Annotated[bool, typer.Option("--with-token", help="Read the token from stdin.")] = False,
) -> None:
    """Keep a token for this server; it is read from stdin, never from an argument."""
    if not with_token:
        said = "Give the token on stdin: stackly login --with-token < FILE"
        raise CommandFailed(Exit.USAGE, "There is no other way to sign in from here.", said)
    token = sys.stdin.readline().strip()
    if not token:
        raise CommandFailed(Exit.USAGE, "No token came on stdin.")
    from stackly.cli.server import Server

    who = Server(call.place.server(), token).get("/me")
    call.place.keep_login(token)
    call.say.one(who, lambda w: f"signed in to {call.place.server()} as {w['login']}")
