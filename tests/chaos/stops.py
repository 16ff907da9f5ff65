"""Ways of ending a part, and the moments at which it is ended: what test_stops.py multiplies."""

from __future__ import annotations

import os
import random
import signal
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from stackly.local import platform
from tests.chaos.bench import Bench
from tests.e2e.house import plain

# Another one each time, and the same for all workers of a run: they must collect the same cases.
_RUN = os.environ.get("PYTEST_XDIST_TESTRUNUID", "") or os.urandom(4).hex()
# It stands in the names of the tests: STACKLY_SEED draws the same cases again.
SEED = int(os.environ.get("STACKLY_SEED", "0")) or zlib.crc32(_RUN.encode()) % 10**6

PARTS = ("postgres", "temporal", "s3", "hub", "api", "gateway", "dispatcher", "control", "agent")
# Longer than a step's lease and its grace, as an outage of a network would be.
STILL_S = 37.0
# What a stop finds under way: long enough to be caught; and what is under way still when an outage ends.
_SHORT_S, _LONG_S = 6, 42

_SLOW_MODULE = """
resource "terraform_data" "slow" {{
  input = "kept"
  provisioner "local-exec" {{
    command = "sleep {seconds}"
  }}
  provisioner "local-exec" {{
    when    = destroy
    command = "sleep {seconds}"
  }}
}}
"""


@dataclass(frozen=True)
class Moment:
    """Shape: `kind` of the run that is caught, while a step of it whose name begins with `step` runs."""

    kind: str
    step: str

    @property
    def is_before_machines(self) -> bool:
        return self.kind != "benchmark" or self.step in {"probe", "apply"}

    @property
    def is_after_measuring(self) -> bool:
        return self.step in {"remove", "destroy", "inventory"}


_STEPS = {
    "deploy": ("plan", "apply"),
    "destroy": ("destroy", "inventory"),
    "benchmark": (
        *("probe", "apply", "boot", "database", "install", "prepare", "warmup", "measure"),
        *("collect", "remove", "destroy", "inventory"),
    ),
}
MOMENTS = tuple(Moment(kind, step) for kind, steps in _STEPS.items() for step in steps)


def terminated(bench: Bench, part: str) -> None:
    """As an upgrade or an operator ends it; its supervisor starts it again."""
    pid = bench.process(part)
    os.kill(pid, signal.SIGTERM)
    bench.back(part, pid)


def killed(bench: Bench, part: str) -> None:
    pid = bench.process(part)
    bench.kill(pid)
    bench.back(part, pid)


def frozen(bench: Bench, part: str) -> None:
    """It hangs for longer than a lease. What took it for dead meanwhile has started another: that is as good."""
    pid = bench.process(part)
    os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(STILL_S)
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    bench.house.start()


def whole_stopped(bench: Bench, _part: str) -> None:
    """`stackly down`, then `stackly up`."""
    platform.down(bench.house.home)
    bench.house.start()


STOPS: dict[str, Callable[[Bench, str], None]] = {
    "terminated": terminated,
    "killed": killed,
    "frozen": frozen,
    "down": whole_stopped,
}


@dataclass(frozen=True)
class Case:
    """Units: `seconds` that Terraform takes, of its making as of its destroying."""

    stop: str
    part: str
    moment: Moment
    seconds: int = _SHORT_S

    @property
    def name(self) -> str:
        slowly = "-slowly" * (self.seconds == _LONG_S)
        return f"{self.stop}-{self.part}-{self.moment.kind}-{self.moment.step}{slowly}"


def every_case() -> list[Case]:
    single = [Case(s, p, m) for s in ("terminated", "killed", "frozen") for p in PARTS for m in MOMENTS]
    return single + [Case("down", "all", m) for m in MOMENTS]


def drawn(count: int, first: Case, *parts: str) -> list[Case]:
    """`first`, and then its kind of stop of any of these parts, at random moments, at all of them before one again.

    Shape: `count` in all.
    """
    chance = random.Random(f"{SEED} {first.stop}")
    lasting = (_SHORT_S, _LONG_S) if first.stop == "frozen" else (_SHORT_S,)

    def at(moment: Moment) -> Case:
        seconds = chance.choice(lasting) if moment.kind != "benchmark" else _SHORT_S
        return Case(first.stop, chance.choice(parts), moment, seconds)

    rounds = [moment for _ in range(count) for moment in chance.sample(MOMENTS, len(MOMENTS))]
    return [first, *(at(moment) for moment in rounds[: count - 1])]


@dataclass(frozen=True)
class Subject:
    """The run that is caught. Shape: `before` ran to its end first ('' for none)."""

    bench: Bench
    stack: str

    def begin(self, kind: str, seconds: int) -> str:
        module = _SLOW_MODULE.format(seconds=seconds)
        if kind == "benchmark":
            return self.bench.begin(self.stack, module=module)
        files = {f"{self.stack}/main.tf": module, f"{self.stack}/stackly.hcl": plain(self.stack)}
        self.bench.repository.push(files, f"add {self.stack}")
        rows = self.bench.until(lambda: self.bench.house.runs(stack=self.stack), bool, 90)
        deployed = str(rows[0]["id"])
        if kind == "deploy":
            return deployed
        assert self.bench.ended(deployed)["status"] == "succeeded"
        stack = self.bench.house.stack(self.stack)
        return str(self.bench.house.post(f"stacks/{stack['id']}/destroy")["id"])

    def caught(self, run: str, step: str) -> str:
        """Wait until such a step runs, or has just ended. Returns its name."""
        query = (
            "SELECT s.step FROM steps s JOIN operations o ON o.id = s.operation WHERE (o.id = $1 OR o.parent = $1)"
            " AND s.step LIKE $2 || '%' AND s.status <> 'expected' ORDER BY s.started_at LIMIT 1"
        )
        rows = self.bench.until(lambda: self.bench.rows(query, run, step), bool, 120)
        return str(rows[0]["step"])
