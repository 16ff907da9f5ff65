"""Stdout holds the result and nothing else; lists have one shape; text cannot steer the terminal."""

import json
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from stackly.cli.screen import screen
from tests.cli.fake_api import AT, FakeApi, Stackly, a_run, a_test

REPO = {
    "id": "p1",
    "full_name": "stackly/demo",
    "default_branch": "main",
    "clone_url": "http://hub/stackly/demo.git",
    "hook_id": "1",
    "status": "active",
    "last_processed": {"refs/heads/main": "9f3c1ab"},
    "created_at": AT,
}
STACK = {
    "id": "s1",
    "name": "shop",
    "repo": "acme/shop",
    "path": "db",
    "ref": "refs/heads/main",
    "status": "rejected",
    "reason": "its files are wrong",
    "commit": "9f3c1ab",
    "registered_at": AT,
    "moved_from": None,
    "kind": "plain",
    "errors": [{"file": "db/stackly.hcl", "line": 3, "column": 5, "message": "unknown key"}],
    "states": [
        {"id": "t", "name": "default", "status": "empty", "commit": None, "environment": None, "last_run": None}
    ],
}
APPROVAL = {
    "id": "a1",
    "run_id": "r1",
    "stack": "shop",
    "stack_id": "s1",
    "repo": "acme/shop",
    "run_kind": "deploy",
    "branch": "main",
    "commit": "9f3c1ab",
    "digest": "d1",
    "needed": 2,
    "approved": 0,
    "groups": ["dba"],
    "policy": "p",
    "status": "open",
    "reason": None,
    "votes": [],
    "created_at": AT,
    "expires_at": AT,
}
AGENT = {
    "id": "g1",
    "name": "local",
    "role": "site",
    "status": "active",
    "version": "1",
    "labels": {},
    "test": None,
    "capabilities": {"targets": ["local"]},
    "run_id": None,
    "machine": None,
    "seen_at": AT,
    "created_at": AT,
}
EVENT = {"id": "1", "subject": "run/r1", "name": "deploy_completed", "payload": {"run": "r1"}, "at": AT}
EXPLAINED = {"subject": "run/r1", "summary": "Run r1 of o/r: succeeded.", "decisions": [], "events": [EVENT]}
DELIVERY = {"guid": "u", "event": "push", "attempts": 1, "status": "done", "reason": None, "received_at": AT}
HISTORY = {
    "id": "r1",
    "kind": "deploy",
    "state": "default",
    "status": "succeeded",
    "from_commit": None,
    "actor": "ann",
    "to_commit": "9f3c1ab",
    "changed": True,
    "verdict": None,
    "reason": None,
    "created_at": AT,
    "ended_at": AT,
}

LISTS: list[tuple[str, str, dict[str, Any]]] = [
    ("repo list", "/repos", REPO),
    ("repo deliveries stackly/demo", "/repos/stackly/demo/deliveries", DELIVERY),
    ("stack list", "/stacks", STACK),
    ("stack history shop", "/stacks/shop/history", HISTORY),
    ("run list", "/runs", a_run()),
    ("approval list", "/approvals", APPROVAL),
    ("agent list", "/agents", AGENT),
    ("event list", "/events", EVENT),
]
SINGLES: list[tuple[str, str, dict[str, Any]]] = [
    ("repo show stackly/demo", "/repos/stackly/demo", REPO),
    ("stack show shop", "/stacks/shop", STACK),
    ("run show r1", "/runs/r1", a_run()),
    ("approval show r1", "/approvals/r1", APPROVAL),
    ("agent show g1", "/agents/g1", AGENT),
    ("explain run r1", "/explain/run/r1", EXPLAINED),
    ("inventory", "/inventory", {"leftovers": 0, "items": []}),
]


@pytest.mark.parametrize(("argv", "path", "item"), LISTS)
def test_lists_have_one_shape(api: FakeApi, stackly: Stackly, argv: str, path: str, item: dict[str, Any]) -> None:
    api.get(path, {"items": [item], "next": "more"})
    said = stackly(*argv.split(), "--json", "--limit", "7", "--cursor", "here")
    assert (said.code, said.err) == (0, "")
    assert said.json == {"items": [item], "next": "more"}
    assert api.seen("GET", path)[0].query == {"limit": "7", "cursor": "here"}
    assert stackly(*argv.split(), "--output", "jsonl").json == item
    text = stackly(*argv.split())
    assert text.code == 0
    assert "--cursor more" in text.err
    assert "\x1b" not in text.out


@pytest.mark.parametrize(("argv", "path", "item"), SINGLES)
def test_singles_print_one_object(api: FakeApi, stackly: Stackly, argv: str, path: str, item: dict[str, Any]) -> None:
    api.get(path, item)
    said = stackly(*argv.split(), "--json")
    assert (said.code, said.err, said.json) == (0, "", item)
    text = stackly(*argv.split())
    assert (text.code, text.err) == (0, "")
    assert text.out


def test_progress_stays_out_of_the_result(api: FakeApi, stackly: Stackly) -> None:
    from tests.cli.fake_api import Stream

    api.streams("r1", Stream([("run", a_run(status="running", verdict=None, gate=None)), ("end", a_run())]))
    said = stackly("run", "wait", "r1", "--json")
    assert said.json == a_run()
    assert "running" in said.err


def test_a_rejected_stack_shows_where_it_is_wrong(api: FakeApi, stackly: Stackly) -> None:
    api.get("/stacks/shop", STACK)
    assert "db/stackly.hcl:3:5: unknown key" in stackly("stack", "show", "shop").out


def test_a_name_cannot_steer_the_terminal(api: FakeApi, stackly: Stackly) -> None:
    api.get("/runs/r1", a_run(branch="\x1b]0;owned\x07", stack="[red]x[/red]"))
    api.get("/runs", {"items": [a_run(branch="\x1b[2Jx", stack="[red]x[/red]")], "next": None})
    for said in (stackly("run", "show", "r1"), stackly("run", "list")):
        assert "\x1b" not in said.out
        assert "\x07" not in said.out
        assert "[red]x[/red]" in said.out


def test_the_screen_of_a_run() -> None:
    comparison = {
        "metric": "nopm",
        "baseline": 58400.0,
        "candidate": 52695.0,
        "change_pct": -9.77,
        "pairs": 5,
        "interval_pct": [-13.3, -6.1],
        "decides": True,
        "verdict": "worse",
        "reason": "r",
        "min_effect_pct": 5.0,
    }
    result = {"nopm": 52695.0, "tps": 900.0, "latency_ms": {"p95": 120.0}}
    result |= {"fingerprint": {"image": "acme/postgres@sha256:5ca1ab1e"}}
    cell = {"shared_buffers": "8GB", "pool": 32}
    run = a_run(
        tests=[a_test("tpcc.2", cell=cell, verdict="worse", comparisons=[comparison], result=result, warnings=["w"])],
        verdict="worse",
        gate={"decision": "deny", "policy": "regression_gate", "reasons": ["nopm worse in 1 test"]},
        baseline={"commit": "51e07d2" + "0" * 33, "run_id": "r0", "mode": "separate"},
    )
    lines = screen(run, 0).splitlines()
    assert lines[0].startswith("run r1  benchmark  succeeded in 52.0s")
    assert lines[0].endswith("branch main @ 9f3c1ab")
    assert "verdict   worse     1 worse; 1 of 1 test measured" in lines
    assert "gate      block     policy regression_gate: nopm worse in 1 test" in lines
    assert "image     acme/postgres@sha256:5ca1ab1e" in lines
    assert "baseline  51e07d2   run r0; measured in a run of its own" in lines
    assert "machines  destroyed, leftovers 0" in lines
    head = next(line for line in lines if line.startswith("TEST tpcc"))
    assert head.split() == ["TEST", "tpcc", "NOPM", "P95", "MS", "CHANGE", "95%", "INTERVAL", "PAIRS", "VERDICT"]
    row = lines[lines.index(head) + 1].split()
    assert row == ["shared_buffers=8GB", "pool=32", "52,695", "120", "-9.8%", "-13.3", "..", "-6.1", "5", "worse"]
    assert "thresholds 1 of 1 pass (tps >= 20)" in lines
    assert "warning    tpcc.2: w" in lines


def test_a_comparison_is_offered_where_there_is_one() -> None:
    base = {"commit": "51e07d2" + "0" * 33, "run_id": "r0", "mode": "separate"}
    assert "run compare r1" in screen(a_run(baseline=base))
    alone = screen(a_run(baseline=None))
    assert "run compare" not in alone
    assert "baseline  none that measured the same: thresholds alone decide" in alone


def test_a_budget_is_no_cost() -> None:
    assert "50" not in screen(a_run(cost={"max_machine_hours": 50.0}))
    assert "cost      1.2 of 50.0 machine-hours" in screen(a_run(cost={"max_machine_hours": 50.0, "settled": 1.25}))


def test_thresholds_that_nobody_judged_are_counted_as_that() -> None:
    judged = {"metric": "tps", "min": 20, "max": None, "value": 30, "verdict": "pass", "evidence": "e"}
    unjudged = {**judged, "value": None, "verdict": None}
    raw = [{"name": "raw.log.gz", "url": "/api/v1/x"}]
    tests = [a_test("a", thresholds=[judged] * 2), a_test("b", verdict="invalid", thresholds=[unjudged], artifacts=raw)]
    shown = screen(a_run(tests=tests))
    assert "thresholds 2 of 3 pass, 1 not judged (tps >= 20)" in shown
    assert "artifact   b: raw.log.gz  /api/v1/x" in shown, "what an invalid test left is one look away"


def test_an_error_says_a_thing_once(api: FakeApi, stackly: Stackly) -> None:
    gone = {
        "kind": "not-found",
        "title": "There is no such run.",
        "detail": "There is no run r9; `stackly run list` shows.",
    }
    api.get("/runs/r9", {"type": "/problems/run-not-found", "status": 404, **gone}, status=404)
    assert stackly("run", "show", "r9").err == "stackly: There is no run r9; `stackly run list` shows.\n"
    assert stackly("run", "show", "r9", "--limit", "1").err.startswith("stackly: No such option: --limit")


def test_junit_and_markdown(api: FakeApi, stackly: Stackly) -> None:
    tests = [
        a_test("a", verdict="worse", reasons=["slower <by> 40 % & more"]),
        a_test("b", verdict="inconclusive"),
        a_test("c", verdict="invalid"),
        a_test("d"),
    ]
    api.get("/runs/r1", a_run(tests=tests, stack="a|b"))
    suite = ET.fromstring(stackly("run", "show", "r1", "--output", "junit").out)[0]
    assert {k: suite.attrib[k] for k in ("tests", "failures", "errors", "skipped")} == {
        "tests": "4",
        "failures": "1",
        "errors": "1",
        "skipped": "1",
    }
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert failure.attrib["message"] == "slower <by> 40 % & more"
    said = stackly("run", "show", "r1", "--output", "markdown").out
    assert said.startswith("### stackly/demo a\\|b: pass, gate allow")
    assert "| a | 512 | 12.5 |" in said


def test_a_problem_in_json_is_one_line_of_one_object(api: FakeApi, stackly: Stackly) -> None:
    said = stackly("run", "show", "nothing", "--output", "jsonl")
    assert (said.code, said.out) == (5, "")
    assert json.loads(said.err)["kind"] == "not-found"
