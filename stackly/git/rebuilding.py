"""A bundle made again from a mirror that is on this machine. Nothing is fetched for it."""

from pathlib import Path

from stackly.errors import StacklyError
from stackly.git.mirrors import Mirror
from stackly.git.runner import Runner


async def rebuilt(mirrors: Path, repo: str, commit: str, path: str) -> bytes | None:
    """None where git has not all of it any more. Shape: `repo` is the id that names the mirror."""
    place = mirrors / f"{repo}.git"
    if not place.is_dir():
        return None
    # The mirror stands for its own upstream, so that what is missing is asked of nobody else.
    mirror = Mirror(mirrors, repo, place.resolve().as_uri(), Runner(protocols=frozenset({"file"})))
    try:
        return await mirror.bundle(commit, path)
    except StacklyError:
        return None
