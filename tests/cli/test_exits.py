"""The exits: by outcome where a run was waited for, by the kind of the problem everywhere."""

import json
import socket
from typing import Any

import pytest

from stackly import errors
from stackly.api.problems import status_of
from stackly.cli.exits import BY_KIND
from tests.cli.fake_api import FakeApi, Stackly, Stream, a_run, a_test, problem

GATES = {d: {"decision": d, "policy": "regression_gate", "reasons": ["r"]} for d in ("allow", "deny", "hold")}
OUTCOMES: list[tuple[dict[str, Any], int]] = [
    ({"status": "succeeded", "verdict": "pass", "gate": GATES["allow"]}, 0),
    ({"status": "succeeded", "verdict": None, "gate": None, "kind": "deploy", "tests": []}, 0),
    # The gate, not the verdict, chooses.
    ({"status": "succeeded", "verdict": "worse", "gate": GATES["allow"]}, 0),
    ({"status": "succeeded", "verdict": "inconclusive", "gate": GATES["allow"]}, 0),
    ({"status": "succeeded", "verdict": "better", "gate": GATES["deny"]}, 3),
    ({"status": "succeeded", "verdict": "worse", "gate": GATES["deny"]}, 3),
    ({"status": "succeeded", "verdict": "inconclusive", "gate": GATES["hold"]}, 10),
    ({"status": "failed", "verdict": "invalid", "gate": GATES["deny"]}, 1),
    ({"status": "failed", "verdict": None, "gate": None}, 1),
    ({"status": "cancelled", "verdict": None, "gate": None}, 8),
    ({"status": "superseded", "verdict": None, "gate": None}, 8),
    ({"status": "rejected", "verdict": None, "gate": None}, 11),
]


@pytest.mark.parametrize(("outcome", "code"), OUTCOMES)
@pytest.mark.parametrize("form", ["text", "json", "markdown", "junit"])
def test_wait_exits_by_outcome(api: FakeApi, stackly: Stackly, outcome: dict[str, Any], code: int, form: str) -> None:
    api.streams("r1", Stream([("end", a_run(**outcome))]))
    assert stackly("run", "wait", "r1", "--output", form).code == code


@pytest.mark.parametrize(("outcome", "code"), OUTCOMES)
def test_compare_with_its_own_baseline_exits_by_outcome(
    api: FakeApi, stackly: Stackly, outcome: dict[str, Any], code: int
) -> None:
    api.get("/runs/r1", a_run(**outcome))
    assert stackly("run", "compare", "r1").code == code


@pytest.mark.parametrize(("outcome", "code"), OUTCOMES)
def test_reading_exits_0_whatever_is_shown(api: FakeApi, stackly: Stackly, outcome: dict[str, Any], code: int) -> None:
    api.get("/runs/r1", a_run(**outcome))
    assert stackly("run", "show", "r1").code == 0


@pytest.mark.parametrize("kind", errors.KINDS)
def test_every_kind_of_problem_has_its_exit(api: FakeApi, stackly: Stackly, kind: type[errors.StacklyError]) -> None:
    status = status_of(kind())
    api.get("/runs/r1", problem(kind.slug(), status), status)
    expected = {
        "invalid": 2,
        "unauthenticated": 4,
        "denied": 4,
        "not-found": 5,
        "conflict": 12,
        "exhausted": 13,
        "unavailable": 6,
        "faulty": 70,
    }
    assert BY_KIND.keys() == expected.keys()
    said = stackly("run", "show", "r1", "--json")
    assert (said.code, said.out) == (expected[kind.slug()], "")
    told = json.loads(said.err)
    assert told["kind"] == kind.slug()
    assert told["detail"] == f"Details of {kind.slug()}."


def test_a_defect_of_the_server_is_70(api: FakeApi, stackly: Stackly) -> None:
    api.get("/runs/r1", {"type": "about:blank", "title": "Internal Server Error", "status": 500, "detail": "d"}, 500)
    assert stackly("run", "show", "r1").code == 70


def test_an_answer_that_is_not_ours_is_70(api: FakeApi, stackly: Stackly) -> None:
    api.on("GET", "/api/v1/runs/r1", (200, []))  # type: ignore[arg-type]  # the point
    assert stackly("run", "show", "r1").code == 70


def test_nobody_there_is_6(stackly: Stackly) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        said = stackly("--server", f"http://127.0.0.1:{closed.getsockname()[1]}", "run", "list", "--json")
    assert (said.code, said.out) == (6, "")
    assert json.loads(said.err)["title"] == "The server is not reachable."


def test_a_home_that_was_never_up_is_6(stackly: Stackly) -> None:
    said = stackly("run", "list")
    assert said.code == 6
    assert "stackly up" in said.err


@pytest.mark.parametrize(
    "argv",
    [
        *(["nonsense"], ["run", "nonsense"], ["run", "show"], ["run", "list", "--output", "xml"]),
        *(["run", "list", "--limit", "0"], ["explain", "colour", "x"], ["schema", "table"], ["completion", "tcsh"]),
        *(["run", "wait", "r1", "--timeout", "soon"], ["approve", "r1"], ["deny", "r1"], ["login"]),
        ["--server", "ftp://x", "run", "list"],
    ],
)
def test_misuse_is_2_and_says_so_on_stderr(api: FakeApi, stackly: Stackly, argv: list[str]) -> None:
    said = stackly(*argv)
    assert (said.code, said.out) == (2, "")
    assert said.err
    as_json = stackly(*argv, "--json")
    assert (as_json.code, as_json.out) == (2, "")
    assert json.loads(as_json.err)["title"]


def test_comparing_a_run_that_goes_on_is_a_conflict(api: FakeApi, stackly: Stackly) -> None:
    api.get("/runs/r1", a_run(status="running"))
    assert stackly("run", "compare", "r1").code == 12


@pytest.mark.parametrize(("tps", "verdict", "code"), [(500.0, "same", 0), (200.0, "worse", 3), (900.0, "better", 0)])
def test_two_runs_are_compared_by_the_servers_own_rules(
    api: FakeApi, stackly: Stackly, tps: float, verdict: str, code: int
) -> None:
    api.get("/runs/a", a_run("a", tests=[a_test(tps=520.0)]))
    api.get("/runs/b", a_run("b", tests=[a_test(tps=tps)]))
    said = stackly("run", "compare", "a", "b", "--json")
    assert (said.code, said.json["verdict"]) == (code, verdict)
    assert said.json["baseline"]["run_id"] == "a"
