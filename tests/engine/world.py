"""A platform without processes: real Postgres, real Temporal, the real dispatcher and control worker, agents that pretend."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sqlalchemy import text
from temporalio import activity
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from stackly import db, ids
from stackly.accounts import service as accounts
from stackly.db import Transactions
from stackly.engine.activities.runs import Runs
from stackly.engine.activities.sync import Sync
from stackly.engine.activities.tests import Tests
from stackly.engine.admission import Limits
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
    InventoryInput,
    InventoryItem,
    InventoryOutcome,
    ModuleInput,
    PlanOutcome,
    ProbeInput,
    ProbeOutcome,
    RemoveInput,
    RemoveOutcome,
    SiteActivities,
)
from stackly.engine.contracts.steps import STEP_FAILED, STEP_GONE, StepKey, edge_queue, site_queue, teardown_queue
from stackly.engine.dispatcher.outbox import Dispatch, drain
from stackly.engine.dispatcher.reconciler import reconcile, sweep_obligations
from stackly.engine.policies import PolicyBook
from stackly.engine.worker import worker
from stackly.runs import service, steps, store
from stackly.runs.model import NewRun, Run, RunKind
from stackly.stacks import store as stacks
from stackly.stacks.model import FoundStack, StackCode
from stackly.suites import jsonform, plan, schema

SUITE = """
version: 1
name: smoke
tests:
  - name: tpcb
    database: {engine: postgres, version: "16"}
    workload: {driver: pgbench, name: tpcb-like, scale_factor: 1, clients: 2}
    measure: {warmup: 1s, duration: 5s, repeats: 1}
    comparison: {baseline: none}
    thresholds:
      tps: {min: 10}
"""


@dataclass
class Faults:
    """What goes wrong with a step, by its name, and how often."""

    gone: dict[str, int] = field(default_factory=dict)
    fail: dict[str, str] = field(default_factory=dict)
    hold: dict[str, asyncio.Event] = field(default_factory=dict)
    left: list[InventoryItem] = field(default_factory=list)
    tps: float = 1000.0
    valid: bool = True


class Pretend:
    """Site and edge agent in one: goes by the step rows as a real agent does, and does nothing else."""

    def __init__(self, transactions: Transactions) -> None:
        self.transactions = transactions
        self.faults = Faults()
        self.done: list[str] = []
        self.process = ids.new_id()

    async def step(self, key: StepKey, outcome: Any, agent: str = "pretend") -> Any:
        async with self.transactions() as session:
            begun = await steps.begin(session, key, agent, self.process)
        if begun.verdict is steps.Verdict.GONE:
            raise ApplicationError("gone", type=STEP_GONE, non_retryable=True)
        if begun.verdict is steps.Verdict.REFUSED:
            raise ApplicationError(begun.reason, type="StepCancelled", non_retryable=True)
        if begun.verdict is steps.Verdict.DONE:
            return outcome
        if key.step in self.faults.hold:
            await self.faults.hold[key.step].wait()
        if self.faults.gone.get(key.step, 0) > 0:
            self.faults.gone[key.step] -= 1
            self.process = ids.new_id()
            raise ApplicationError("gone", type=STEP_GONE, non_retryable=True)
        self.done.append(f"{key.step}#{key.attempt}")
        if key.step in self.faults.fail:
            raise ApplicationError(self.faults.fail[key.step], type=STEP_FAILED, non_retryable=True)
        async with self.transactions() as session:
            stored = {"ok": True, "value": jsonform.to_json(outcome)}
            await steps.end(session, key, agent, self.process, stored)
        return outcome


class Site(SiteActivities):
    def __init__(self, pretend: Pretend) -> None:
        self.p = pretend

    @activity.defn(name="site.probe")
    async def probe(self, given: ProbeInput) -> ProbeOutcome:
        return await self.p.step(given.key, ProbeOutcome(free=True, reason=""))

    @activity.defn(name="site.plan")
    async def plan(self, given: ModuleInput) -> PlanOutcome:
        made = PlanOutcome(1, 0, 0, True, "p" * 64, "", 0, "l", ["terraform_data.x create"], "1.11.4")
        return await self.p.step(given.key, made)

    @activity.defn(name="site.apply")
    async def apply(self, given: ApplyInput) -> ApplyOutcome:
        return await self.p.step(given.module.key, ApplyOutcome({}, {}, 1, 0, 0, 1, 0.1))

    @activity.defn(name="site.destroy")
    async def destroy(self, given: ModuleInput) -> DestroyOutcome:
        return await self.p.step(given.key, DestroyOutcome(1, 0.1))

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
        return await self.p.step(given.key, DatabaseOutcome("16.1", {}, {"cpu": "x"}, 0.1))

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


@dataclass
class World:
    transactions: Transactions
    client: Client
    dispatch: Dispatch
    agent: Pretend
    account: str
    code: StackCode
    repo_id: str

    async def ask(self, generation: int, kind: RunKind = RunKind.BENCHMARK, **more: Any) -> Run | None:
        """A push-caused run of the stack's default state."""
        async with self.transactions() as session:
            state = await stacks.ensure_state(session, self.code)
            new = NewRun(
                account=self.account,
                code=self.code.id,
                state=state.id,
                kind=kind,
                cause="push:refs/heads/main",
                generation=generation,
                branch="main",
                commit=f"{generation:040x}",
                trigger={"kind": "push", "actor": "octo"},
                spec=spec_of(self, kind),
                slot="refs/heads/main",
            )
            return await service.create_run(session, replace(new, **more))

    async def run(self, run_id: str) -> Run:
        async with self.transactions() as session:
            return await store.get_run(session, run_id)

    async def until(self, check: Callable[[], Awaitable[bool]], *, seconds: float = 60) -> None:
        async with asyncio.timeout(seconds):
            while not await check():
                await asyncio.sleep(0.05)

    async def ended(self, run_id: str, *, seconds: float = 60) -> Run:
        async def is_over() -> bool:
            return (await self.run(run_id)).is_terminal

        await self.until(is_over, seconds=seconds)
        return await self.run(run_id)

    async def scalar(self, sql: str, **values: Any) -> Any:
        async with self.transactions() as session:
            return (await session.execute(text(sql), values)).scalar_one()


def spec_of(world: "World", kind: RunKind) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "stack": "smoke",
        "repo": "octo/smoke",
        "default_branch": "main",
        "path": ".",
        "tree": "t",
        "bundle": "code/x.tar.gz",
        "lock_sha256": "",
        "target": "local",
        "variables": {},
        "environment": "",
        "policies": [],
        "suite": None,
    }
    if kind is RunKind.BENCHMARK:
        resolved = plan.resolve(schema.parse(SUITE, "suite.yaml"), "c" * 40)
        spec["suite"] = {
            "name": resolved.name,
            "digest": plan.digest(resolved),
            "parallel": 1,
            "timeout_s": 3600,
            "tests": [{**jsonform.to_json(t), "ruler": plan.ruler(t)} for t in resolved.tests],
        }
    return spec


async def build(transactions: Transactions, client: Client, policies: Path | None = None) -> World:
    async with transactions() as session:
        account = await accounts.ensure_account(session)
        repo = await stacks.insert_repo(
            session,
            account.id,
            github_id=1,
            full_name="octo/smoke",
            clone_url="http://127.0.0.1:1/octo/smoke.git",
            default_branch="main",
            hook="",
        )
        found = FoundStack(".", "smoke", "t", "t", "ephemeral", {"name": "smoke"}, "code/x.tar.gz", None, "")
        code = await stacks.upsert_code(session, repo, "refs/heads/main", "c" * 40, found)
        await session.execute(
            text(
                "INSERT INTO agents (id, account, role, name, status, seen_at, capabilities) VALUES ('pretend', :a,"
                " 'site', 'pretend', 'online', clock_timestamp(), '{\"targets\": [\"local\", \"module\"]}')"
            ),
            {"a": account.id},
        )
    dispatch = Dispatch("test", transactions, client, PolicyBook([policies] if policies else []), Limits())
    return World(transactions, client, dispatch, Pretend(transactions), account.id, code, repo.id)


@asynccontextmanager
async def control(world: World) -> AsyncIterator[None]:
    """The control worker, sync aside: there is no repository here."""
    runs = Runs(world.transactions, world.dispatch.book)
    sync = Sync.__new__(Sync)
    async with worker(world.client, sync, runs, Tests(world.transactions)):
        yield


@asynccontextmanager
async def agents(world: World) -> AsyncIterator[None]:
    site, edge = Site(world.agent), Edge(world.agent)
    queues = {
        site_queue("pretend"): [site.probe, site.plan, site.apply, site.boot],
        teardown_queue("pretend"): [site.remove, site.destroy, site.inventory],
        edge_queue("pretend"): [
            edge.start_database,
            edge.install,
            edge.prepare,
            edge.warmup,
            edge.measure,
            edge.collect,
        ],
    }
    async with contextlib.AsyncExitStack() as stack:
        for queue, activities in queues.items():
            await stack.enter_async_context(Worker(world.client, task_queue=queue, activities=activities))
        yield


@asynccontextmanager
async def dispatching(world: World, *, reconcile_every: float = 1.0) -> AsyncIterator[None]:
    """The dispatcher's loops, faster than in earnest."""

    async def forever(step: Callable[[], Awaitable[object]], every: float) -> None:
        while True:
            await step()
            await asyncio.sleep(every)

    async with asyncio.TaskGroup() as group:
        loops = [
            group.create_task(forever(lambda: drain(world.dispatch), 0.02)),
            group.create_task(forever(lambda: reconcile(world.dispatch), reconcile_every)),
            group.create_task(forever(lambda: sweep_obligations(world.dispatch), 0.5)),
        ]
        yield
        for loop in loops:
            loop.cancel()


async def clock(world: World) -> Any:
    async with world.transactions() as session:
        return await db.now(session)
