"""A suite and a commit give one resolved suite, and one digest, wherever it is computed."""

import json
from pathlib import Path

import pytest

from stackly.errors import FileInvalid
from stackly.suites import jsonform
from stackly.suites.model import PHASES, ResolvedSuite, ResolvedTest
from stackly.suites.plan import digest, resolve, ruler
from stackly.suites.release import Offer, check, problems, warnings
from stackly.suites.schema import parse

FILES = Path(__file__).parent / "files"
EVERYTHING = (FILES / "everything.yaml").read_text()
SMALLEST = (FILES / "smallest.yaml").read_text()


def resolved(text: str, commit: str = "abc123") -> ResolvedSuite:
    return resolve(parse(text, "suite.yaml"), commit)


def test_cells_get_names_and_the_commit() -> None:
    suite = resolved(EVERYTHING)
    assert [t.test for t in suite.tests] == ["tpcc.1", "tpcc.2", "tpcc.3"]
    assert {t.name for t in suite.tests} == {"tpcc"}
    assert suite.tests[0].database.image == "acme/postgres:abc123"
    assert suite.tests[0].phases == PHASES
    assert resolved(SMALLEST).tests[0].test == "tpcb"


def test_the_commit_is_asked_for_only_where_it_is_used() -> None:
    assert digest(resolved(SMALLEST, "")) == digest(resolved(SMALLEST, "ff00"))
    assert digest(resolved(EVERYTHING, "aa")) != digest(resolved(EVERYTHING, "bb"))
    with pytest.raises(FileInvalid) as caught:
        resolved(EVERYTHING, "")
    assert (caught.value.problems[0].line, caught.value.problems[0].column) == (7, 11)


def test_digest_is_of_the_meaning_not_of_the_layout() -> None:
    # Written out differently: comments, order of keys, defaults spelled out.
    other = """
name: smoke   # the same
version: 1
tests:
  - workload:
      clients: 8
      scale_factor: 10
      name: tpcb-like
      isolation: read committed
    thresholds: {tps: {min: 500.0}, error_rate: {max: 0.01}}
    database: {version: 17, engine: "postgres"}
    measure: {warmup: 1m, duration: 2m}
    name: tpcb
"""
    assert digest(resolved(other)) == digest(resolved(SMALLEST))
    assert digest(resolved(SMALLEST.replace("500", "501"))) != digest(resolved(SMALLEST))


def test_digest_is_pinned() -> None:
    # A changed figure here voids every stored digest: raise the format's number when that is meant.
    assert digest(resolved(SMALLEST)) == "d40ecd132194aeb4abd203f32f2b90f22a6400a5fb3f74c822b36a6ec66418b2"


def test_json_there_and_back() -> None:
    for text in (SMALLEST, EVERYTHING):
        suite = resolved(text)
        stored = json.loads(json.dumps(jsonform.to_json(suite)))
        assert jsonform.from_json(ResolvedSuite, stored) == suite
        assert digest(jsonform.from_json(ResolvedSuite, stored)) == digest(suite)
        assert jsonform.from_json(ResolvedTest, stored["tests"][0]) == suite.tests[0]


def test_ruler_is_workload_measure_and_nodes_only() -> None:
    base = resolved(SMALLEST).tests[0]
    same = resolved(SMALLEST.replace('"17"', '"18"')).tests[0]
    other = resolved(SMALLEST.replace("clients: 8", "clients: 9")).tests[0]
    assert ruler(base) == ruler(same)
    assert ruler(base) != ruler(other)


def test_this_release_refuses_what_it_cannot_do_by_line() -> None:
    suite = parse(EVERYTHING, "suite.yaml")
    found = problems(suite, resolve(suite, "abc"), Offer("docker", ("16", "18")))
    lines = EVERYTHING.splitlines()
    assert {lines[p.line - 1].split(":")[0].strip(" -") for p in found} == {
        "db",
        "pool",
        "patroni",
        "pgbouncer",
        "exporters",
        "measure",
        "faults",
        "comparison",
    }
    assert all("not in this release" in p.message for p in found)
    without = EVERYTHING.replace("      image: acme/postgres:${commit}\n", "")
    suite = parse(without, "suite.yaml")
    found = problems(suite, resolve(suite, "abc"), Offer("docker", ("16", "18")))
    assert 'Target docker offers "16", "18", not 17; write one of them.' in {p.message for p in found}


@pytest.mark.parametrize(
    ("added", "says"),
    [
        ("topology: {preset: patroni}", "Preset patroni"),
        ("topology: {nodes: {d: {roles: [postgres, generator]}}}", "Several roles"),
        ("topology: {nodes: {d: {count: 2, roles: [postgres]}, g: {roles: [generator]}}}", "replicas"),
        (
            "topology: {nodes: {d: {roles: [postgres]}, e: {roles: [postgres]}, g: {roles: [generator]}}}",
            "second database",
        ),
        ("topology: {backup: {tool: x}}", "`backup`"),
        ("measure: {prepare: each}", "`each`"),
        ("comparison: {order: interleaved}", "Interleaved"),
        ("comparison: {alpha: 0.05}", "`alpha`"),
        ("comparison: {baseline: v1}", "baseline"),
        ("measure: {repeats: {min: 2, max: 5}}", "More samples on demand"),
    ],
)
def test_each_refusal(added: str, says: str) -> None:
    suite = parse(SMALLEST.replace("    thresholds:", f"    {added}\n    thresholds:"), "f")
    found = problems(suite, resolve(suite, ""), Offer("local", ("17",)))
    assert len(found) == 1, found
    assert says in found[0].message
    assert found[0].line == 7


def test_sizes_that_nothing_limits_are_warned_of_where_they_were_asked_for() -> None:
    offer = Offer("local", ("17",))
    asked = "topology: {nodes: {d: {roles: [postgres], cores: 64, disk_gb: 9}, g: {roles: [generator]}}}"
    suite = parse(SMALLEST.replace("    thresholds:", f"    {asked}\n    thresholds:"), "f")
    said = "cores, disk_gb of node d: nothing on target local limits them"
    assert warnings(suite, resolve(suite, ""), offer) == {"tpcb": [said]}
    suite = parse(SMALLEST, "f")
    assert warnings(suite, resolve(suite, ""), offer) == {"tpcb": []}


def test_a_connection_is_refused_too() -> None:
    suite = parse(SMALLEST.replace('"17"', '"17", connection: prod'), "f")
    with pytest.raises(FileInvalid, match="`connection` is not in this release"):
        check(suite, resolve(suite, ""), Offer("local", ("17",)))


def test_what_can_run_passes() -> None:
    suite = parse(SMALLEST, "f")
    check(suite, resolve(suite, ""), Offer("local", ("16", "17")))
    with pytest.raises(FileInvalid, match="Target yandex"):
        check(suite, resolve(suite, ""), Offer("yandex", ("17",)))
