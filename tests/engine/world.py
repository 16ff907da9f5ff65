"""A platform without processes: real Postgres, Temporal, dispatcher and control worker; agents that pretend."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sqlalchemy import text
from temporalio.client import Client
from temporalio.worker import Worker

from stackly import db
from stackly.accounts import service as accounts
from stackly.control.dispatcher.__main__ import _forever
from stackly.control.dispatcher.outbox import Dispatch, drain
from stackly.control.reconciler import reconcile, sweep_obligations
from stackly.control.worker import worker
from stackly.db import Session, Transactions
from stackly.engine.activities.runs import Runs
from stackly.engine.activities.sync import Sync
from stackly.engine.activities.tests import Tests
from stackly.engine.admission import Limits
from stackly.engine.policies import PolicyBook
from stackly.runs import service, store
from stackly.runs.model import NewRun, Run
from stackly.spec.runs import RunKind
from stackly.stacks import store as stacks
from stackly.stacks.model import FoundStack, StackCode
from stackly.suites import jsonform, plan, schema
from stackly.temporal.steps import (
    edge_queue,
    site_queue,
    teardown_queue,
)
from tests.engine.pretending import AGENT, Agent, Pretend
from tests.engine.standing import register

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
class World:
    transactions: Transactions
    client: Client
    dispatch: Dispatch
    agent: Pretend
    account: str
    code: StackCode
    repo_id: str
    # Set when a run's rows changed, by whoever is `dispatching`.
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def ask(
        self, generation: int, kind: RunKind = RunKind.BENCHMARK, *, state: str = "default", **more: Any
    ) -> Run | None:
        """A push-caused run of that state of the stack."""
        async with self.transactions() as session:
            return await service.create_run(session, await self.new_run(session, generation, kind, state=state, **more))

    async def new_run(
        self, session: Session, generation: int, kind: RunKind, *, state: str = "default", **more: Any
    ) -> NewRun:
        found = await stacks.ensure_state(session, self.code, state)
        new = NewRun(
            account=self.account,
            code=self.code.id,
            state=found.id,
            kind=kind,
            cause="push:refs/heads/main",
            generation=generation,
            branch="main",
            commit=f"{generation:040x}",
            trigger={"kind": "push", "actor": "octo"},
            spec=spec_of(self, kind),
            slot="refs/heads/main",
        )
        return replace(new, **more)

    async def asked(self, generation: int, kind: RunKind = RunKind.BENCHMARK, **more: Any) -> Run:
        run = await self.ask(generation, kind, **more)
        assert run is not None
        return run

    async def run(self, run_id: str) -> Run:
        async with self.transactions() as session:
            return await store.get_run(session, run_id)

    async def until(self, check: Callable[[], Awaitable[bool]], *, seconds: float = 60) -> None:
        """Look whenever Postgres tells of a change, and now and then for what it does not tell of."""
        async with asyncio.timeout(seconds):
            while True:
                self.changed.clear()
                if await check():
                    return
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.changed.wait(), 0.2)

    async def ended(self, run_id: str, *, seconds: float = 60) -> Run:
        async def is_over() -> bool:
            return (await self.run(run_id)).is_terminal

        await self.until(is_over, seconds=seconds)
        return await self.run(run_id)

    async def begun(self, step: str, run: str = "") -> bool:
        """Whether an agent has begun it, of any run or of this one."""
        begun = "status <> 'expected' AND step = :step AND (:run = '' OR operation = :run)"
        return bool(await self.scalar(f"SELECT count(*) FROM steps WHERE {begun}", step=step, run=run))

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
        code = await register(session, repo, "refs/heads/main", "c" * 40, found)
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
    """The site agent, and the agents of the machines that it boots."""
    async with contextlib.AsyncExitStack() as stack:

        async def serve(queue: str, agent: str) -> None:
            own = Agent(world.agent, agent)
            await stack.enter_async_context(Worker(world.client, task_queue=queue, activities=[own.carry_out]))

        async def start_edge(agent: str) -> None:
            await serve(edge_queue(agent), agent)

        world.agent.start_edge = start_edge
        await serve(site_queue(AGENT), AGENT)
        await serve(teardown_queue(AGENT), AGENT)
        yield


@asynccontextmanager
async def dispatching(world: World, *, reconcile_every: float = 1.0, reconciles: bool = True) -> AsyncIterator[None]:
    """The dispatcher's loops, which look more often than in earnest, and are rung as in earnest."""
    rung = asyncio.Event()
    Loop = tuple[str, float, Callable[[], Awaitable[object]], asyncio.Event | None]  # noqa: N806 - a type
    loops: list[Loop] = [
        ("outbox", 0.2, lambda: drain(world.dispatch), rung),
        ("sweep", 0.5, lambda: sweep_obligations(world.dispatch), None),
    ]
    if reconciles:
        loops.append(("reconciler", reconcile_every, lambda: reconcile(world.dispatch), None))
    async with _hearing(world, rung), asyncio.TaskGroup() as group:
        tasks = [group.create_task(_forever(world.transactions, *loop)) for loop in loops]
        yield
        for task in tasks:
            task.cancel()


@asynccontextmanager
async def _hearing(world: World, rung: asyncio.Event) -> AsyncIterator[None]:
    """Doorbells ring the outbox's loop, and changes of runs those who wait for them."""
    async with world.transactions() as session:
        url = session.engine.url.render_as_string(hide_password=False)
    events = {"outbox": rung, "run": world.changed}
    connection = await db.listen(url, list(events), lambda channel, _: events[channel].set())
    try:
        yield
    finally:
        await connection.close()


async def clock(world: World) -> Any:
    async with world.transactions() as session:
        return await db.now(session)
