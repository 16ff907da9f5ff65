"""Agents that pretend: they honour step rows as real ones do, and say that they did what they were asked."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, TypeVar

from temporalio import activity
from temporalio.exceptions import ApplicationError

from stackly import ids
from stackly.db import Transactions
from stackly.engine.contracts.edge import (
    CollectInput,
    CollectOutcome,
    DatabaseInput,
    DatabaseOutcome,
    EdgeActivities,
    InstallInput,
    InstallOutcome,
    MeasureInput,
    MeasureOutcome,
    PrepareInput,
    PrepareOutcome,
    WarmupInput,
    WarmupOutcome,
)
from stackly.engine.contracts.site import (
    ApplyInput,
    ApplyOutcome,
    BootInput,
    BootOutcome,
    DestroyOutcome,
    ImageInput,
    ImageOutcome,
    InventoryInput,
    InventoryItem,
    InventoryOutcome,
    ModuleInput,
    PlanOutcome,
    ProbeInput,
    ProbeOutcome,
    PullInput,
    PullOutcome,
    RemoveInput,
    RemoveOutcome,
    SiteActivities,
)
from stackly.engine.contracts.steps import (
    STEP_CANCELLED,
    STEP_FAILED,
    STEP_GONE,
    STEP_INTERRUPTED,
    STEP_REFUSED,
    StepKey,
)
from stackly.runs import steps
from stackly.runs.holds import Refusal
from stackly.suites import jsonform

T = TypeVar("T")
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
    tps: float = 1000.0
    valid: bool = True
    # What looks at an image see, one after the other; the last goes on. A text is an error.
    images: dict[str, list[ImageOutcome | str]] = field(default_factory=dict)


class Pretend:
    """Site and edge agent in one: goes by the step rows as a real agent does, and does nothing else.

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
        self._running: dict[StepKey, asyncio.Task[None]] = {}

    def image(self, name: str) -> ImageOutcome:
        """The next thing that a look at it sees. Raises: ApplicationError, as a failed step does."""
        self.looked.append(name)
        seen = self.faults.images[name]
        found = seen.pop(0) if len(seen) > 1 else seen[0]
        if isinstance(found, str):
            raise ApplicationError(found, type=STEP_FAILED, non_retryable=True)
        return found

    async def step(self, key: StepKey, outcome: T) -> T:
        begun = await self.begin(key)
        verdict = begun.verdict
        if verdict is steps.Verdict.GONE:
            raise ApplicationError("gone", type=STEP_GONE, non_retryable=True)
        if verdict is steps.Verdict.REFUSED:
            kind = STEP_CANCELLED if begun.refusal is Refusal.CANCELLED else STEP_REFUSED
            raise ApplicationError(begun.reason, type=kind, non_retryable=True)
        if verdict is steps.Verdict.GRANTED:
            self._running[key] = asyncio.create_task(self._execute(key, jsonform.to_json(outcome)))
        if verdict is not steps.Verdict.DONE:
            await self._attached(self._running[key], key.step)
        return outcome

    async def begin(self, key: StepKey) -> steps.Begun:
        async with self.transactions() as session:
            return await steps.begin(session, key, AGENT, self.process)

    async def _attached(self, work: "asyncio.Task[None]", step: str) -> None:
        while not work.done():
            if step not in self.faults.unheard:
                activity.heartbeat()
            await asyncio.wait({work}, timeout=0.3)
        work.result()

    async def _execute(self, key: StepKey, outcome: Any) -> None:
        process = self.process
        if key.step in self.faults.hold:
            await self.faults.hold[key.step].wait()
        await asyncio.sleep(self.faults.takes.get(key.step, 0.0))
        if self.faults.gone.get(key.step, 0) > 0:
            self.faults.gone[key.step] -= 1
            self.process = ids.new_id()
            raise ApplicationError("gone", type=STEP_GONE, non_retryable=True)
        if self.faults.stopped.get(key.step, 0) > 0:
            self.faults.stopped[key.step] -= 1
            await self._stopped(key, process)
        self.done.append(f"{key.step}#{key.attempt}")
        self.executed[key] += 1
        if key.step in self.faults.fail:
            raise ApplicationError(self.faults.fail[key.step], type=STEP_FAILED, non_retryable=True)
        async with self.transactions() as session:
            await steps.end(session, key, AGENT, process, {"ok": True, "value": outcome})

    async def _stopped(self, key: StepKey, process: str) -> None:
        async with self.transactions() as session:
            await steps.end(session, key, AGENT, process, {"ok": False}, steps.Interruption.STOPPED)
        self.process = ids.new_id()
        raise ApplicationError("interrupted: the agent is stopping", type=STEP_INTERRUPTED, non_retryable=True)


class Site(SiteActivities):
    def __init__(self, pretend: Pretend) -> None:
        self.p = pretend

    @activity.defn(name="site.probe")
    async def probe(self, given: ProbeInput) -> ProbeOutcome:
        return await self.p.step(given.key, ProbeOutcome(free=True, reason=""))

    @activity.defn(name="site.plan")
    async def plan(self, given: ModuleInput) -> PlanOutcome:
        changes = self.p.faults.changes
        made = PlanOutcome(*changes, any(changes), "p" * 64, "", 0, "l", ["terraform_data.x create"], "1.11.4")
        return await self.p.step(given.key, made)

    @activity.defn(name="site.apply")
    async def apply(self, given: ApplyInput) -> ApplyOutcome:
        return await self.p.step(given.module.key, ApplyOutcome({}, {}, 1, 0, 0, 1, 0.1))

    @activity.defn(name="site.destroy")
    async def destroy(self, given: ModuleInput) -> DestroyOutcome:
        return await self.p.step(given.key, DestroyOutcome(1, 0.1))

    @activity.defn(name="site.find_image")
    async def find_image(self, given: ImageInput) -> ImageOutcome:
        return await self.p.step(given.key, self.p.image(given.image))

    @activity.defn(name="site.pull_image")
    async def pull_image(self, given: PullInput) -> PullOutcome:
        self.p.pulled.append(given.image)
        return await self.p.step(given.key, PullOutcome(pulled=True, seconds=0.1))

    @activity.defn(name="site.boot")
    async def boot(self, given: BootInput) -> BootOutcome:
        agents = {m.name: "pretend" for m in given.machines}
        return await self.p.step(given.key, BootOutcome(agents, 0.1))

    @activity.defn(name="site.remove")
    async def remove(self, given: RemoveInput) -> RemoveOutcome:
        return await self.p.step(given.key, RemoveOutcome([], 0.1))

    @activity.defn(name="site.inventory")
    async def inventory(self, given: InventoryInput) -> InventoryOutcome:
        return await self.p.step(given.key, InventoryOutcome(given.target, list(self.p.faults.left)))


class Edge(EdgeActivities):
    def __init__(self, pretend: Pretend) -> None:
        self.p = pretend

    @activity.defn(name="edge.start_database")
    async def start_database(self, given: DatabaseInput) -> DatabaseOutcome:
        self.p.databases.append(given)
        described = {"cpu": "x"} | ({"image": given.image} if given.image else {})
        return await self.p.step(given.key, DatabaseOutcome("16.1", {}, described, 0.1))

    @activity.defn(name="edge.install")
    async def install(self, given: InstallInput) -> InstallOutcome:
        return await self.p.step(given.key, InstallOutcome("pgbench", "16.1", "pgbench", "", 0.1))

    @activity.defn(name="edge.prepare")
    async def prepare(self, given: PrepareInput) -> PrepareOutcome:
        return await self.p.step(given.key, PrepareOutcome(0.1, 1, {}))

    @activity.defn(name="edge.warmup")
    async def warmup(self, given: WarmupInput) -> WarmupOutcome:
        return await self.p.step(given.key, WarmupOutcome(0.1))

    @activity.defn(name="edge.measure")
    async def measure(self, given: MeasureInput) -> MeasureOutcome:
        f = self.p.faults
        made = int(f.tps * given.seconds)
        result = {
            "transactions": made,
            "tps": f.tps,
            "errors": 0,
            "error_rate": 0.0,
            "lost_clients": 0,
            "duration_s": given.seconds,
            "db_commits": made,
        }
        reason = "" if f.valid else "a client was lost"
        return await self.p.step(given.key, MeasureOutcome(f.valid, reason, result, {}, "", "pretended", [], 0.1))

    @activity.defn(name="edge.collect")
    async def collect(self, given: CollectInput) -> CollectOutcome:
        return await self.p.step(given.key, CollectOutcome({}, 0.1))
