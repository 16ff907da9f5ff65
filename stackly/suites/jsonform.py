"""Frozen dataclasses and named tuples to JSON and back, for columns of type jsonb and for digests."""

import dataclasses
import functools
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")


def to_json(value: Any) -> Any:
    """Dataclasses become objects, tuples lists; every field is written, defaults too."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): to_json(v) for k, v in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {name: to_json(v) for name, v in zip(value._fields, value, strict=True)}
    if isinstance(value, list | tuple):
        return [to_json(v) for v in value]
    return value


def from_json(cls: type[T], data: Mapping[str, Any]) -> T:
    """The dataclass that `to_json` wrote. Unknown keys are left out, so that an older reader takes a newer row.

    Raises: KeyError or TypeError when a field without default is missing.
    """
    hints = _hints(typing.cast("Any", cls))
    return cls(**{k: _read(hints[k], v) for k, v in data.items() if k in hints})


@functools.cache  # resolving the annotations costs more than the rest together
def _hints(cls: type) -> Mapping[str, Any]:
    hints = typing.get_type_hints(cls)
    names = getattr(cls, "_fields", None) or [f.name for f in dataclasses.fields(cls)]
    return {name: hints[name] for name in names}


def _read(hint: Any, value: Any) -> Any:
    origin = typing.get_origin(hint)
    if value is None:
        return None
    if origin in (typing.Union, types.UnionType):
        return _read(next(a for a in typing.get_args(hint) if a is not type(None)), value)
    if origin is tuple:
        return tuple(_read(typing.get_args(hint)[0], v) for v in value)
    if isinstance(hint, type) and (dataclasses.is_dataclass(hint) or hasattr(hint, "_fields")):
        return from_json(hint, value)
    if hint is float and isinstance(value, int):
        return float(value)  # jsonb writes 60.0 as 60
    return value


def canonical(value: Any) -> bytes:
    """One way to write a value: sorted keys, no spaces, UTF-8; a whole float is written as an integer."""
    import json  # late: many a command writes none

    return json.dumps(
        _plain(to_json(value)), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def sha256(value: Any) -> str:
    import hashlib  # late: a suite that is only checked needs no digest

    return hashlib.sha256(canonical(value)).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value
