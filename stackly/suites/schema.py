"""suite.yaml: text -> Suite, or every problem at once; and the JSON Schema of the same definition."""

from typing import Any

from stackly.errors import FileInvalid
from stackly.suites import release, rules
from stackly.suites.cells import Celled, ReadCell, ReadCells
from stackly.suites.document import load
from stackly.suites.fields import NAME, TEST
from stackly.suites.kinds import Duration, Field, Json, ListOf, Record, Text, Whole
from stackly.suites.model import (
    Cell,
    ComparisonRule,
    Database,
    DecidingMetric,
    Fault,
    Measure,
    Node,
    Spec,
    Suite,
    Test,
    Threshold,
    Topology,
    Workload,
)
from stackly.suites.reading import Reading

STANDALONE = (
    Node(name="db", roles=("postgres",)),
    Node(name="load", roles=("generator",)),
)
DEFAULT_ERROR_RATE = Threshold("error_rate", max=0.01)

SUITE = Record(
    "the suite",
    (
        Field("version", Whole(1, 1), required=True, doc="`version: 1`"),
        Field("name", NAME, required=True, doc="the suite's name"),
        Field("description", Text("a sentence", longest=2000), ""),
        Field("parallel", Whole(1, 32), 1, doc="tests at once"),
        Field("timeout", Duration("1m", "48h"), 4 * 3600, doc="the whole run, teardown left out"),
        Field("tests", ListOf(Celled(TEST), 1, 64, "tests"), required=True, doc="a list of tests"),
    ),
)


def parse(text: str, file: str) -> Suite:
    """Read a suite file.

    Raises: FileInvalid with all problems, each with file:line:column and what to do.
    """
    on = Reading(file)
    data = SUITE.read(load(text, file), "", on)
    read: list[ReadCells] = data.get("tests", []) if isinstance(data, dict) else []
    for test in read:
        for cell in test.cells:
            rules.check(cell.data, test.path, on)
    rules.unique_names([(t.cells[0].data["name"], t.path) for t in read if "name" in t.cells[0].data], on)
    if on.problems:
        raise FileInvalid(on.problems)
    return Suite(
        version=data["version"],
        name=data["name"],
        description=data["description"],
        parallel=data["parallel"],
        timeout_s=data["timeout"],
        tests=tuple(_test(t) for t in read),
        file=file,
        where=dict(on.where),
    )


def json_schema() -> Json:
    """The published schema: what `parse` checks, less the rules between fields and the matrix's arithmetic.

    What this release refuses says so: an editor strikes a word that is refused altogether.
    """
    own = SUITE.schema(refs=False)
    for path, taken in release.TAKEN.items():
        place = part_of(own["properties"]["tests"]["items"], path)
        only = f"in this release only {taken}; anything else is refused" if taken else "not in this release: refused"
        place["description"] = "; ".join(filter(None, [place.get("description"), only]))
        if not taken:
            place["deprecated"] = True
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Stackly benchmark suite", **own}


def part_of(schema: Json, path: str) -> Json:
    """The schema of what stands at `path`, where `*` is any key of a map of names."""
    for name in path.split("."):
        forms = [schema, *schema.get("anyOf", ())]
        schema = next(
            f["additionalProperties"] if name == "*" else f["properties"][name] for f in forms if _has(f, name)
        )
    return schema


def _has(form: Json, name: str) -> bool:
    return isinstance(form.get("additionalProperties"), dict) if name == "*" else name in form.get("properties", {})


def _test(read: ReadCells) -> Test:
    cells = tuple(Cell(values=c.values, spec=_spec(c)) for c in read.cells)
    return Test(name=read.cells[0].data["name"], path=read.path, has_matrix=read.has_matrix, cells=cells)


def _spec(cell: ReadCell) -> Spec:
    data = cell.data
    workload = _workload(data["workload"])
    return Spec(
        database=Database(**data["database"]),
        topology=_topology(data.get("topology", {})),
        workload=workload,
        measure=_measure(data.get("measure", {})),
        faults=tuple(Fault(at_s=f["at"], kill=f["kill"]) for f in data.get("faults", [])),
        thresholds=_thresholds(data.get("thresholds", {})),
        comparison=_comparison(data.get("comparison", {}), workload),
    )


def _topology(given: Json) -> Topology:
    nodes = given.get("nodes")
    named = tuple(Node(name=n, **{**v, "roles": tuple(v["roles"])}) for n, v in nodes.items()) if nodes else STANDALONE
    return Topology(
        nodes=named,
        preset="" if nodes else given.get("preset", "standalone"),
        patroni=given.get("patroni"),
        pgbouncer=given.get("pgbouncer"),
        haproxy=given.get("haproxy"),
        backup=given.get("backup"),
        exporters=tuple(given.get("exporters", ())),
    )


def _workload(given: Json) -> Workload:
    return Workload(**given)


def _measure(given: Json) -> Measure:
    lo, hi = rules.bounds_of(given.get("repeats"))
    return Measure(
        prepare=given.get("prepare", "once"),
        warmup_s=given.get("warmup", 60),
        duration_s=given.get("duration", 120),
        repeats_min=lo,
        repeats_max=hi,
    )


def _thresholds(given: Json) -> tuple[Threshold, ...]:
    asked = tuple(Threshold(metric, **limit) for metric, limit in given.items())
    return asked if "error_rate" in given else (*asked, DEFAULT_ERROR_RATE)


def _comparison(given: Json, workload: Workload) -> ComparisonRule:
    chosen: dict[str, Any] = given.get("metrics") or {_default_metric(workload): {}}
    return ComparisonRule(
        metrics=tuple(DecidingMetric(metric, **effect) for metric, effect in chosen.items()),
        baseline=given.get("baseline", ""),
        order=given.get("order", "interleaved"),
        alpha=given.get("alpha", 0.05),
    )


def _default_metric(workload: Workload) -> str:
    return "nopm" if rules.is_tpcc(workload.name) else "tps"
