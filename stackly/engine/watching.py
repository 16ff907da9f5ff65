"""`trigger.paths`: which stacks a push starts by files outside their directories. Pure, and cheap for thousands."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from stackly.engine.pushes import MAX_NAMED
from stackly.git.differences import Changed
from stackly.git.paths import matches
from stackly.stacks.model import FoundStack

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Watching:
    """Who watches what.

    Shape: `stacks` path -> its patterns; `patterns` are all of them, sorted; `below` is directory -> (pattern, paths of
    the stacks that name it), for patterns that only fit below it.
    """

    stacks: Mapping[str, tuple[str, ...]]
    patterns: tuple[str, ...]
    below: Mapping[str, Sequence[tuple[str, tuple[str, ...]]]]


@lru_cache(maxsize=256)
def watching(told: str) -> Watching:
    """Shape: `told` is a JSON array of [path, patterns]. From one push to the next it hardly ever changes."""
    by_pattern: dict[str, list[str]] = defaultdict(list)
    pairs: list[tuple[str, list[str]]] = json.loads(told)
    for path, patterns in pairs:
        for pattern in dict.fromkeys(patterns):
            by_pattern[pattern].append(path)
    below: dict[str, list[tuple[str, tuple[str, ...]]]] = defaultdict(list)
    for pattern in sorted(by_pattern):
        below[_directory(pattern)].append((pattern, tuple(by_pattern[pattern])))
    stacks = {path: tuple(patterns) for path, patterns in pairs}
    return Watching(stacks, tuple(sorted(by_pattern)), dict(below))


def watching_of(found: Mapping[str, FoundStack]) -> Watching:
    """As a sync reads it from files."""
    told = [
        [path, list(f.config["trigger"]["paths"])] for path, f in sorted(found.items()) if f.config and not f.errors
    ]
    return watching(json.dumps([each for each in told if each[1]]))


def started_by(changed: Changed | None, stacks: Watching) -> dict[str, tuple[str, ...]]:
    """The stacks whose `trigger.paths` fit what a push changed, with the files that did, a few of each.

    When git could not say what changed, any of them may have: all are started, and no file is named.
    """
    if changed is None or not changed.complete:
        return dict.fromkeys(stacks.stacks, ())
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for path in changed.paths:
        for directory in _above(path):
            for pattern, named in stacks.below.get(directory, ()):
                if matches(pattern, path):
                    for stack in named:
                        if len(found[stack]) < MAX_NAMED:
                            found[stack][path] = None
    return {stack: tuple(files) for stack, files in found.items()}


def _directory(pattern: str) -> str:
    """The directory that everything which fits lies in, as far as the pattern says it without wildcards."""
    parts = [part for part in pattern.split("/") if part not in ("", ".")]
    wild = (i for i, part in enumerate(parts) if "*" in part or "?" in part)
    return "/".join(parts[: next(wild, max(0, len(parts) - 1))])


def _above(path: str) -> list[str]:
    """Every directory a file is in, the repository itself as '', and the path: `a/**` fits a file `a` as well."""
    parts = path.split("/")
    return ["/".join(parts[:i]) for i in range(len(parts) + 1)]


def would_start(changed: Changed | None, directories: Iterable[str], watching: Watching) -> str:
    """For a push without a run: what it changed, and what would have started one."""
    places = _few([f"{d}/" if d != "." else "the repository" for d in sorted(directories)])
    patterns = _few(watching.patterns)
    would = f"a change below {places}, or in a local module called there, would start one" if places else ""
    if patterns:
        would += f"{', and so would one' if would else 'a change'} in trigger.paths {patterns}"
        would += "" if places else " would start one"
    files = (
        "" if changed is None else f" ({len(changed.paths)} changed: {_few(changed.paths)})" if changed.paths else ""
    )
    none = "no stack directory, and no local module that one calls, differs from the commit processed before"
    return f"{none}{files}; {would or 'there is no stack: add a directory with *.tf or *.tf.json and stackly.hcl'}"


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
