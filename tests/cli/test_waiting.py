"""Waiting: over a server that restarts, with an end, and without doing anything twice."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.fake_api import AT, Answer, FakeApi, Stackly, Stream, a_run, phase

RUNNING = ("run", a_run(status="running", verdict=None, gate=None))
END = ("end", a_run())


def _log(n: int) -> dict[str, object]:
    return {
        "id": str(n),
        "run_id": "r1",
        "test": "tpcb",
        "source": "pgbench",
        "n": n,
        "at": AT,
        "level": "info",
        "text": f"line {n}",
    }


def test_a_broken_stream_is_taken_up_where_it_ended(api: FakeApi, stackly: Stackly) -> None:
    api.streams("r1", Stream([RUNNING, ("phase", {"test": "tpcb", **phase("measure")})]), Stream([RUNNING, END]))
    said = stackly("run", "wait", "r1")
    assert said.code == 0
    assert [a.headers.get("last-event-id") for a in api.seen("GET", "/runs/r1/stream")] == [None, "2.0"]
    # Told once, though the second connection told it again.
    assert said.err.count("run r1 of stackly/demo: running") == 1
    assert "tpcb measure succeeded in 10.0s" in said.err


def test_a_server_that_restarts_is_waited_for(api: FakeApi, stackly: Stackly) -> None:
    api.streams("r1", Stream([RUNNING], holds_s=30), Stream([END]))

    def restart() -> None:
        while not api.seen("GET", "/runs/r1/stream"):
            time.sleep(0.01)
        api.stop()
        time.sleep(0.5)
        api.start()

    thread = threading.Thread(target=restart)
    thread.start()
    said = stackly("run", "wait", "r1")
    thread.join()
    assert said.code == 0
    assert len(api.seen("GET", "/runs/r1/stream")) == 2


def test_a_line_on_the_way_names_the_test_and_no_percentage_that_stands_still(api: FakeApi, stackly: Stackly) -> None:
    at = {"percent": 57, "test": "tpcb", "phase": "measure"}
    api.streams("r1", Stream([("progress", {**at, "tps": 986.2}), ("progress", {**at, "tps": 1153.0}), END]))
    lines = stackly("run", "wait", "r1").err.splitlines()
    assert lines[:2] == ["  tpcb measure 986 tps", "  tpcb measure 1,153 tps"]


def test_a_server_whose_database_is_away_is_waited_for(api: FakeApi, stackly: Stackly) -> None:
    told: Iterator[Answer] = iter([(503, {"title": "down", "kind": "unavailable"}), Stream([END])])
    api.on("GET", "/api/v1/runs/r1/stream", lambda _: next(told))
    assert stackly("run", "wait", "r1").code == 0


def test_a_run_that_is_not_there_is_not_waited_for(api: FakeApi, stackly: Stackly) -> None:
    assert stackly("run", "wait", "nothing").code == 5


def test_a_timeout_is_7_and_the_run_goes_on(api: FakeApi, stackly: Stackly) -> None:
    api.streams("r1", Stream([RUNNING], holds_s=30))
    said = stackly("run", "wait", "r1", "--timeout", "0.3", "--json")
    assert (said.code, said.out) == (7, "")
    assert "goes on" in said.err
    assert not api.seen("POST", "/runs/r1/cancel")


@pytest.mark.parametrize("status", ["awaiting_approval", "queued"])
def test_waiting_for_a_person_is_9_when_asked_not_to(api: FakeApi, stackly: Stackly, status: str) -> None:
    waiting = {"reason": "2 approvals", "blocker": "approval", "since": AT, "deadline": None, "next_check": None}
    run = a_run(status=status, waiting=waiting, verdict=None, gate=None)
    api.streams("r1", Stream([("run", run)], holds_s=30))
    said = stackly("run", "wait", "r1", "--no-wait-approval", "--json")
    assert (said.code, said.json["status"]) == (9, status)


def test_start_waits_and_exits_by_outcome(api: FakeApi, stackly: Stackly) -> None:
    blocked = a_run(verdict="worse", gate={"decision": "deny", "policy": "p", "reasons": []})
    api.on("POST", "/api/v1/runs", (202, a_run(status="queued")))
    api.streams("r1", Stream([("end", blocked)]))
    assert stackly("run", "start", "pg-standalone", "--wait").code == 3
    assert stackly("run", "start", "pg-standalone").code == 0


def test_every_post_has_a_key_of_its_own(api: FakeApi, stackly: Stackly) -> None:
    api.on("POST", "/api/v1/runs/r1/cancel", (202, a_run(status="running")))
    stackly("run", "cancel", "r1")
    stackly("run", "cancel", "r1")
    keys = [a.headers["idempotency-key"] for a in api.seen("POST", "/runs/r1/cancel")]
    assert len(set(keys)) == 2


def test_a_post_is_repeated_with_the_same_key(api: FakeApi, stackly: Stackly) -> None:
    told = iter([(503, {"title": "down", "kind": "unavailable"}), (202, a_run(status="running"))])
    api.on("POST", "/api/v1/runs/r1/cancel", lambda _: next(told))
    assert stackly("run", "cancel", "r1").code == 0
    keys = [a.headers["idempotency-key"] for a in api.seen("POST", "/runs/r1/cancel")]
    assert len(keys) == 2
    assert len(set(keys)) == 1


def test_logs_are_followed_over_a_broken_stream(api: FakeApi, stackly: Stackly) -> None:
    api.streams("r1", Stream([("log", _log(1))]), Stream([("log", _log(2)), END]))
    said = stackly("run", "logs", "r1", "-f", "--json")
    assert said.code == 0
    assert [line.split('"text": ')[1] for line in said.out.splitlines()] == ['"line 1"}', '"line 2"}']


def test_what_cannot_be_undone_is_asked_for(api: FakeApi, stackly: Stackly) -> None:
    api.on("POST", "/api/v1/stacks/shop/destroy", (202, a_run(kind="destroy", tests=[])))
    assert stackly("stack", "destroy", "shop").code == 2
    assert stackly("down", "--wipe").code == 2
    assert not api.seen("POST", "/stacks/shop/destroy")
    assert stackly("stack", "destroy", "shop", "--state", "staging", "--yes").code == 0
    assert api.seen("POST", "/stacks/shop/destroy")[0].body == {"state": "staging", "reason": None}


def test_an_interrupt_leaves_the_run_alone(api: FakeApi, home: Path) -> None:
    api.streams("r1", Stream([RUNNING], holds_s=60))
    argv = [sys.executable, "-m", "stackly.cli.main", "run", "wait", "r1"]
    # A shell's background job ignores SIGINT, and hands that on to what it starts: here somebody sits at a terminal.
    ignored = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ})
    signal.signal(signal.SIGINT, ignored)
    assert process.stderr is not None
    assert b"running" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, b"")
    assert b"goes on" in err
    assert {a.method for a in api.asked} == {"GET"}


def test_a_wait_that_is_looked_at_again_and_again_is_told_once(api: FakeApi, stackly: Stackly) -> None:
    waiting = {"blocker": "agent", "reason": "no agent fits target docker", "since": AT, "deadline": None}
    looks = [
        ("run", a_run(status="queued", waiting={**waiting, "next_check": f"2026-11-21T08:00:0{n}.000Z"}))
        for n in range(5)
    ]
    api.streams("r1", Stream([*looks, END]))
    said = stackly("run", "wait", "r1")
    assert said.err.count("waits for agent") == 1
    assert f"waits for agent since {AT}: no agent fits target docker" in said.err
