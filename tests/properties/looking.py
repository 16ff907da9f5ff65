"""What the platform says of a repository, as rows."""

from collections.abc import Sequence
from dataclasses import dataclass

from stackly.db import Json


@dataclass(frozen=True)
class Looked:
    """Shape: rows; `runs` in the order of their states' sequence."""

    codes: Sequence[Json]
    states: Sequence[Json]
    runs: Sequence[Json]

    def queued(self) -> list[Json]:
        """What could be admitted, in an order that ids, which are chance, have no part in."""
        at = {c["id"]: (c["ref"], c["path"]) for c in self.codes}
        found = [r for r in self.runs if r["status"] == "queued" and r["kind"] in {"deploy", "benchmark"}]
        return sorted(found, key=lambda r: (*at[r["code"]], r["created_at"]))

    def runs_of(self, code: str) -> list[Json]:
        return [r for r in self.runs if r["code"] == code]

    def states_of(self, code: str) -> list[Json]:
        return [s for s in self.states if s["code"] == code and s["test"] is None]
