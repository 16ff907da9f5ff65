"""Agents that pretend: they honour step rows as real ones do, and say that they did what they were asked."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import text
from temporalio import activity
from temporalio.converter import value_to_type

from stackly import ids
from stackly.agents import service as agents
from stackly.db import Transactions
from stackly.engine.contracts.edge import (
    CollectOutcome,
    DatabaseInput,
    DatabaseOutcome,
    InstallOutcome,
    MeasureOutcome,
    PrepareOutcome,
    WarmupOutcome,
)
from stackly.engine.contracts.site import (
    ApplyOutcome,
    BootOutcome,
    DestroyOutcome,
    ImageOutcome,
    InventoryItem,
    InventoryOutcome,
    PlanOutcome,
    ProbeOutcome,
    PullOutcome,
    RemoveOutcome,
)
from stackly.runs import steps
from stackly.suites import jsonform
from stackly.temporal.steps import StepActivities, StepKey

AGENT = "pretend"


@dataclass
class Faults:
    """What goes wrong with a step, by its name, and how often."""

    gone: dict[str, int] = field(default_factory=dict)
    # The agent is stopped politely in the step, and started again.
    stopped: dict[str, int] = field(default_factory=dict)
    fail: dict[str, str] = field(default_factory=dict)
    hold: dict[str, asyncio.Event] = field(default_factory=dict)
    takes: dict[str, float] = field(default_factory=dict)
    # Steps whose heartbeats are lost on the way, whatever Temporal does first when it wakes.
    unheard: set[str] = field(default_factory=set)
    left: list[InventoryItem] = field(default_factory=list)
    # What the next plans would do. Shape: (create, update, delete).
    changes: tuple[int, int, int] = (1, 0, 0)
    besides: Mapping[str, int] | None = None  # what a plan would apply that is no create, update or delete
    tps: float = 1000.0
    valid: bool = True
    # What looks at an image see, one after the other; the last goes on. A text is an error.
    images: dict[str, list[ImageOutcome | str]] = field(default_factory=dict)


class PretendedError(Exception):
    """What a pretended step fails with."""


class Pretend:
    """Site and edge agents in one: goes by the step rows as a real agent does, and does nothing else.

    A step's work is a task of its own, as a real agent's process is: it goes on when Temporal gives the activity up,
    and a second Begin attaches to it.
    """

    def __init__(self, transactions: Transactions) -> None:
        self.transactions = transactions
        self.faults = Faults()
        self.done: list[str] = []
        self.executed: Counter[StepKey] = Counter()
        self.process = ids.new_id()
        self.looked: list[str] = []
        self.pulled: list[str] = []
        self.databases: list[DatabaseInput] = []
        # Starts the agent of a machine that was booted. Shape: gets the agent's id.
        self.start_edge: Callable[[str], Awaitable[None]] | None = None
        self._running: dict[StepKey, asyncio.Task[None]] = {}

    async def step(self, key: StepKey, agent: str) -> None:
        begun = await self.begin(key, agent)
        if begun.verdict is steps.Verdict.GRANTED:
            self._running[key] = asyncio.create_task(self._execute(key, agent, begun.given or {}))
        if begun.verdict in {steps.Verdict.GRANTED, steps.Verdict.ATTACH}:
            await self._attached(self._running[key], key.step)

    async def begin(self, key: StepKey, agent: str) -> steps.Begun:
        async with self.transactions() as session:
            return await steps.begin(session, key, agent, self.process)

    async def _attached(self, work: "asyncio.Task[None]", step: str) -> None:
        while not work.done():
            if step not in self.faults.unheard:
                activity.heartbeat()
            await asyncio.wait({work}, timeout=0.3)
        work.result()

    async def _execute(self, key: StepKey, agent: str, given: Mapping[str, Any]) -> None:
        process = self.process
        if key.step in self.faults.hold:
            await self.faults.hold[key.step].wait()
        await asyncio.sleep(self.faults.takes.get(key.step, 0.0))
        if self._next(self.faults.gone, key.step):
            await self.die(agent)
            return
        if self._next(self.faults.stopped, key.step):
            await self._end(key, agent, process, {"ok": False}, steps.Interruption.STOPPED)
            self.process = ids.new_id()
            return
        self.done.append(f"{key.step}#{key.attempt}")
        self.executed[key] += 1
        await self._end(key, agent, process, await self._told(key, given))

    async def _told(self, key: StepKey, given: Mapping[str, Any]) -> dict[str, Any]:
        """The outcome, as a real agent stores it."""
        why = self.faults.fail.get(key.step, "")
        if not why:
            try:
                return {"ok": True, "value": jsonform.to_json(await self._outcome(key, given))}
            except PretendedError as e:
                why = str(e)
        return {"ok": False, "slug": "faulty", "detail": why}

    @staticmethod
    def _next(left: dict[str, int], step: str) -> bool:
        if left.get(step, 0) <= 0:
            return False
        left[step] -= 1
        return True

    async def die(self, agent: str) -> None:
        """The next life says what the one before was executing."""
        self.process = ids.new_id()
        async with self.transactions() as session:
            await steps.report_gone(session, agent, self.process)

    async def _end(self, key: StepKey, agent: str, process: str, outcome: dict[str, Any], *how: Any) -> None:
        async with self.transactions() as session:
            await steps.end(session, key, agent, process, outcome, *how)

    # -- what is pretended -----------------------------------------------------------------------------------------

    async def _outcome(self, key: StepKey, given: Mapping[str, Any]) -> Any:
        verb = key.step.partition(" ")[0]
        if verb == "boot":
            return await self._booted(key, given)
        return getattr(self, f"_{verb}")(given)

    def _probe(self, _: Mapping[str, Any]) -> ProbeOutcome:
        return ProbeOutcome(free=True, reason="")

    def _plan(self, _: Mapping[str, Any]) -> PlanOutcome:
        changes = self.faults.changes
        besides = self.faults.besides
        is_changed = any(changes) or besides is not None
        named = ["terraform_data.x create"]
        return PlanOutcome(*changes, is_changed, "p" * 64, "", 0, "l", named, "1.11.4", **(besides or {}))

    def _apply(self, _: Mapping[str, Any]) -> ApplyOutcome:
        return ApplyOutcome({}, {}, 1, 0, 0, 1, 0.1)

    def _destroy(self, _: Mapping[str, Any]) -> DestroyOutcome:
        return DestroyOutcome(1, 0.1)

    def _image(self, given: Mapping[str, Any]) -> ImageOutcome:
        """The next thing that a look at it sees. Raises: PretendedError, where that is a text."""
        name = str(given["image"])
        self.looked.append(name)
        seen = self.faults.images[name]
        found = seen.pop(0) if len(seen) > 1 else seen[0]
        if isinstance(found, str):
            raise PretendedError(found)
        return found

    def _pull(self, given: Mapping[str, Any]) -> PullOutcome:
        self.pulled.append(str(given["image"]))
        return PullOutcome(pulled=True, seconds=0.1)

    async def _booted(self, key: StepKey, given: Mapping[str, Any]) -> BootOutcome:
        """Every machine's agent is enrolled, online, and serves its queue."""
        started = {}
        for machine in given["machines"]:
            async with self.transactions() as session:
                account = (
                    await session.execute(text("SELECT account FROM operations WHERE id = :r"), {"r": key.run})
                ).scalar_one()
                issued = await agents.issue_enrolment(
                    session, account, run=key.run, test=key.test, machine=machine["name"]
                )
                told = {"id": issued.agent.id}
                await session.execute(
                    text("UPDATE agents SET status = 'online', seen_at = clock_timestamp() WHERE id = :id"), told
                )
            if self.start_edge is not None:
                await self.start_edge(issued.agent.id)
            started[machine["name"]] = str(issued.agent.id)
        return BootOutcome(started, 0.1)

    def _remove(self, _: Mapping[str, Any]) -> RemoveOutcome:
        return RemoveOutcome([], 0.1)

    def _inventory(self, given: Mapping[str, Any]) -> InventoryOutcome:
        return InventoryOutcome(given["target"], list(self.faults.left))

    def _database(self, given: Mapping[str, Any]) -> DatabaseOutcome:
        read = value_to_type(DatabaseInput, given)
        self.databases.append(read)
        described = {"cpu": "x"} | ({"image": read.image} if read.image else {})
        return DatabaseOutcome("16.1", {}, described, 0.1)

    def _install(self, _: Mapping[str, Any]) -> InstallOutcome:
        return InstallOutcome("pgbench", "16.1", "pgbench", "", 0.1)

    def _prepare(self, _: Mapping[str, Any]) -> PrepareOutcome:
        return PrepareOutcome(0.1, 1, {})

    def _warmup(self, _: Mapping[str, Any]) -> WarmupOutcome:
        return WarmupOutcome(0.1)

    def _measure(self, given: Mapping[str, Any]) -> MeasureOutcome:
        f = self.faults
        made = int(f.tps * given["seconds"])
        result = {
            "transactions": made,
            "tps": f.tps,
            "errors": 0,
            "error_rate": 0.0,
            "lost_clients": 0,
            "duration_s": given["seconds"],
            "db_commits": made,
        }
        reason = "" if f.valid else "a client was lost"
        return MeasureOutcome(f.valid, reason, result, {}, "", "pretended", [], 0.1)

    def _collect(self, _: Mapping[str, Any]) -> CollectOutcome:
        return CollectOutcome({}, 0.1)


class Agent(StepActivities):
    """One agent's worker. Shape: `agent` is its id."""

    def __init__(self, pretend: Pretend, agent: str) -> None:
        self.pretend = pretend
        self.agent = agent

    @activity.defn(name="step")
    async def carry_out(self, key: StepKey) -> None:
        await self.pretend.step(key, self.agent)
