"""suite.yaml: everything of the format parses, every mistake is named at its line, all at once."""

import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from stackly.errors import FileInvalid
from stackly.suites import release
from stackly.suites.model import ComparisonRule, DecidingMetric, Fault, Measure, Suite, Threshold
from stackly.suites.plan import resolve
from stackly.suites.schema import STANDALONE, json_schema, parse, part_of

FILES = Path(__file__).parent / "files"
EXAMPLES = ("smallest.yaml", "everything.yaml")
HEAD = "version: 1\nname: s\ntests:\n  - name: t\n"
DATABASE = "    database: {engine: postgres, version: '17'}\n"
WORKLOAD = "    workload: {driver: pgbench, name: tpcb-like}\n"


def example(name: str) -> Suite:
    return parse((FILES / name).read_text(), name)


def problems(text: str) -> list[str]:
    with pytest.raises(FileInvalid) as caught:
        parse(text, "suite.yaml")
    assert all(p.file == "suite.yaml" for p in caught.value.problems)
    return [f"{p.line}:{p.column} {p.message}" for p in caught.value.problems]


def where(text: str, token: str) -> str:
    """line:column of the token's last occurrence."""
    before = text[: text.rindex(token)].split("\n")
    return f"{len(before)}:{len(before[-1]) + 1}"


def test_smallest_suite_gets_every_default() -> None:
    suite = example("smallest.yaml")
    spec = suite.tests[0].cells[0].spec
    assert (suite.parallel, suite.timeout_s, suite.tests[0].has_matrix) == (1, 4 * 3600, False)
    assert spec.topology.nodes == STANDALONE
    assert spec.measure == Measure("once", 60, 120, 5, 12)
    assert spec.thresholds == (Threshold("tps", min=500.0), Threshold("error_rate", max=0.01))
    assert spec.comparison == ComparisonRule((DecidingMetric("tps", 0.05),), "", "interleaved", 0.05)
    assert (spec.workload.scale_factor, spec.workload.clients, spec.workload.isolation) == (10, 8, "read committed")


def test_every_key_of_the_format_is_read() -> None:
    suite = example("everything.yaml")
    cells = suite.tests[0].cells
    assert [dict(c.values) for c in cells] == [
        {"shared_buffers": "2GB", "default_pool_size": 32},
        {"shared_buffers": "8GB", "default_pool_size": 32},
        {"shared_buffers": "8GB", "default_pool_size": 128},
    ]
    last = cells[-1].spec
    assert last.database.settings["shared_buffers"] == "8GB"
    assert last.topology.pgbouncer == {
        "pool_mode": "transaction",
        "default_pool_size": 128,
        "max_prepared_statements": 200,
    }
    assert last.topology.patroni == {"synchronous_mode": True, "synchronous_node_count": 1}
    assert [(n.name, n.count, n.roles) for n in last.topology.nodes] == [
        ("db", 3, ("postgres", "etcd")),
        ("pool", 1, ("pgbouncer",)),
        ("load", 1, ("generator",)),
    ]
    assert last.faults == (Fault(60, "leader"),)
    assert last.workload.driver_version == "5.7.3"


@pytest.mark.parametrize("name", EXAMPLES)
def test_json_schema_takes_the_examples(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())
    jsonschema.Draft202012Validator(json_schema()).validate(yaml.safe_load((FILES / name).read_text()))


@pytest.mark.parametrize(
    "change",
    ["version: 2", "nam: x", "parallel: 33", "timeout: 5", "tests: []", "name: Upper"],
)
def test_json_schema_and_parser_refuse_the_same(change: str) -> None:
    document = yaml.safe_load((FILES / "smallest.yaml").read_text()) | yaml.safe_load(change)
    assert not jsonschema.Draft202012Validator(json_schema()).is_valid(document)
    assert problems(yaml.safe_dump(document))


def test_all_errors_at_once_each_where_it_stands() -> None:
    text = (
        "version: 2\n"
        "nam: smoke\n"
        "parallel: many\n"
        "tests:\n"
        "  - name: Tpcb\n"
        "    database: {engine: mysql, version: 99, settings: {port: 1, fsync: }}\n"
        "    workload: {driver: pgbench, name: tpcb, clients: '8', rate: 0}\n"
        "    measure: {warmup: 30, duration: 1s}\n"
        "    faults: [{at: 1h}]\n"
        "    thresholds: {tpz: {min: 1}, tps: {}, latency_ms.p95: {max: fast}}\n"
        "    comparison: {metrics: {tps: {min_effect: 60%}}, alpha: 0.5}\n"
    )
    found = problems(text)
    assert [f.split()[0] for f in found] == [
        "1:1",
        "1:10",
        "2:1",
        "3:11",
        "5:11",
        "6:24",
        "6:40",
        "6:55",
        "6:70",
        "7:39",
        "7:54",
        "7:65",
        "8:23",
        "8:37",
        "9:14",
        "9:19",
        "10:18",
        "10:33",
        "10:64",
        "11:46",
        "11:60",
    ], "\n".join(found)
    assert found[2] == "2:1 `nam` is unknown in the suite; write `name`."
    assert "such as 90s, 5m or 1h30m" in found[12]
    assert all(f.endswith(".") for f in found)


@pytest.mark.parametrize(
    ("text", "token", "says"),
    [
        (HEAD + "    name: u\n" + DATABASE + WORKLOAD, "name: u", "stands here and in line 4"),
        (HEAD + DATABASE + WORKLOAD + "    measure: {duration: 120}\n", "120}", "no duration"),
        (HEAD + DATABASE + WORKLOAD + "    thresholds: {tps: {min: 2, max: 1}}\n", "tps:", "swap"),
        (HEAD + DATABASE + WORKLOAD + "    thresholds: {nopm: {min: 2}}\n", "nopm", "use tps"),
        (HEAD + DATABASE + WORKLOAD + "    measure: {repeats: {min: 9, max: 3}}\n", "repeats", "swap"),
        (
            HEAD + DATABASE + WORKLOAD + "    measure: {repeats: 2}\n    comparison: {order: separate}\n",
            "2}",
            "3 samples",
        ),
        (HEAD + DATABASE + WORKLOAD + "    faults: [{at: 121s, kill: leader}]\n", "121s", "earlier `at`"),
        (HEAD + "    database: {engine: postgres, version: '15'}\n" + WORKLOAD, "'15'", "needs an `image`"),
        (HEAD + "    database: {engine: postgres, version: '15', image: a/b:latest}\n" + WORKLOAD, "a/b", "latest"),
        (HEAD + "    database: {engine: postgres, version: '15', image: h:5000/b}\n" + WORKLOAD, "h:5000", "no tag"),
        (HEAD + "    database: {engine: postgres, version: '17', settings: {PORT: 1}}\n" + WORKLOAD, "PORT", "Stackly"),
        (HEAD + DATABASE + "    workload: {name: tpcb-like, driver_version: 17.1}\n", "17.1", "server's own"),
        (HEAD + DATABASE + "    workload: {driver: stroppy, name: tpcc/tx, rate: 5}\n", "5}", "open loop"),
        (
            HEAD + DATABASE + "    workload: {driver: stroppy, name: tpcc/tx, driver_version: latest}\n",
            "latest",
            "exact",
        ),
        (HEAD + DATABASE + "    workload: {name: tpcb-like, params: {jobs: 9}}\n", "jobs", "no more jobs"),
        (
            HEAD + DATABASE + "    workload: {name: tpcb-like, params: {protocol: fast}}\n",
            "protocol",
            "simple, extended",
        ),
        (HEAD + DATABASE + "    workload: {name: tpcb-like, params: {x: 1}}\n", "x: 1", "no parameter"),
        (HEAD + DATABASE + "    workload: {name: '${HOME}-like'}\n", "'${HOME}", "only ${commit}"),
        (HEAD + DATABASE + "    workload: {name: '${matrix.x}'}\n", "'${matrix", "has no matrix"),
    ],
)
def test_a_mistake_is_named_where_it_stands(text: str, token: str, says: str) -> None:
    found = problems(text)
    assert [f.split()[0] for f in found] == [where(text, token)], found
    assert says in found[0]


@pytest.mark.parametrize(
    ("topology", "says"),
    [
        ("preset: standalone, nodes: {a: {roles: [postgres, generator]}}", "delete one"),
        ("nodes: {a: {roles: [postgres]}}", "0 machines with role generator"),
        ("nodes: {a: {roles: [generator]}}", "No node has role postgres"),
        ("nodes: {a: {roles: [postgres]}, g: {count: 2, roles: [generator]}}", "2 machines with role generator"),
        ("nodes: {a: {count: 2, roles: [postgres, etcd]}, g: {roles: [generator]}}", "1, 3 or 5"),
        ("patroni: {}, nodes: {a: {roles: [postgres]}, g: {roles: [generator]}}", "Patroni needs etcd"),
        ("pgbouncer: {}, nodes: {a: {roles: [postgres]}, g: {roles: [generator]}}", "No node has role pgbouncer"),
        ("nodes: {a: {count: 17, roles: [postgres, generator]}}", "from 1 to 16"),
        ("pgbouncer: {pool_mode: transaction, max_prepared_statements: 0}", "Transaction pooling"),
        (
            "patroni: {synchronous_mode: true}, nodes: {a: {roles: [postgres, etcd]}, g: {roles: [generator]}}",
            "more than 1 machines",
        ),
    ],
)
def test_topology_rules(topology: str, says: str) -> None:
    found = problems(HEAD + DATABASE + WORKLOAD + f"    topology: {{{topology}}}\n")
    assert len(found) == 1, found
    assert says in found[0]


def test_text_of_settings_and_versions_is_kept_as_written() -> None:
    text = HEAD + "    database: {engine: postgres, version: 16.10, settings: {fsync: off, x: 010}}\n" + WORKLOAD
    database = parse(text, "f").tests[0].cells[0].spec.database
    assert database.version == "16.10"
    assert database.settings == {"fsync": "off", "x": "010"}


def test_a_bad_value_in_one_cell_is_found_before_anything_runs() -> None:
    text = (
        HEAD + "    matrix: {c: [8, lots]}\n" + DATABASE + "    workload: {name: tpcb-like, clients: '${matrix.c}'}\n"
    )
    found = problems(text)
    assert len(found) == 1
    assert found[0].startswith("7:42 `lots` is no whole number")


@pytest.mark.parametrize(
    ("matrix", "says"),
    [
        ("{}", "a map of axes"),
        ("{a: [1, 1]}", "stands twice"),
        ("{a: []}", "1 to 64 values"),
        ("{a: [1], exclude: [{b: 1}]}", "no axis"),
        ("{a: [1], exclude: [{a: 1}]}", "Every cell is excluded"),
        ("{a: [1, 2, 3, 4, 5, 6, 7, 8, 9], b: [1, 2, 3, 4, 5, 6, 7, 8]}", "72 cells"),
        ("{a: ['${commit}']}", "cannot refer"),
    ],
)
def test_matrix_mistakes(matrix: str, says: str) -> None:
    found = problems(HEAD + f"    matrix: {matrix}\n" + DATABASE + WORKLOAD)
    assert len(found) == 1, found
    assert says in found[0]


def test_two_tests_of_one_name() -> None:
    one = "  - name: t\n" + DATABASE + WORKLOAD
    assert problems("version: 1\nname: s\ntests:\n" + one + one)[0].startswith("7:11 Two tests")


CONNECTION = DATABASE.replace("}", ", connection: c}")
ASKED = """
    topology:
      preset: patroni
---
    topology:
      exporters: [node]
      patroni: {}
      haproxy: {}
      backup: {}
      pgbouncer: {}
      nodes:
        a: {count: 3, roles: [postgres, etcd, pgbouncer, haproxy]}
        b: {roles: [postgres]}
        c: {roles: [generator]}
---
    faults: [{at: 1s, kill: leader}]
    measure: {prepare: each, repeats: {min: 5, max: 9}}
    comparison: {baseline: previous, order: interleaved, alpha: 0.1}
"""


def test_the_schema_marks_every_word_that_this_release_refuses() -> None:
    refused = set()
    for asked in ASKED.split("---\n"):
        text = HEAD + (DATABASE if "topology" in asked else CONNECTION) + WORKLOAD + asked.lstrip("\n")
        suite = parse(text, "f")
        for test in resolve(suite, "").tests:
            for rule in release._RULES:
                refused |= {path for path, said in rule(test, release.Offer("local", ("17",)), suite.where) if said}
    assert len(refused) > 15, "every rule was asked"
    named = {re.sub(r"^(topology\.nodes)\.[a-z]+\.", r"\1.*.", path) for path in refused} | {"workload.rate"}
    assert named == set(release.TAKEN)
    schema = json_schema()["properties"]["tests"]["items"]
    for path in named:
        part = part_of(schema, path)
        assert "in this release" in part["description"]
        assert part.get("deprecated", False) is not bool(release.TAKEN[path])
