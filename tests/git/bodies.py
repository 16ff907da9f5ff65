"""Bodies as GitHub sends them, written by us: `fixtures/EVENT.WHAT.json`, whose `$part`s stand in parts.json."""

import json
from pathlib import Path
from typing import Any

FIXTURES = Path(__file__).with_name("fixtures")
NAMES = sorted(f.stem for f in FIXTURES.glob("*.json") if f.stem != "parts")


def _filled(value: Any, parts: dict[str, Any]) -> Any:
    if isinstance(value, list):
        return [_filled(v, parts) for v in value]
    if not isinstance(value, dict):
        return value
    own = {k: _filled(v, parts) for k, v in value.items() if k != "$part"}
    return {**parts[value["$part"]], **own} if "$part" in value else own


def body(name: str) -> dict[str, Any]:
    """The whole body of a fixture."""
    parts = json.loads((FIXTURES / "parts.json").read_text())
    found: dict[str, Any] = _filled(json.loads((FIXTURES / f"{name}.json").read_text()), parts)
    return found


def event(name: str) -> str:
    return name.partition(".")[0]
