"""What git's own diff of two trees says, read as it comes. Pure: fed with bytes."""

from dataclasses import dataclass
from typing import Final

MAX_CHANGED: Final = 50_000
# A diff against a tree of billions of names holds them all before it prints one: it is stopped by these.
DIFF_SECONDS: Final = 20.0
DIFF_MEMORY: Final = 512 * 1024**2


@dataclass(frozen=True, slots=True)
class Changed:
    """Shape: `paths` of files, sorted; bytes that are not UTF-8 are surrogates in them.

    When it is not `complete` there were too many to list: take it that any path may have changed.
    """

    paths: tuple[str, ...]
    complete: bool


class NameReader:
    """Reads `diff-tree -r -z --name-only` piece by piece."""

    def __init__(self, limit: int = MAX_CHANGED) -> None:
        self._limit = limit
        self._rest = b""
        self._paths: list[str] = []

    @property
    def is_full(self) -> bool:
        return len(self._paths) > self._limit

    def feed(self, chunk: bytes) -> None:
        *names, self._rest = (self._rest + chunk).split(b"\0")
        self._paths.extend(name.decode("utf-8", "surrogateescape") for name in names)

    def changed(self, *, complete: bool) -> Changed:
        return Changed(tuple(sorted(self._paths[: self._limit])), complete)
