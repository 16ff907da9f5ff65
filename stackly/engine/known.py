"""What the registry said of a ref, kept by a worker for the next push.

Nothing is decided by it alone: it counts for one generation of the ref, and the transaction that registers begins with
a compare-and-set of that generation (engine rule 5). A push to one of thousands of stacks reads no row of the others.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from stackly.engine.contracts.control import RefChange
from stackly.engine.pushes import Intake
from stackly.engine.watching import Watching

MAX_REFS = 64


@dataclass(frozen=True, slots=True)
class Before:
    """Shape: `keys` path -> content, of every stack that stands in the ref."""

    keys: Mapping[str, str]
    watching: Watching


class Known:
    def __init__(self) -> None:
        self._refs: OrderedDict[tuple[str, str], tuple[int, Before]] = OrderedDict()

    def of(self, change: RefChange) -> Before | None:
        found = self._refs.get((change.repo, change.ref))
        return found[1] if found is not None and found[0] == change.generation else None

    def registered(self, change: RefChange, before: Before, intake: Intake) -> None:
        """What the registry says after this change was registered, where that can be told without asking it."""
        self._refs.pop((change.repo, change.ref), None)
        if all(before.watching.stacks.get(p, ()) == after for p, after in _patterns(intake).items()):
            self._refs[change.repo, change.ref] = (change.generation + 1, Before(intake.keys, before.watching))
        while len(self._refs) > MAX_REFS:
            self._refs.popitem(last=False)


def _patterns(intake: Intake) -> dict[str, tuple[str, ...]]:
    """What each stack that takes part watches from now on."""
    way = intake.passage
    left: dict[str, tuple[str, ...]] = dict.fromkeys([*way.gone, *way.moved.values()], ())
    return left | {
        path: () if found.errors else tuple(found.config["trigger"]["paths"]) for path, found in intake.found.items()
    }
