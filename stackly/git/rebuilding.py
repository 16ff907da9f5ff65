"""A bundle made again from a mirror that is on this machine. Nothing is fetched for it."""

from contextlib import suppress
from pathlib import Path

from stackly.errors import StacklyError
from stackly.git import bundles
from stackly.git.mirrors import Mirror
from stackly.git.runner import Runner


async def rebuilt(mirrors: Path, repo: str, commit: str, path: str, key: str) -> bytes | None:
    """The bundle of that key, as this release writes it or an earlier one did; None where git has it not any more.

    Shape: `repo` is the id that names the mirror.
    """
    place = mirrors / f"{repo}.git"
    if not place.is_dir():
        return None
    # The mirror stands for its own upstream, so that what is missing is asked of nobody else.
    mirror = Mirror(mirrors, repo, place.resolve().as_uri(), Runner(protocols=frozenset({"file"})))
    for earlier in (False, True):
        with suppress(StacklyError):
            packed = await mirror.bundle(commit, path, earlier=earlier)
            if bundles.is_of(packed, key):
                return packed
    return None
