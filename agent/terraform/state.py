"""A version of Terraform's state: what parses whole counts, during an apply most reads do not."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

_DIGITS_MOST = 4000


@dataclass(frozen=True, slots=True)
class Version:
    """One readable state. Shape: `content` are the exact bytes; serials grow within a lineage."""

    content: bytes
    serial: int
    lineage: str

    @property
    def outputs(self) -> dict[str, Any]:
        return dict(load(self.content).get("outputs") or {})

    @property
    def empty(self) -> bool:
        return not load(self.content).get("resources")

    @property
    def sensitive(self) -> list[Any]:
        """Values that are marked sensitive: outputs, and attributes of resources."""
        raw = load(self.content)
        found = [o.get("value") for o in (raw.get("outputs") or {}).values() if o.get("sensitive")]
        instances = [i for r in raw.get("resources") or [] for i in r.get("instances") or []]
        return found + [value for instance in instances for value in _marked(instance)]


def load(content: bytes) -> Any:
    """Terraform's JSON: its numbers are exact, and may have more digits than Python's integers are read with."""
    return json.loads(content, parse_float=_fraction, parse_int=_whole)


def _whole(text: str) -> int | Decimal:
    return int(text) if len(text) < _DIGITS_MOST else Decimal(text)


def _fraction(text: str) -> float | Decimal:
    """A float where it says the same."""
    found = float(text)
    return found if Decimal(repr(found)) == Decimal(text) else Decimal(text)


def _marked(instance: dict[str, Any]) -> Iterator[Any]:
    """Of a path that leads into an attribute the whole attribute counts."""
    attributes = instance.get("attributes") or {}
    for path in instance.get("sensitive_attributes") or []:
        value = attributes.get(path[0].get("value")) if path and isinstance(path[0], dict) else None
        # What may be of any type is kept beside the name of its type.
        yield value["value"] if isinstance(value, dict) and value.keys() == {"value", "type"} else value


def parse(content: bytes) -> Version | None:
    """None for what is no whole state: empty, torn, or something else."""
    try:
        raw = load(content)
        serial, lineage = raw["serial"], raw["lineage"]
    except (ValueError, KeyError, TypeError):
        return None
    if not isinstance(serial, int) or not isinstance(lineage, str) or not lineage:
        return None
    return Version(content, serial, lineage)


def newest(stored: Version | None, files: Sequence[Version]) -> Version | None:
    """The highest serial of the stored lineage; without a stored version, of whatever is left."""
    lineage = stored.lineage if stored else None
    choices = [v for v in files if lineage is None or v.lineage == lineage]
    if stored:
        choices.insert(0, stored)  # first of equals
    return max(choices, key=lambda v: v.serial, default=None)
