"""`stackly init`: a stack that runs as it is, to begin one's own from."""

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from stackly.cli.command import Invocation
from stackly.cli.examples import example
from stackly.cli.exits import CommandFailed, Exit
from stackly.cli.speech import clean

FILES = ("main.tf", "stackly.hcl", "suite.yaml")


class InitTarget(StrEnum):
    LOCAL = "local"
    DOCKER = "docker"


_EXAMPLE = {InitTarget.LOCAL: "pg-standalone", InitTarget.DOCKER: "pg-docker"}


def init(
    call: Invocation,
    directory: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where; here if left out.")] = Path(),
    *,
    target: Annotated[InitTarget, typer.Option(help="Where it is measured.")] = InitTarget.LOCAL,
) -> None:
    """Write a stack that runs as it is: main.tf, stackly.hcl and suite.yaml."""
    there = [name for name in FILES if (directory / name).exists()]
    if there:
        said = f"{directory} has {', '.join(there)} already; nothing was written. Name another directory."
        raise CommandFailed(Exit.USAGE, "Nothing is overwritten.", said, files=there)
    name = stack_name(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for file in FILES:
            with (directory / file).open("x", encoding="utf-8") as out:  # whoever was quicker is not overwritten either
                out.write(_text(_EXAMPLE[target], file, name))
    except OSError as e:
        raise CommandFailed(
            Exit.USAGE, "The files cannot be written.", f"{e.filename or directory}: {e.strerror}"
        ) from e
    made: dict[str, Any] = {"directory": str(directory), "name": name, "target": str(target), "files": list(FILES)}
    call.say.one(made, lambda m: _next(str(m["directory"]), name))


def _text(source: str, file: str, name: str) -> str:
    text = (example(source) / file).read_text(encoding="utf-8")
    return (
        text
        if file == "main.tf"
        else text.replace(f'"{source}"', f'"{name}"').replace(f"name: {source}", f"name: {name}")
    )


def stack_name(directory: Path) -> str:
    """Of the directory's name, what a stack and a suite may be called."""
    name = re.sub(r"[^a-z0-9-]+", "-", directory.resolve().name.lower()).strip("-")
    return (name if re.match(r"[a-z]", name) else f"stack-{name}".rstrip("-"))[:63].rstrip("-")


def _next(directory: str, name: str) -> str:
    suite = str(Path(directory) / "suite.yaml")
    lines = [
        f"{directory} holds a stack: {', '.join(FILES)}",
        f"check it   stackly suite validate {suite}",
        f"run it     stackly suite run {suite}",
        f"or push it stackly repo create {name}; docs/first-stack.md says how",
    ]
    return "\n".join(map(clean, lines))
