"""A world of rows: real Postgres and the real dispatcher; Temporal only hears what it is told."""

import asyncio
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from sqlalchemy import text
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from stackly import db
from stackly.control.dispatcher.outbox import Dispatch, drain
from stackly.db import Transactions
from stackly.engine.admission import Limits
from stackly.engine.policies import PolicyBook
from stackly.runs import store
from stackly.runs.model import Run, RunEvent
from stackly.temporal.steps import CONTROL_QUEUE
from tests.engine.world import World, build

NIGHTLY = os.environ.get("STACKLY_NIGHTLY") == "1"
PLENTY = 1_000_000


@dataclass
class Handle:
    temporal: "HeardTemporal"
    workflow_id: str

    async def signal(self, name: str, **_: Any) -> None:
        await self.temporal.reached(self.workflow_id)
        self.temporal.rung[self.workflow_id] += 1

    async def describe(self, **_: Any) -> SimpleNamespace:
        """It runs, and is ours."""
        await self.temporal.reached(self.workflow_id)
        kind = self.temporal.kinds[self.workflow_id]
        return SimpleNamespace(close_time=None, workflow_type=kind, task_queue=CONTROL_QUEUE)


class HeardTemporal:
    """Stands for Temporal where only its being called matters. Shape: `away` are ids that time out."""

    def __init__(self) -> None:
        self.started: Counter[str] = Counter()
        self.rung: Counter[str] = Counter()
        self.kinds: dict[str, str] = {}
        self.away: set[str] = set()

    async def start_workflow(self, name: str, *_args: Any, id: str, **_: Any) -> None:  # noqa: A002 - Temporal's name
        await self.reached(id)
        self.kinds[id] = name
        self.started[id] += 1

    def get_workflow_handle(self, workflow_id: str) -> Handle:
        return Handle(self, workflow_id)

    async def reached(self, workflow_id: str) -> None:
        if workflow_id in self.away:
            await asyncio.sleep(0.2)
            raise RPCError("Timeout expired", RPCStatusCode.DEADLINE_EXCEEDED, b"")


class Rows(World):
    """Shape: `temporal` is what the dispatcher talks to."""

    temporal: HeardTemporal

    async def drained(self, dispatch: Dispatch | None = None) -> None:
        """Every doorbell that is due has been acted upon; no tick looks by itself."""
        while await drain(dispatch or self.dispatch):
            pass

    def replica(self, name: str) -> Dispatch:
        return replace(self.dispatch, name=name)

    def under(self, folder: Path) -> "Rows":
        """The same rows, judged by the policies of a folder."""
        self.dispatch = replace(self.dispatch, book=PolicyBook([folder]))
        return self

    async def move(self, run: Run, *events: RunEvent) -> Run:
        async with self.transactions() as session:
            moved = await store.get_run(session, run.id, lock=True)
            for event in events:
                moved = await store.transition(session, moved, event, at=await db.now(session))
            return moved

    async def row(self, sql: str, **values: Any) -> tuple[Any, ...]:
        async with self.transactions() as session:
            return tuple((await session.execute(text(sql), values)).one())

    async def execute(self, sql: str, **values: Any) -> None:
        async with self.transactions() as session:
            await session.execute(text(sql), values)


async def build_rows(transactions: Transactions) -> Rows:
    heard = HeardTemporal()
    made = await build(transactions, cast(Client, heard))
    rows = Rows(**vars(made))
    rows.temporal = heard
    rows.dispatch = replace(rows.dispatch, limits=Limits(PLENTY))
    await rows.execute("UPDATE accounts SET max_starting = :n, max_concurrent = :n", n=PLENTY)
    return rows


async def side_by_side(jobs: Sequence[Callable[[], Awaitable[None]]], *, at_once: int) -> None:
    """All of them, so many at a time; each waits for a connection of its own."""
    room = asyncio.Semaphore(at_once)

    async def one(job: Callable[[], Awaitable[None]]) -> None:
        async with room:
            await job()

    await asyncio.gather(*(one(job) for job in jobs))
