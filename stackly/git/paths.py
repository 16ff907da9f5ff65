"""Patterns over the paths of a repository, as `trigger.paths` holds them. Pure.

A pattern is compared with whole paths, segment by segment, from the repository's root:

- `*` stands for any characters within one segment, none included; `?` for exactly one.
- `**` as a whole segment stands for any number of segments, none included: `src/**/*.c` matches `src/a.c`.
- A pattern without a wildcard names a file, or a directory and everything below it: `src` and `src/` match `src/a/b.c`.
- A pattern that ends with `/` names directories only: `lib*/` matches `lib1/x`, and no file `lib1`.
- Everything else is literal and its case counts; there are no character classes, no escapes and no negation.
- `.` and empty segments say nothing: `./src//a` is `src/a`, and `.` is the whole repository.

Time grows with the product of both lengths at worst, never faster, whatever the pattern.
"""

from collections.abc import Callable, Iterable, Sequence

_ANY = "**"


def matches(pattern: str, path: str) -> bool:
    """Whether a file's path fits."""
    wanted = _segments(pattern)
    if pattern.endswith("/"):
        wanted = (*wanted, _ANY, "*")  # at least one segment below
    elif not any(c in pattern for c in "*?"):
        wanted = (*wanted, _ANY)
    return _wild(wanted, path.split("/"), _ANY, _segment)


def first(patterns: Iterable[str], paths: Iterable[str]) -> tuple[str, str] | None:
    """The first path, in the order given, that one of the patterns fits, as (pattern, path)."""
    known = tuple(patterns)
    found = ((pattern, path) for path in paths for pattern in known if matches(pattern, path))
    return next(found, None)


def _segments(pattern: str) -> tuple[str, ...]:
    return tuple(part for part in pattern.split("/") if part not in ("", "."))


def _segment(pattern: str, name: str) -> bool:
    return _wild(pattern, name, "*", lambda one, char: one in ("?", char))


def _wild(pattern: Sequence[str], text: Sequence[str], any_of: str, fits: Callable[[str, str], bool]) -> bool:
    """Compare with one wildcard for any run of items: only the last one seen ever has to take more."""
    at = start = taken = 0
    star = -1
    while start < len(text):
        if at < len(pattern) and pattern[at] == any_of:
            star, taken = at, start
            at += 1
        elif at < len(pattern) and fits(pattern[at], text[start]):
            at += 1
            start += 1
        elif star >= 0:
            taken += 1
            at, start = star + 1, taken
        else:
            return False
    return all(item == any_of for item in pattern[at:])
