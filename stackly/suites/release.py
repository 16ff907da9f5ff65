"""What this release can carry out on a target. The rest of the format is refused by line, never passed over. Pure."""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from stackly.errors import FileInvalid, FileProblem
from stackly.suites.model import ResolvedSuite, ResolvedTest, Suite
from stackly.suites.reading import place

Found = Iterator[tuple[str, str]]  # (path within the test, message)


class Offer(NamedTuple):
    """Shape: `majors` are the Postgres versions that `target` can start, such as 16 and 18."""

    target: str
    majors: tuple[str, ...]


TARGETS = ("local", "docker")
WITH_IMAGES = frozenset({"docker"})


def problems(suite: Suite, resolved: ResolvedSuite, offer: Offer) -> list[FileProblem]:
    """Everything in the suite that this release would have to ignore, at its line."""
    if offer.target not in TARGETS:
        message = f"Target {offer.target} is not in this release; benchmarks run on local or docker."
        return [FileProblem(suite.file, 0, 0, message)]
    found: dict[FileProblem, None] = {}
    for test in resolved.tests:
        for rule in _RULES:
            for path, message in rule(test, offer, suite.where):
                line, column = place(suite.where, f"{test.path}.{path}")
                found[FileProblem(suite.file, line, column, message)] = None
    return sorted(found, key=lambda p: (p.line, p.column, p.message))


def check(suite: Suite, resolved: ResolvedSuite, offer: Offer) -> None:
    """Raises: FileInvalid with all of `problems`."""
    found = problems(suite, resolved, offer)
    if found:
        raise FileInvalid(found)


# What of the format the rules below refuse, for who writes a file by its schema. Shape: path within a test (`*` is any
# name) -> all that this release takes there; '' where the word is refused altogether.
TAKEN = {
    "database.connection": "",
    "topology.preset": "standalone",
    "topology.patroni": "",
    "topology.pgbouncer": "",
    "topology.haproxy": "",
    "topology.backup": "",
    "topology.exporters": "an empty list",
    "topology.nodes": "one node of role postgres",
    "topology.nodes.*.roles": "one of postgres and generator",
    "topology.nodes.*.count": "1",
    "workload.rate": "a rate of pgbench",
    "faults": "an empty list",
    "measure.prepare": "once",
    "measure.repeats.max": "the same number as min",
    "comparison.baseline": "none",
    "comparison.order": "separate",
    "comparison.alpha": "",
}

_SIZES = ("cores", "memory_gb", "disk_gb")


def warnings(suite: Suite, resolved: ResolvedSuite, offer: Offer) -> dict[str, list[str]]:
    """What a test asks for by name and no target gives: its machines share this computer. Shape: by test."""
    return {test.test: list(_unlimited(test, offer, suite.where)) for test in resolved.tests}


def _unlimited(test: ResolvedTest, offer: Offer, where: Mapping[str, object]) -> Iterator[str]:
    for node in test.topology.nodes:
        asked = [size for size in _SIZES if f"{test.path}.topology.nodes.{node.name}.{size}" in where]
        if asked:
            yield f"{', '.join(asked)} of node {node.name}: nothing on target {offer.target} limits them"


def _database(test: ResolvedTest, offer: Offer, _: Mapping[str, object]) -> Found:
    asked = test.database
    if asked.connection:
        yield "database.connection", "`connection` is not in this release; delete it, and a database is started."
    has_image = bool(asked.image) and offer.target in WITH_IMAGES
    if asked.image and not has_image:
        instead = 'write `target = "docker"` in stackly.hcl, or delete `image`'
        yield "database.image", f"Target {offer.target} runs installed programs, no images; {instead}."
    if asked.version not in offer.majors and not has_image:
        offered = ", ".join(f'"{m}"' for m in offer.majors) or "none"
        yield "database.version", f"Target {offer.target} offers {offered}, not {asked.version}; write one of them."


def _topology(test: ResolvedTest, _: Offer, __: Mapping[str, object]) -> Found:
    asked = test.topology
    if asked.preset not in {"", "standalone"}:
        yield "topology.preset", f"Preset {asked.preset} is not in this release; write standalone."
    for name in ("patroni", "pgbouncer", "haproxy", "backup"):
        if getattr(asked, name) is not None:
            yield f"topology.{name}", f"`{name}` is not in this release; delete it."
    if asked.exporters:
        yield "topology.exporters", "`exporters` are not in this release; delete them."
    for node in asked.nodes:
        here = f"topology.nodes.{node.name}"
        strange = sorted(set(node.roles) - {"postgres", "generator"})
        if strange:
            yield f"{here}.roles", f"Role {', '.join(strange)} is not in this release; use postgres and generator."
        if node.count != 1:
            yield f"{here}.count", "More than one machine a node (replicas) is not in this release; write `count: 1`."
        if len(node.roles) > 1:
            yield f"{here}.roles", "Several roles on one machine are not in this release; give each a node of its own."
    if sum("postgres" in n.roles for n in asked.nodes) > 1:
        yield "topology.nodes", "A second database machine (replicas) is not in this release; keep one."


def _load(test: ResolvedTest, _: Offer, where: Mapping[str, object]) -> Found:
    if test.workload.rate and test.workload.driver != "pgbench":
        yield "workload.rate", f"`rate` is not in this release for {test.workload.driver}; delete it."
    if test.faults:
        yield "faults", "`faults` are not in this release; delete them."
    if test.measure.prepare == "each":
        yield "measure.prepare", "`each` is not in this release; write `once`: every sample gets a fresh copy."
    if f"{test.path}.measure.repeats.max" in where and test.measure.repeats_max != test.measure.repeats_min:
        yield "measure.repeats.max", "More samples on demand are not in this release; write one number of `repeats`."
    asked = test.comparison
    if asked.baseline not in {"", "none"}:
        yield (
            "comparison.baseline",
            "A chosen baseline is not in this release; delete it: the default branch's last valid result is used.",
        )
    if f"{test.path}.comparison.order" in where and asked.order == "interleaved":
        yield "comparison.order", "Interleaved samples are not in this release; write `separate`."
    if f"{test.path}.comparison.alpha" in where:
        yield "comparison.alpha", "`alpha` is not in this release: a tolerance of 25% decides; delete it."


_RULES: tuple[Callable[[ResolvedTest, Offer, Mapping[str, object]], Found], ...] = (_database, _topology, _load)
