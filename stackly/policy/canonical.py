"""Frozen dataclasses as JSON and back, bit for bit: the form that is stored, hashed and replayed."""

import dataclasses
import functools
import hashlib
import json
import types
import typing
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any, TypeVar

T = TypeVar("T")


def as_json(thing: Any) -> Any:
    """Shape: dataclass -> object, tuple -> array, moment -> ISO 8601 UTC with microseconds when it has any.

    Raises: TypeError on anything else, so that nothing is stored that could not come back.
    """
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        return {field.name: as_json(getattr(thing, field.name)) for field in dataclasses.fields(thing)}
    if isinstance(thing, Mapping):
        return {str(key): as_json(value) for key, value in thing.items()}
    if isinstance(thing, list | tuple):
        return [as_json(item) for item in thing]
    if isinstance(thing, datetime):
        return thing.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(thing, date):
        return thing.isoformat()
    if thing is None or isinstance(thing, str | int | float | bool):
        return thing
    raise TypeError(f"{type(thing).__name__} has no stored form")


def from_json(kind: type[T], data: Any) -> T:
    """Raises: KeyError, TypeError, ValueError when `data` is not what `as_json` gives for a `kind`."""
    read: T = _read(kind, data)
    return read


def _read(kind: Any, data: Any) -> Any:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any or isinstance(kind, typing.ForwardRef):
        return data
    if origin in (typing.Union, types.UnionType):
        return _read_union(args, data)
    if origin is tuple:
        inner = [args[0]] * len(data) if args[-1] is ... else args
        return tuple(_read(part, item) for part, item in zip(inner, data, strict=True))
    if origin is not None and issubclass(origin, Mapping):
        return {key: _read(args[1], value) for key, value in data.items()}
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = _hints(kind)
        return kind(**{f.name: _read(hints[f.name], data[f.name]) for f in dataclasses.fields(kind) if f.name in data})
    if kind in (datetime, date):
        return kind.fromisoformat(data)
    return data


@functools.cache
def _hints(kind: type[Any]) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _read_union(args: tuple[Any, ...], data: Any) -> Any:
    if data is None:
        return None
    rest = [arg for arg in args if arg is not types.NoneType]
    return _read(rest[0], data) if len(rest) == 1 else data


def text(thing: Any) -> str:
    """One text per value: sorted keys, no spaces, no NaN."""
    return json.dumps(as_json(thing), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(thing: Any) -> str:
    """Shape: sha256 in hex of the canonical text."""
    return hashlib.sha256(text(thing).encode()).hexdigest()
