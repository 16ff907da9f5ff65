"""Where the examples are that come with this installation."""

from pathlib import Path

from stackly.cli.exits import CommandFailed, Exit


def example(name: str) -> Path:
    """In a checkout beside the package, in an installed package within it. Raises: CommandFailed."""
    package = Path(__file__).resolve().parents[1]
    for place in (package.parent / "examples" / name, package / "shipped" / "examples" / name):
        if place.is_dir():
            return place
    raise CommandFailed(Exit.INTERNAL, f"The example {name} is missing from this installation.")
