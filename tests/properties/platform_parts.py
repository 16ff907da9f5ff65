"""The way of a push without Temporal: real hub, real webhook handler, real inbox, real syncs, real Postgres and git."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from sqlalchemy import text
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from stackly import db
from stackly.accounts import service as accounts
from stackly.api.hooks import HookBook
from stackly.api.metrics import Metrics
from stackly.api.webhooks import Webhooks
from stackly.db import Json, Transactions
from stackly.engine import admission, gates
from stackly.engine.activities.sweep import Sweeping, Sweeps
from stackly.engine.activities.sync import Source, Sync
from stackly.engine.admission import Limits
from stackly.engine.contracts.control import PlanRecord, RefChange
from stackly.engine.contracts.site import PlanOutcome
from stackly.engine.policies import PolicyBook
from stackly.events import store as events
from stackly.events.inbox import Inbox
from stackly.events.model import Bell
from stackly.git.github_client import GitHub
from stackly.git.github_rest import GitHubHost
from stackly.git.runner import Runner
from stackly.local.hub import hub as hubs
from stackly.local.hub import problems as hub_problems
from stackly.local.hub import rest, rest_hooks
from stackly.local.hub import store as hub_store
from stackly.local.hub.faults import Faults
from stackly.local.hub.pushes import announced
from stackly.local.hub.repositories import ref_changes
from stackly.runs import store as runs
from stackly.runs.model import RunEvent
from stackly.secrets import KeyNotFound
from stackly.spec.runs import RunKind
from stackly.stacks import lifecycle
from stackly.stacks import store as stacks
from stackly.stacks.model import Repo
from stackly.stacks.transitions import StateEvent
from tests.engine.syncing import Memory
from tests.properties.looking import Looked
from tests.properties.objects import Objects

NO_FAULTS = Faults()
HOLD = timedelta(seconds=15)
WHO = "ada"
AGENT = "site"  # whom the steps of what was admitted are for; it does nothing


class OneKey:
    """A KeySource with one key for everybody."""

    def key(self, account: str, version: int | None = None) -> tuple[int, bytes]:
        if version not in {None, 1}:
            raise KeyNotFound
        return 1, b"k" * 32

    def versions(self, account: str) -> Mapping[int, bytes]:
        return {1: b"k" * 32}


@dataclass(frozen=True)
class Making:
    """Which parts take part; the controls put worse ones in their places."""

    webhooks: Callable[[Inbox, HookBook, Metrics], Webhooks] = Webhooks
    sync: Callable[[Transactions, Memory, Source], Sync] = Sync


@dataclass
class Platform:
    """What all repositories share: one hub, one API process, one control worker."""

    database_url: str
    home: Path
    making: Making = field(default_factory=Making)
    connected: int = 0

    async def start(self) -> None:
        self.engine = db.engine(self.database_url, size=4, application="properties")
        self.transactions = db.transactions(self.engine)
        self.names = self.home / "names"
        self.names.mkdir(parents=True)
        # A hub whose addresses are folders: a renamed repository has another one, and the former leads there as well.
        self.hub = hubs.build(self.home / "hub", f"file://{self.names}")
        self.hooks = HookBook(self.transactions, OneKey())
        runner = Runner(protocols=frozenset({"file"}), timeout=60)
        mirrors, book = self.home / "mirrors", PolicyBook([self.home / "policies"])
        # This git serves at once: what was announced and is not there has gone again, and is nothing to wait for.
        self.source = Source(mirrors, runner, ("16", "18"), book, patience=0)
        self.sync = self.making.sync(self.transactions, Memory(), self.source)
        rest_api = FastAPI()
        for router in (rest.router(self.hub), rest_hooks.router(self.hub)):
            rest_api.include_router(router)
        for kind in (HTTPException, RequestValidationError):
            rest_api.add_exception_handler(kind, hub_problems.answer)
        host = GitHubHost(f"file://{self.names}", "http://hub.test")
        self.github = GitHub(host, transport=httpx.ASGITransport(rest_api))
        sweeping = Sweeping(self.github, self.home / "mirrors", runner, timedelta(minutes=5))
        self.sweeps = Sweeps(self.transactions, sweeping)
        await self.start_api()

    async def start_api(self) -> None:
        self.inbox = Inbox(self.database_url)
        await self.inbox.start()
        await self.hub.deliveries._client.aclose()
        app: ASGIApp = self.making.webhooks(self.inbox, self.hooks, Metrics())
        self.hub.deliveries._client = httpx.AsyncClient(transport=httpx.ASGITransport(app))

    async def crash_api(self) -> None:
        """What the process had in memory is gone; another one starts."""
        await self.inbox.close()
        await self.start_api()

    async def close(self) -> None:
        await self.inbox.close()
        await self.hub.deliveries._client.aclose()
        await self.github.close()
        self.hub.store.close()
        await self.engine.dispose()

    async def rows(self, sql: str, **values: Any) -> list[Json]:
        async with self.transactions() as session:
            return [dict(r) for r in (await session.execute(text(sql), values)).mappings()]

    async def connect(self) -> "Connected":
        """Another repository of another account, empty, with its hook."""
        self.connected += 1
        name = f"r{self.connected}"
        made = self.hub.store.add_repo("octo", name, None, private=False, branch="main")
        assert made is not None
        await self.hub.repositories.create(made.id, "main")
        (self.names / "octo").mkdir(exist_ok=True)
        (self.names / "octo" / f"{name}.git").symlink_to(self.hub.repositories.path(made.id))
        async with self.transactions() as session:
            account = await accounts.ensure_account(session, name)
            repo = await stacks.insert_repo(
                session,
                account.id,
                github_id=made.id,
                full_name=made.full_name,
                clone_url=self.hub.shapes.clone_url(made),
                default_branch="main",
                hook="",
            )
            hook, secret = await self.hooks.create(session, account.id, repo.id)
        config = {
            "url": f"http://stackly.test/webhooks/github/{hook}",
            "content_type": "json",
            "secret": secret.decode(),
        }
        hooked = self.hub.store.add_hook(made.id, True, ["push", "repository"], config)
        async with self.transactions() as session:
            told = {"hook": str(hooked.id), "repo": repo.id}
            await session.execute(text("UPDATE repos SET hook = :hook WHERE id = :repo"), told)
        return Connected(self, made.id, repo, hook, hooked, Objects(self.hub.repositories.path(made.id)))


@dataclass
class Connected:
    """One repository and what of it is on its way. Shape: `pending` are numbers of deliveries in the hub's log."""

    platform: Platform
    number: int
    repo: Repo
    hook: str
    hooked: hub_store.Hook
    objects: Objects
    refs: dict[str, str] = field(default_factory=dict)
    pending: list[int] = field(default_factory=list)
    on_processed: Callable[[RefChange, Looked], None] = lambda *_: None

    @property
    def path(self) -> Path:
        return self.platform.hub.repositories.path(self.number)

    def _known(self) -> hub_store.Repo:
        found = self.platform.hub.store.repo_by_id(self.number)
        assert found is not None
        return found

    # what people do

    async def push(self, updates: Mapping[str, str | None], faults: Faults = NO_FAULTS) -> None:
        """What the hub does with a push, save for receiving objects: they are there. None deletes a ref."""
        hub = self.platform.hub
        hub.dice.set(faults)
        before = dict(self.refs)
        for ref, oid in updates.items():
            if oid is None:
                self.refs.pop(ref, None)
            else:
                self.refs[ref] = oid
            if before.get(ref) != oid:
                self.objects.point(ref, oid)
        changes = ref_changes(before, self.refs)
        if changes:
            fresh = await hub.pushed(self._known(), changes)
            for change in announced(changes):
                hub.deliveries.announce(fresh, "push", await hub.pushes.payload(fresh, change, before, WHO))
            self._take_queued()

    async def rename(self, name: str, faults: Faults = NO_FAULTS) -> None:
        hub, former = self.platform.hub, self._known()
        hub.dice.set(faults)
        if not hub.store.rename_repo(former, name):
            return
        link = self.platform.names / "octo" / f"{name}.git"
        if not link.is_symlink():
            link.symlink_to(self.path)
        now = self._known()
        payload = {
            "action": "renamed",
            "changes": {"repository": {"name": {"from": former.name}}},
            "repository": hub.shapes.repository(now),
            "sender": hub.shapes.user(WHO),
        }
        hub.deliveries.announce(now, "repository", payload)
        self._take_queued()

    def redeliver(self, number: int) -> None:
        item = self.platform.hub.store.delivery(self.hooked.id, number)
        assert item is not None
        self.platform.hub.deliveries.redeliver(self.hooked, item)
        self._take_queued()

    def _take_queued(self) -> None:
        queue = self.platform.hub.deliveries._queue
        while not queue.empty():
            self.pending.append(queue.get_nowait()[1])

    # what travels

    async def deliver(self, number: int, faults: Faults = NO_FAULTS) -> hub_store.Delivery:
        """One attempt, as the hub makes it. Returns what its log says of it."""
        self.pending.remove(number)
        self.platform.hub.dice.set(faults)
        await self.platform.hub.deliveries._deliver(self.number, number)
        ended = self.platform.hub.store.delivery(self.hooked.id, number)
        assert ended is not None
        return ended

    async def rings(self) -> int:
        found = await self.platform.rows(
            "SELECT count(*) AS n FROM outbox WHERE kind = :kind AND key = :repo",
            kind=Bell.REPO_SYNC.value,
            repo=self.repo.id,
        )
        return int(found[0]["n"])

    async def lost(self) -> list[str]:
        """GUIDs the hub was told are kept, and that are not."""
        log = self.platform.hub.store._db.execute(
            "SELECT DISTINCT guid FROM deliveries WHERE hook = ? AND status_code = 202", (self.hooked.id,)
        )
        kept = await self.platform.rows("SELECT guid FROM deliveries WHERE hook = :hook", hook=self.hook)
        return sorted({row["guid"] for row in log} - {row["guid"] for row in kept})

    # what the control worker does

    async def dispatch(self) -> None:
        """Act on the doorbells as the dispatcher and the repository's workflows do."""
        while True:
            async with self.platform.transactions() as session:
                bells = await events.claim(session, "properties", limit=1000, hold=HOLD)
            if not bells:
                return
            for bell in [b for b in bells if b.key == self.repo.id]:
                if bell.kind == Bell.REPO_LOOK:
                    await self.platform.sweeps.look(f"repo/{bell.key}")
                elif bell.kind == Bell.REPO_SYNC:
                    for change in await self.fetched():
                        await self.process(change)
            async with self.platform.transactions() as session:
                await events.settle(session, [i for b in bells for i in b.ids])

    async def sweep(self) -> None:
        """It is this repository's turn. What GitHub is asked to send again is on its way after it."""
        account = {"account": self.repo.account}
        async with self.platform.transactions() as session:
            due = "UPDATE connections SET look_at = clock_timestamp() WHERE account = :account"
            await session.execute(text(due), account)
        swept = await self.platform.sweeps.slot(self.repo.account)
        assert (swept.looked, swept.failed) == (1, 0), swept
        self._take_queued()
        await self.dispatch()

    async def known_as(self) -> tuple[str, str]:
        """The repository's name, here and on the hub."""
        found = await self.platform.rows("SELECT full_name FROM repos WHERE id = :repo", repo=self.repo.id)
        return found[0]["full_name"], self._known().full_name

    async def fetched(self) -> list[RefChange]:
        return (await self.platform.sync.fetch(self.repo.id)).changes

    async def process(self, change: RefChange, *, at_once: int = 1) -> bool:
        """So many workers carry a change out at once. False when another attempt was there before them.

        Raises: AssertionError when it was carried out more than once, or could not be.
        """
        before = await self._generation(change.ref)
        sync = self.platform.sync
        outcomes = await asyncio.gather(*(sync.process(change) for _ in range(at_once)))
        assert not [o.failed for o in outcomes if o.failed], outcomes
        done = await self._generation(change.ref) - before
        assert done == (before == change.generation), f"{change.ref} was carried on {done} times"
        if done:
            self.on_processed(change, await self.looked())
        return bool(done)

    async def _generation(self, ref: str) -> int:
        found = await self.platform.rows(
            "SELECT generation FROM repo_refs WHERE repo = :repo AND ref = :ref", repo=self.repo.id, ref=ref
        )
        return int(found[0]["generation"]) if found else 0

    async def pass_time(self) -> None:
        """Branches that are gone are gone for long."""
        async with self.platform.transactions() as session:
            await session.execute(
                text("UPDATE repo_refs SET gone_since = gone_since - interval '1 day' WHERE repo = :repo"),
                {"repo": self.repo.id},
            )

    # what agents do

    async def begin(self, run: str) -> bool:
        """What admission and a workflow do up to the plan or the load."""
        async with self.platform.transactions() as session:
            found = await runs.get_run(session, run, lock=True)
            busy = "SELECT count(*) FROM operations WHERE state = :state AND epoch IS NOT NULL AND ended_at IS NULL"
            is_busy = (await session.execute(text(busy), {"state": found.state})).scalar_one()
            if found.is_admitted or found.is_terminal or is_busy:
                return False
            epoch = await stacks.take_state(session, found.state, found.id)
            step = RunEvent.PLAN if found.kind is RunKind.DEPLOY else RunEvent.LOAD
            found = await runs.transition(
                session, found, RunEvent.ADMIT, at=await db.now(session), epoch=epoch, agent=AGENT
            )
            await runs.transition(session, found, step, at=await db.now(session))
        return True

    async def apply(self, run: str) -> bool:
        """The gate, with a plan that creates something. True when it let the apply through: resources exist now."""
        plan = PlanOutcome(1, 0, 0, True, run, "", 0, "", [], "")
        async with self.platform.transactions() as session:
            given = PlanRecord(run, (await db.now(session)).isoformat(), plan)
            answer = await gates.record_plan(session, given, self.platform.source.book)
        return answer.answer == "apply"

    async def finish(self, run: str) -> None:
        async with self.platform.transactions() as session:
            found = await runs.get_run(session, run, lock=True)
            if found.is_terminal:
                return
            await runs.transition(session, found, RunEvent.SUCCEED, at=await db.now(session))
            if found.kind is RunKind.DEPLOY:
                await lifecycle.move_state(session, found.state, StateEvent.DEPLOYED, commit=found.commit)

    async def admit(self) -> None:
        """Time passes, and admission looks at everything that waits. There is no agent: nothing starts."""
        async with self.platform.transactions() as session:
            await session.execute(
                text("UPDATE operations SET next_check = clock_timestamp() WHERE account = :account AND epoch IS NULL"),
                {"account": self.repo.account},
            )
        await admission.admit(self.platform.transactions, self.repo.account, self.platform.source.book, Limits())

    async def looked(self) -> Looked:
        """Everything the platform says of this repository."""
        codes = await self.platform.rows("SELECT * FROM stack_codes WHERE repo = :repo", repo=self.repo.id)
        states = await self.platform.rows(
            "SELECT s.* FROM stack_states s JOIN stack_codes c ON c.id = s.code WHERE c.repo = :repo", repo=self.repo.id
        )
        found = await self.platform.rows(
            "SELECT o.* FROM operations o JOIN stack_codes c ON c.id = o.code WHERE c.repo = :repo"
            " ORDER BY o.seq, o.created_at",
            repo=self.repo.id,
        )
        return Looked(codes, states, found)
