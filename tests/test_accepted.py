"""What is accepted is done: each word that a file may hold has somebody who reads it, or is refused, or has one value.

A word added to one of the three definitions makes this red until somebody carries it out.
"""

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

from stackly.hcl_shape import Shape
from stackly.policy.parse import POLICY
from stackly.stacks.config_schema import STACK
from stackly.suites.cells import Celled
from stackly.suites.fields import PARAMS, TEST
from stackly.suites.kinds import Field, Kind, ListOf, MapOf, Record, ScalarOr
from stackly.suites.schema import SUITE

ROOT = Path(__file__).parents[1]
ONE_VALUE = "one value"
RELEASE = "stackly/suites/release.py"

Readers = Mapping[str, tuple[str, str] | str]
# Shape: the word's path -> who reads it, and by which name.
STACK_READERS: Readers = {
    "stack": ("stackly/engine/triggers.py", "name"),
    "stack.version": ("stackly/api/stacks.py", "version"),
    "stack.policies": ("stackly/engine/reading.py", "policies"),
    "stack.suite": ("stackly/engine/reading.py", "suite"),
    "stack.target": ("stackly/engine/triggers.py", "target"),
    "stack.execution": ONE_VALUE,
    "stack.infrastructure": ONE_VALUE,
    "stack.variables": ("stackly/engine/triggers.py", "module_variables"),
    **{
        f"stack.hooks.{when}_{what}": ("stackly/engine/triggers.py", "warnings")
        for when in ("pre", "post")
        for what in ("plan", "apply", "benchmark", "destroy")
    },
    "stack.trigger.branches": ("stackly/engine/triggers.py", "branches"),
    "stack.trigger.pull_requests": ONE_VALUE,
    "stack.trigger.paths": ("stackly/engine/known.py", "paths"),
    "stack.budget.max_duration": ("stackly/engine/reading.py", "max_duration_s"),
    "stack.deregister.action": ("stackly/stacks/lifecycle.py", "action"),
    "stack.deregister.after": ("stackly/stacks/lifecycle.py", "after_s"),
    "stack.state": ("stackly/engine/triggers.py", "states"),
    "stack.state.commit": ("stackly/engine/gathering.py", "commit"),
    "stack.state.variables": ("stackly/engine/triggers.py", "state_variables"),
    "stack.state.metadata": ("stackly/engine/triggers.py", "metadata"),
}
_WINDOWS, _JUDGE, _QUORUM = "stackly/policy/windows.py", "stackly/policy/evaluate.py", "stackly/policy/quorum.py"
POLICY_READERS: Readers = {
    "policy": ("stackly/engine/policies.py", "name"),
    "policy.environment": (_JUDGE, "environment"),
    "policy.schedule.allowed_hours": (_WINDOWS, "hours"),
    "policy.schedule.allowed_days": (_WINDOWS, "days"),
    "policy.schedule.timezone": (_WINDOWS, "timezone"),
    "policy.schedule.exception_dates": (_WINDOWS, "except_dates"),
    "policy.schedule.deny": (_WINDOWS, "deny"),
    "policy.schedule.deny.hours": (_WINDOWS, "hours"),
    "policy.schedule.deny.days": (_WINDOWS, "days"),
    "policy.schedule.deny.first_day": (_WINDOWS, "first"),
    "policy.schedule.deny.last_day": (_WINDOWS, "last"),
    "policy.approval.required": (_JUDGE, "required"),
    "policy.approval.min_approvers": (_JUDGE, "min_approvers"),
    "policy.approval.allowed_groups": (_QUORUM, "allowed_groups"),
    "policy.approval.expires": (_JUDGE, "expires_s"),
    "policy.action.on_violation": (_JUDGE, "on_violation"),
}
_PGBENCH, _STROPPY, _ASKED = (
    "agent/generators/pgbench.py",
    "agent/generators/stroppy.py",
    "stackly/engine/activities/tests.py",
)
SUITE_READERS: Readers = {
    "version": ONE_VALUE,
    "name": ("stackly/engine/reading.py", "name"),
    "description": ("stackly/cli/files.py", "description"),
    "parallel": ("stackly/engine/reading.py", "parallel"),
    "timeout": ("stackly/engine/reading.py", "timeout_s"),
    "tests.name": ("stackly/suites/plan.py", "name"),
    "tests.matrix": ("stackly/suites/plan.py", "cells"),
    "tests.database.engine": ONE_VALUE,
    "tests.database.version": ("stackly/engine/inputs.py", "version"),
    "tests.database.image": ("stackly/suites/images.py", "image"),
    "tests.database.connection": (RELEASE, "connection"),
    "tests.database.settings": ("stackly/engine/inputs.py", "settings"),
    "tests.topology.preset": (RELEASE, "preset"),
    "tests.topology.nodes": ("stackly/suites/placement.py", "nodes"),
    "tests.topology.nodes.count": (RELEASE, "count"),
    "tests.topology.nodes.roles": ("stackly/suites/placement.py", "roles"),
    # The module is given them; that no target of this release limits a machine by them is warned of.
    "tests.topology.nodes.cores": (RELEASE, "cores"),
    "tests.topology.nodes.memory_gb": (RELEASE, "memory_gb"),
    "tests.topology.nodes.disk_gb": (RELEASE, "disk_gb"),
    **{
        f"tests.topology.{name}": (RELEASE, name) for name in ("patroni", "pgbouncer", "haproxy", "backup", "exporters")
    },
    "tests.workload.driver": ("agent/edge.py", "driver"),
    "tests.workload.driver_version": ("agent/edge.py", "driver_version"),
    "tests.workload.name": (_PGBENCH, "name"),
    "tests.workload.params": (_PGBENCH, "params"),
    "tests.workload.scale_factor": (_PGBENCH, "scale_factor"),
    "tests.workload.clients": (_PGBENCH, "clients"),
    "tests.workload.isolation": (_PGBENCH, "isolation"),
    "tests.workload.pacing": (_STROPPY, "pacing"),
    "tests.workload.rate": (_PGBENCH, "rate"),
    "tests.measure.prepare": (RELEASE, "prepare"),
    "tests.measure.warmup": (_ASKED, "warmup_s"),
    "tests.measure.duration": (_ASKED, "duration_s"),
    "tests.measure.repeats": (_ASKED, "repeats_min"),
    "tests.measure.repeats.min": (_ASKED, "repeats_min"),
    "tests.measure.repeats.max": (RELEASE, "repeats_max"),
    "tests.faults": (RELEASE, "faults"),
    "tests.faults.at": (RELEASE, "faults"),
    "tests.faults.kill": (RELEASE, "faults"),
    "tests.thresholds": ("stackly/engine/measuring.py", "thresholds"),
    "tests.thresholds.min": ("stackly/suites/gates.py", "min"),
    "tests.thresholds.max": ("stackly/suites/gates.py", "max"),
    "tests.comparison.baseline": (RELEASE, "baseline"),
    "tests.comparison.order": (RELEASE, "order"),
    "tests.comparison.metrics": ("stackly/suites/comparison.py", "metrics"),
    "tests.comparison.metrics.min_effect": ("stackly/suites/comparison.py", "min_effect"),
    "tests.comparison.alpha": (RELEASE, "alpha"),
    **{
        f"params.{driver}.{name}": (_PGBENCH if driver == "pgbench" else _STROPPY, name)
        for driver, names in PARAMS.items()
        for name in names
    },
}


def words_of(shape: Shape, above: str = "") -> Iterator[tuple[str, bool]]:
    """Shape: path, and whether the word has one value only."""
    path = f"{above}.{shape.name}" if above else shape.name
    if shape.free or shape.label:
        yield path, False
    for field in shape.fields:
        yield f"{path}.{field.name}", len(dict(field.schema).get("enum", ())) == 1
    for block in shape.blocks:
        yield from words_of(block, path)


def words_in(record: Record, above: str = "") -> Iterator[tuple[str, bool]]:
    for field in record.fields:
        yield from _words(field.kind, f"{above}.{field.name}" if above else field.name, field)


def _words(kind: Kind, path: str, field: Field) -> Iterator[tuple[str, bool]]:
    inner = kind.item if isinstance(kind, ListOf) else kind.value if isinstance(kind, MapOf) else None
    record = kind if isinstance(kind, Record) else inner if isinstance(inner, Record) else None
    if isinstance(inner, Celled):
        yield from words_in(TEST, path)
        return
    if isinstance(kind, ScalarOr):
        record = kind.long
    if not isinstance(kind, Record):
        own = field.kind.schema(refs=False)
        yield (
            path,
            len(own.get("enum", ())) == 1 or (own.get("minimum") is not None and own["minimum"] == own["maximum"]),
        )
    if record is not None:
        yield from words_in(record, path)


@cache
def _named_in(file: str) -> frozenset[str]:
    """Every name that a module reads: attributes, keys in text, keywords, and parts of its longer texts."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found |= {node.value, *node.value.replace("`", " ").replace(".", " ").split()}
    return frozenset(found)


WORDS: dict[str, tuple[dict[str, bool], Readers]] = {
    "stackly.hcl": (dict(words_of(STACK)), STACK_READERS),
    "policies": (dict(words_of(POLICY)), POLICY_READERS),
    "suite.yaml": (
        dict(words_in(SUITE)) | {f"params.{d}.{n}": False for d, names in PARAMS.items() for n in names},
        SUITE_READERS,
    ),
}


@pytest.mark.parametrize("file", sorted(WORDS))
def test_every_word_has_a_reader(file: str) -> None:
    words, readers = WORDS[file]
    assert sorted(words) == sorted(readers)


@pytest.mark.parametrize("file", sorted(WORDS))
def test_the_readers_read_them(file: str) -> None:
    words, readers = WORDS[file]
    unread = [w for w, by in readers.items() if isinstance(by, tuple) and by[1] not in _named_in(by[0])]
    assert unread == []
    assert sorted(w for w, by in readers.items() if by == ONE_VALUE) == sorted(w for w, one in words.items() if one)


def test_a_word_without_a_reader_is_noticed() -> None:
    """The check itself: what no module names counts as unread."""
    assert "max_machine_hours" not in _named_in("stackly/engine/triggers.py")
    assert "pull_requests" not in _named_in("stackly/engine/triggers.py")
