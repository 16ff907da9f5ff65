"""Polite stops and outages longer than a lease, in the middle of a site step: the run recovers, and is never cancelled.

As after kill -9: what was begun is gone, the next attempt takes it from there, and nothing stays.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stackly.engine.contracts.steps import STEP_TTL
from stackly.local import platform
from tests.chaos.bench import Bench
from tests.e2e.house import plain

pytestmark = [pytest.mark.chaos, pytest.mark.e2e, pytest.mark.real, pytest.mark.timeout(600)]

OUTAGE = STEP_TTL.total_seconds() + 7
# Provisioners are found by how long they sleep. Shape: (made, unmade); an outage ends before the long ones do.
SHORT, LONG = ("8.25", "8.75"), ("41.25", "41.75")
_SLOW = """
resource "terraform_data" "slow" {{
  provisioner "local-exec" {{
    command = "sleep {made}"
  }}
  provisioner "local-exec" {{
    when    = destroy
    command = "sleep {unmade}"
  }}
}}
"""


def _slow(sleeps: tuple[str, str]) -> str:
    return _SLOW.format(made=sleeps[0], unmade=sleeps[1])


def _sleepers(seconds: str) -> list[int]:
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        try:
            command = (each / "cmdline").read_bytes()
        except OSError:
            continue
        if command == f"sleep\0{seconds}\0".encode():
            found.append(int(each.name))
    return found


def _stop_the_agent(bench: Bench) -> None:
    pid = bench.process("agent")
    os.kill(pid, signal.SIGTERM)
    bench.back("agent", pid)


def _down_and_up(bench: Bench) -> None:
    platform.down(bench.house.home)
    bench.house.start()


@contextmanager
def _still(bench: Bench, component: str) -> Iterator[None]:
    pid = bench.process(component)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _gateway_away(bench: Bench) -> None:
    with _still(bench, "gateway"):
        time.sleep(OUTAGE)


def _agent_frozen(bench: Bench) -> None:
    with _still(bench, "agent"):
        time.sleep(OUTAGE)


DISTURBANCES: list[Callable[[Bench], None]] = [_stop_the_agent, _gateway_away, _agent_frozen, _down_and_up]


def _deploy(bench: Bench, name: str, sleeps: tuple[str, str]) -> str:
    bench.repository.push({f"{name}/stackly.hcl": plain(name), f"{name}/main.tf": _slow(sleeps)}, f"add {name}")
    rows = bench.until(lambda: bench.house.runs(stack=name), bool, 90)
    return str(rows[0]["id"])


def _until_asleep(bench: Bench, seconds: str) -> None:
    bench.until(lambda: _sleepers(seconds), bool, 90)


def _recovered(bench: Bench, run: str, step: str) -> None:
    ended = bench.ended(run, 240)
    assert ended["status"] == "succeeded", ended
    attempts = [a.status for a in bench.attempts(run) if a.step == step]
    assert attempts[-1] == "done", attempts
    assert set(attempts[:-1]) <= {"gone"}, attempts


@pytest.mark.parametrize("disturb", DISTURBANCES, ids=lambda d: d.__name__.strip("_"))
def test_a_deploy_recovers_in_its_apply_and_a_destroy_in_its_own(
    bench: Bench, disturb: Callable[[Bench], None]
) -> None:
    name = "polite" + disturb.__name__.replace("_", "-")
    made, unmade = sleeps = LONG if disturb in {_gateway_away, _agent_frozen} else SHORT
    run = _deploy(bench, name, sleeps)
    _until_asleep(bench, made)
    disturb(bench)
    _recovered(bench, run, "apply")

    destroy = str(bench.house.post(f"stacks/{name}/destroy")["id"])
    _until_asleep(bench, unmade)
    disturb(bench)
    _recovered(bench, destroy, "destroy")
    assert not _sleepers(made)
    assert not _sleepers(unmade)


def test_a_benchmark_recovers_in_its_provision(bench: Bench) -> None:
    run = bench.begin("polite-provision", module=_slow(SHORT))
    _until_asleep(bench, SHORT[0])
    _stop_the_agent(bench)
    ended = bench.ended(run, 300)
    assert (ended["status"], ended["verdict"]) == ("succeeded", "pass"), ended
    assert next(a.status for a in bench.attempts(run) if a.step == "apply") == "gone"
    bench.until_empty()
