"""Which steps a run or a test may ask for, by its kind, its status and the phase that is open (engine rule 23). Pure.

Whatever is not in this table is executed by nobody.
"""

from collections.abc import Mapping
from enum import StrEnum

from stackly.spec.runs import RunKind, RunStatus, TestStatus

TEST = "test"  # the kind of what a benchmark's test carries out; a run's own steps go by the run's kind


class Side(StrEnum):
    """Whose agent carries a step out."""

    SITE = "site"
    TEARDOWN = "teardown"  # the site agent as well, with slots of their own (engine rule 14)
    DATABASE = "database"
    LOAD = "load"

    @property
    def recovers(self) -> bool:
        """A machine's agent is never started again, and what it measured is never repeated by itself."""
        return self in {Side.SITE, Side.TEARDOWN}


SIDES: Mapping[str, Side] = {
    "probe": Side.SITE,
    "plan": Side.SITE,
    "apply": Side.SITE,
    "boot": Side.SITE,
    "image": Side.SITE,
    "pull": Side.SITE,
    "remove": Side.TEARDOWN,
    "destroy": Side.TEARDOWN,
    "inventory": Side.TEARDOWN,
    "database": Side.DATABASE,
    "collect": Side.DATABASE,
    "install": Side.LOAD,
    "prepare": Side.LOAD,
    "warmup": Side.LOAD,
    "measure": Side.LOAD,
}

# (kind, status, phase) -> the first words of the steps that may be asked for.
EXPECTED: Mapping[tuple[str, str, str], frozenset[str]] = {
    (RunKind.BENCHMARK, RunStatus.RUNNING, "image"): frozenset({"image", "pull"}),
    (RunKind.DEPLOY, RunStatus.PLANNING, "plan"): frozenset({"plan"}),
    # The first attempt is written by the gate, and by nothing else.
    (RunKind.DEPLOY, RunStatus.APPLYING, "apply"): frozenset({"apply"}),
    (RunKind.PREVIEW, RunStatus.PLANNING, "plan"): frozenset({"plan"}),
    (RunKind.DESTROY, RunStatus.TEARING_DOWN, "remove"): frozenset({"remove"}),
    (RunKind.DESTROY, RunStatus.TEARING_DOWN, "destroy"): frozenset({"destroy"}),
    (RunKind.DESTROY, RunStatus.TEARING_DOWN, "verify"): frozenset({"inventory"}),
    (TEST, TestStatus.RUNNING, "reserve"): frozenset({"probe"}),
    (TEST, TestStatus.RUNNING, "provision"): frozenset({"apply", "boot"}),
    (TEST, TestStatus.RUNNING, "database"): frozenset({"database"}),
    (TEST, TestStatus.RUNNING, "install"): frozenset({"install"}),
    (TEST, TestStatus.RUNNING, "prepare"): frozenset({"prepare"}),
    (TEST, TestStatus.RUNNING, "warmup"): frozenset({"warmup"}),
    (TEST, TestStatus.RUNNING, "measure"): frozenset({"measure", "warmup"}),
    (TEST, TestStatus.RUNNING, "collect"): frozenset({"collect"}),
}


def verb_of(step: str) -> str:
    """`measure 2` is a `measure`."""
    return step.partition(" ")[0]


def phases_for(kind: str, status: str, step: str) -> frozenset[str]:
    """The phases in which this may be expected; none: never in this status."""
    verb = verb_of(step)
    return frozenset(p for (k, s, p), verbs in EXPECTED.items() if (k, s) == (kind, status) and verb in verbs)
