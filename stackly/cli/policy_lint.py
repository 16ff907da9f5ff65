"""`stackly policy lint`: every problem of every file, and names that are taken."""

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from stackly.cli.command import Invocation
from stackly.cli.exits import CommandFailed, Exit
from stackly.cli.suite_file import read
from stackly.errors import FileInvalid, FileProblem
from stackly.policy import parse
from stackly.policy.model import Policy

Json = dict[str, Any]
Found = dict[Path, list[tuple[Policy, int]]]


def policy_lint(call: Invocation, given: Sequence[Path]) -> None:
    """Raises: FileInvalid with the problems of all files; CommandFailed for what cannot be read."""
    files = list(dict.fromkeys(chain.from_iterable(map(_files, given))))
    found, problems = _parsed(files)
    if problems:
        raise FileInvalid(problems)
    warnings = list(_taken(found))
    for warning in warnings if call.say.form == "text" else ():
        call.say.note(f"warning: {warning}")
    call.say.one(_result(found) | {"warnings": warnings}, lambda _: "\n".join(map(_line, found.items())))


def _files(given: Path) -> list[Path]:
    """What the platform would read. Raises: CommandFailed for a directory without any."""
    if not given.is_dir():
        return [given]
    found = sorted(given.glob("*.hcl"))
    if not found:
        raise CommandFailed(Exit.USAGE, "There is no policy file.", f"{given} holds no *.hcl")
    return found


def _parsed(files: Sequence[Path]) -> tuple[Found, list[FileProblem]]:
    found: Found = {}
    problems: list[FileProblem] = []
    for file in files:
        try:
            found[file] = parse.policies_with_lines(read(file), str(file))
        except FileInvalid as e:
            problems += e.problems
    return found, problems


def _taken(found: Found) -> Iterator[str]:
    """Of one name the first policy is read, and no other."""
    first: dict[str, str] = {}
    for file, policies in found.items():
        for policy, line in policies:
            place = f"{file}:{line}"
            if policy.name in first:
                yield f"{place}: policy {policy.name} is defined at {first[policy.name]} already, and that one counts"
            first.setdefault(policy.name, place)


def _result(found: Found) -> Json:
    """Shape: `file` where it is one; a policy's own `file` always."""
    policies = [
        {"name": p.name, "digest": p.digest, "file": str(file)} for file, listed in found.items() for p, _ in listed
    ]
    only = str(next(iter(found))) if len(found) == 1 else None
    return {"valid": True, "file": only, "files": [str(file) for file in found], "policies": policies}


def _line(item: tuple[Path, list[tuple[Policy, int]]]) -> str:
    file, policies = item
    return f"{file}: valid, {', '.join(p.name for p, _ in policies) or 'no policy'}"
