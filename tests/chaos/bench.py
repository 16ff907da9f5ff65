"""Benchmarks under attack: begin one, wait for its moment, end parts of the platform, look at what stayed."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from stackly.errors import StacklyError
from stackly.local import platform as local_platform
from stackly.local import processes
from tests.e2e.house import GENTLY, TERMINAL, House, Json, Refused, Repository

SECONDS = 12
POINTS = 3  # seconds of load that were seen when it counts as running
_LONG = "warmup: 5s, duration: 10s"


@dataclass(frozen=True)
class Attempt:
    """One row of `steps`."""

    step: str
    attempt: int
    status: str
    process: str


@dataclass
class Bench:
    house: House
    repository: Repository

    # -- a run's life -------------------------------------------------------------------------------------------

    def begin(self, stack: str, module: str = "", seconds: int = SECONDS) -> str:
        """Push a stack of its own, `module` added to its Terraform. Returns its run. Units: `seconds` of load."""
        self.repository.example("pg-standalone", stack, changed=GENTLY | {_LONG: f"warmup: 1s, duration: {seconds}s"})
        with (self.repository.clone / stack / "main.tf").open("a") as main:
            main.write(module)
        self.repository.push({}, f"add {stack}")
        rows = self.until(lambda: self.house.runs(stack=stack), bool, 90)
        return str(rows[0]["id"])

    def until_loaded(self, run: str) -> None:
        """Until the load really runs: its live points come in."""
        points = "SELECT count(*) FROM series_points WHERE run = $1"

        def look() -> tuple[int, str]:
            status = self.house.get(f"runs/{run}")["status"]
            return (self.rows(points, run)[0][0], status)

        points_in, status = self.until(look, lambda seen: seen[0] >= POINTS or seen[1] in TERMINAL, 90)
        assert points_in >= POINTS, f"the run ended {status} before its load: {self.house.get(f'runs/{run}')}"

    def ended(self, run: str, timeout_s: float = 150) -> Json:
        found: Json = self.until(lambda: self.house.get(f"runs/{run}"), lambda r: r["status"] in TERMINAL, timeout_s)
        return found

    def until(self, look: Callable[[], Any], good: Callable[[Any], bool], timeout_s: float) -> Any:
        """Like `House.until`, and a part that is away right now is no failure."""

        def patiently() -> Any:
            try:
                return look()
            except (httpx.TransportError, Refused, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as e:
                if isinstance(e, Refused) and e.status < 500:
                    raise
                return e

        return self.house.until(patiently, lambda seen: not isinstance(seen, Exception) and good(seen), timeout_s)

    # -- what is written down -----------------------------------------------------------------------------------

    def rows(self, query: str, *values: object) -> list[Any]:
        async def ask() -> list[Any]:
            connection = await asyncpg.connect(self.house.settings["database_url"], timeout=5)
            try:
                return list(await connection.fetch(query, *values))
            finally:
                await connection.close()

        # A thread of its own: a loop may be running in this one.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(asyncio.run, ask()).result()

    def attempts(self, run: str) -> list[Attempt]:
        """Every execution of every step of a run and of the destroys it caused, in order."""
        rows = self.rows(
            "SELECT step, attempt, s.status, process FROM steps s JOIN operations o ON o.id = s.operation "
            "WHERE o.id = $1 OR o.parent = $1 ORDER BY s.started_at",
            run,
        )
        return [Attempt(*row) for row in rows]

    def measured(self, run: str) -> list[Attempt]:
        return [a for a in self.attempts(run) if a.step.startswith("measure")]

    def destroys(self, run: str) -> list[Json]:
        """The destroys that a run caused, with how many resources Terraform destroyed in each."""
        rows = self.rows(
            "SELECT o.status, s.outcome->'value'->>'destroyed' AS destroyed FROM operations o "
            "LEFT JOIN steps s ON s.operation = o.id AND s.step = 'destroy' WHERE o.parent = $1 AND kind = 'destroy'",
            run,
        )
        return [{"status": r["status"], "destroyed": r["destroyed"] and int(r["destroyed"])} for r in rows]

    # -- what stayed --------------------------------------------------------------------------------------------

    @property
    def machines(self) -> Path:
        return self.house.home / "agent" / "machines"

    def leftovers(self) -> list[str]:
        """Whatever a run may leave, from the platform's own word and from the machine itself."""
        left = [f"inventory says {n}" for n in [self.house.get("inventory")["leftovers"]] if n]
        left += [f"process {who.pid}: {_command(who.pid)}" for who in processes.below(self.machines)]
        left += [f"directory {path}" for path in self.machines.glob("*")]
        work = (self.house.home / "agent" / "runs").glob("*")
        left += [
            f"run directory {path}" for path in work if path.is_dir() and path.name[0] != "."
        ]  # beside a lock file that stays
        left += [
            f"lease {r['cidr']}"
            for r in self.rows("SELECT cidr FROM leases WHERE released_at IS NULL AND state IS NOT NULL")
        ]
        open_ones = self.rows("SELECT state, reason FROM obligations WHERE status = 'open'")
        return left + [f"obligation of {r['state']}: {r['reason']}" for r in open_ones]

    def until_empty(self, timeout_s: float = 60) -> None:
        self.until(self.leftovers, lambda left: left == [], timeout_s)

    # -- ending parts -------------------------------------------------------------------------------------------

    def process(self, component: str) -> int:
        for one in local_platform.status(self.house.home)["components"]:
            if one["name"] == component and one["pid"]:
                return int(one["pid"])
        raise AssertionError(f"{component} does not run")

    def edge_agent(self, run: str, machine: str) -> int:
        """The edge agent itself, not what it started."""
        found = [pid for place in self.machines.glob(f"{run}.*.{machine}") for pid in self.edge_agents(place)]
        assert len(found) == 1, f"{len(found)} edge agents of {run} on {machine}"
        return found[0]

    def edge_agents(self, place: Path) -> list[int]:
        return [who.pid for who in processes.below(place) if "agent.main edge" in _command(who.pid)]

    def load_machine(self, run: str) -> str:
        names = {p.name.rsplit(".", 1)[1] for p in self.machines.glob(f"{run}.*")}
        (name,) = [n for n in names if (self.machines / self._directory(run, n) / "load").exists()]
        return name

    def _directory(self, run: str, machine: str) -> str:
        (found,) = [p.name for p in self.machines.glob(f"{run}.*.{machine}")]
        return found

    def kill(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)

    def back(self, component: str, killed: int) -> None:
        """Wait until another process stands where the killed one stood."""

        def pid() -> int | None:
            try:
                return self.process(component)
            except (AssertionError, StacklyError):
                return None

        self.until(pid, lambda now: now is not None and now != killed, 60)


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""
