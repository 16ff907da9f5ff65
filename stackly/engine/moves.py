"""Which stack of before is which stack of now: one that moved is not another one that came. Pure."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """What stands at a path. Shape: `key` covers its content; `name` is None when its configuration is unreadable."""

    key: str
    name: str | None


@dataclass(frozen=True, slots=True)
class Passage:
    """Shape: `moved` path now -> path before; the others are paths, sorted. A path may be in `gone` and in `new`."""

    stays: tuple[str, ...]
    moved: Mapping[str, str]
    new: tuple[str, ...]
    gone: tuple[str, ...]


def passage(before: Mapping[str, Place], after: Mapping[str, Place]) -> Passage:
    """Follow every stack from the places of before to those of now; what did not change at all is in neither.

    A stack that keeps its place and its name stays, whatever became of its content: a copy of it elsewhere is another
    one. Else its content tells where it went, then its name, where one stack only had it and one only has it.
    """
    olds, news = dict(before), dict(after)
    stays = [p for p in sorted(olds.keys() & news.keys()) if _keeps(p, before, after)]
    _leave(olds, news, {p: p for p in stays})
    moved = _by_content(olds, news)
    _leave(olds, news, moved)
    named = _by_name(olds, news)
    _leave(olds, news, named)
    renamed = sorted(olds.keys() & news.keys())
    _leave(olds, news, {p: p for p in renamed})
    return Passage(tuple(sorted([*stays, *renamed])), moved | named, tuple(sorted(news)), tuple(sorted(olds)))


def _keeps(path: str, before: Mapping[str, Place], after: Mapping[str, Place]) -> bool:
    now = after[path]
    if now.key == before[path].key:
        return True
    if None not in {now.name, before[path].name} and now.name != before[path].name:
        return False
    # Two directories that changed their contents with each other changed places, even under one name.
    partners = [p for p in before if p != path and before[p].key == now.key and p in after]
    return all(after[p].key != before[path].key for p in partners)


def _by_content(olds: Mapping[str, Place], news: Mapping[str, Place]) -> dict[str, str]:
    """Equal contents pair in the order of their paths, so that the same two commits always tell the same story."""
    had = defaultdict(list)
    for path in sorted(olds, reverse=True):
        had[olds[path].key].append(path)
    return {path: had[news[path].key].pop() for path in sorted(news) if had[news[path].key]}


def _by_name(olds: Mapping[str, Place], news: Mapping[str, Place]) -> dict[str, str]:
    had, has = _named(olds), _named(news)
    alone = [n for n in sorted(had.keys() & has.keys()) if len(had[n]) == len(has[n]) == 1]
    return {has[n][0]: had[n][0] for n in alone if has[n] != had[n]}


def _named(places: Mapping[str, Place]) -> dict[str, list[str]]:
    found = defaultdict(list)
    for path, place in places.items():
        if place.name is not None:
            found[place.name].append(path)
    return found


def _leave(olds: dict[str, Place], news: dict[str, Place], pairs: Mapping[str, str]) -> None:
    for now, then in pairs.items():
        del news[now], olds[then]
