"""A file that somebody named, and a suite file as the server would take it."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from stackly.cli.exits import CommandFailed, Exit

if TYPE_CHECKING:
    from stackly.suites.model import ResolvedSuite, Suite

# What a platform offers unless its settings say otherwise.
MAJORS = ("16", "18")


class Checked(NamedTuple):
    suite: "Suite"
    resolved: "ResolvedSuite"
    target: str
    warnings: list[str]


def read(file: Path) -> str:
    """Raises: CommandFailed."""
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise CommandFailed(Exit.USAGE, "There is no such file.", str(file)) from None
    except (OSError, UnicodeDecodeError) as e:
        raise CommandFailed(Exit.USAGE, "The file cannot be read.", f"{file}: {e}") from e


def checked(file: Path, *, target: str | None, commit: str | None) -> Checked:
    """A suite as the server would take it. Raises: FileInvalid with all its problems."""
    # Late: reading YAML and HCL costs more than many a command.
    from stackly.suites import plan, release, schema

    text = read(file)
    suite = schema.parse(text, str(file))
    if commit is None:
        commit = head_of(file) if "${commit}" in text else ""
    resolved = plan.resolve(suite, commit)
    place = target or _target_beside(file)
    offer = release.Offer(target=place, majors=MAJORS)
    release.check(suite, resolved, offer)
    warned = release.warnings(suite, resolved, offer)
    return Checked(suite, resolved, place, [f"{test}: {w}" for test, found in warned.items() for w in found])


# All before the target where nothing has to be understood: the stack's line, its plain attributes, comments.
_PLAINLY = re.compile(
    r"""\s*stack\s+"[^"${}]*"\s*\{\s*\n(?:\s*(?:[a-su-z_]\w*\s*=\s*"[^"${}\\]*")?[ \t]*(?:\#[^\n]*)?\n)*"""
    r"""\s*target\s*=\s*"(local|docker)"[ \t]*\n""",
    re.ASCII,
)


def _target_beside(file: Path) -> str:
    """The stack's target. A file that says it plainly is not parsed: the grammar of HCL costs more than the rest."""
    beside = file.parent / "stackly.hcl"
    if not beside.exists():
        return "local"
    text = read(beside)
    plainly = _PLAINLY.match(text)
    if plainly is not None:
        return plainly[1]
    from stackly.stacks import config  # late: see above

    return config.parse(text, str(beside)).target


def head_of(file: Path) -> str:
    """The commit checked out around a file; '' outside of git."""
    import subprocess  # late: few suites name a commit

    argv = ["git", "-C", str(file.resolve().parent), "rev-parse", "--verify", "-q", "HEAD"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
