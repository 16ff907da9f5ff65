"""A sweep's looks: the repository's state, GitHub's own log of deliveries, and the refs as they are now."""

import asyncio
import zlib
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from temporalio import activity

from stackly import log
from stackly.db import Transactions
from stackly.engine import acts
from stackly.engine.beating import beating
from stackly.engine.contracts.sweep import SweepActivities, Swept
from stackly.engine.failures import tell_all
from stackly.engine.upstream import Access, Looks, reach_of
from stackly.events import inbox
from stackly.events import store as events
from stackly.events.model import Bell
from stackly.git.github_client import GitHub, UpstreamDelivery
from stackly.git.github_rest import UpstreamNotFound
from stackly.git.mirrors import Mirror
from stackly.git.runner import Runner
from stackly.ids import RepoId
from stackly.stacks import connections_store as connections
from stackly.stacks import repos_store, store
from stackly.stacks.model import Repo

_log = log.get("engine")

HEADS = "refs/heads/"
SLOT = 50
AT_ONCE = 4
# A repository taken for a look is another sweep's again after this, should this one die.
HOLD = timedelta(minutes=10)
# Out of reach: asked this many times more seldom. Whoever brings one back says so, or waits that long at most.
RARELY = 12
LOG_MOST = 2000
REDELIVER_MOST = 50
# The hook that stands for the App's in a repository's row.
OF_APP = "app"


@dataclass(frozen=True, slots=True)
class Sweeping:
    """Units: `every` between two looks at one repository."""

    github: GitHub
    mirrors: Path
    runner: Runner
    every: timedelta


@dataclass(slots=True)
class _Count:
    rung: int = 0
    redelivered: int = 0
    failed: int = 0


@tell_all
class Sweeps(SweepActivities):
    def __init__(self, transactions: Transactions, sweeping: Sweeping) -> None:
        self._transactions = transactions
        self._with = sweeping
        self._github = sweeping.github
        self._access = Access(transactions, sweeping.github)
        self._looks = Looks(transactions, sweeping.github)

    @activity.defn(name="sweep.slot")
    @beating
    async def slot(self, account: str) -> Swept:
        async with self._transactions() as session:
            due = await connections.take_due(session, account, limit=SLOT, hold=HOLD)
        count = _Count()
        if due and self._github.has_app:
            await self._noted(count, "the App", self._app_log(account, count))
        room = asyncio.Semaphore(AT_ONCE)

        async def one(repo: RepoId) -> None:
            async with room:
                if await acts.one(self._transactions, "sweep", repo, lambda: self._sweep(repo, count)) is None:
                    count.failed += 1

        await asyncio.gather(*(one(repo) for repo in due))
        if due:
            _log.info("sweep.done", looked=len(due), rung=count.rung, redelivered=count.redelivered)
        return Swept(len(due), count.rung, count.redelivered, count.failed, more=len(due) == SLOT)

    @activity.defn(name="sweep.look")
    @beating
    async def look(self, about: str) -> None:
        kind, _, rest = about.partition("/")
        if kind == "repo":
            await self._looks.look(rest)
            return
        account, _, number = rest.partition("/")
        await self._installation(account, int(number))

    async def _sweep(self, repo: RepoId, count: _Count) -> bool:
        """First whose it is, by its number: until GitHub says that, nothing of what its name shows is taken.

        Of the other two each is on its own: GitHub's log may refuse while git still answers.
        """
        async with self._transactions() as session:
            before = await store.get_repo(session, repo)
        troubles = [await self._noted(count, repo, self._looks.look(repo))]
        async with self._transactions() as session:
            found = await store.get_repo(session, repo)
        if found.status == repos_store.ACTIVE and troubles == [None]:
            troubles.append(await self._noted(count, repo, self._own_log(found, count)))
            troubles.append(await self._noted(count, repo, self._refs(found, count)))
        again = spread(repo, self._with.every * (1 if repos_store.ACTIVE in {found.status, before.status} else RARELY))
        async with self._transactions() as session:
            await connections.looked(session, repo, again_in=again, reason=next(filter(None, troubles), None))
        return True

    async def _noted(self, count: _Count, about: str, looking: Awaitable[object]) -> str | None:
        """What a look ended with; foreseen or not it costs this look, and the next of the repository is due later."""
        try:
            await looking
        except Exception as e:  # noqa: BLE001 - told by its kind
            count.failed += 1
            await acts.note(self._transactions, "sweep", about, e)
            return acts.reason(e)[:500]
        return None

    # what became of a repository

    async def _installation(self, account: str, number: int) -> None:
        """Every repository it reaches, or reached: asked once of the installation, then each by its number."""
        reach = await reach_of(self._github, number)
        reached = await self._github.reachable(number) if reach == "active" else frozenset[int]()
        async with self._transactions() as session:
            concerned = set(await connections.connected_by(session, account, number))
            for github_id in sorted(reached):
                repo = await connections.find_repo(session, account, github_id)
                if repo is not None:
                    await connections.connect(session, account, repo, number)
                    concerned.add(repo)
        for repo in sorted(concerned):
            await self._looks.look(repo, None if reach == "gone" else reach)

    # what GitHub says it sent

    async def _own_log(self, repo: Repo, count: _Count) -> None:
        if not repo.hook or repo.hook == OF_APP:
            return
        installation = await self._access.installation(repo)
        hook = repo.hook

        async def again(number: int) -> None:
            await self._github.redeliver(repo.full_name, hook, number, installation=installation)

        try:
            listed = self._github.deliveries(repo.full_name, hook, installation=installation)
            await self._reread(repo.account, repo.id, listed, again, count)
        except UpstreamNotFound as e:
            raise UpstreamNotFound(f"Its webhook is gone on GitHub; run: stackly repo add {repo.full_name}") from e

    async def _app_log(self, account: str, count: _Count) -> None:
        await self._reread(account, None, self._github.app_deliveries(), self._github.redeliver_of_app, count)

    async def _reread(
        self,
        account: str,
        repo: str | None,
        listed: AsyncIterator[UpstreamDelivery],
        again: Callable[[int], Awaitable[None]],
        count: _Count,
    ) -> None:
        """Have GitHub send again what it could not deliver since the last look, each event once.

        What even that does not bring is found by the refs: a delivery is a hint, and who pushed is all that it adds.
        """
        async with self._transactions() as session:
            hook = await inbox.find_hook_of(session, account, repo)
            read_to = await inbox.log_read_to(session, hook.id) if hook else 0
        if hook is None:
            return
        fresh: dict[str, list[UpstreamDelivery]] = defaultdict(list)
        newest, seen = read_to, 0
        async for delivery in listed:
            seen += 1
            if delivery.id <= read_to or seen > LOG_MOST:
                break
            newest = max(newest, delivery.id)
            fresh[delivery.guid].append(delivery)
        lost = _lost(fresh)
        async with self._transactions() as session:
            stored = await inbox.known_guids(session, hook.id, list(lost))
        for guid in [g for g in lost if g not in stored][:REDELIVER_MOST]:
            await again(lost[guid].id)
            count.redelivered += 1
        async with self._transactions() as session:
            await inbox.set_log_read_to(session, hook.id, newest)

    # what the refs are now

    async def _refs(self, repo: Repo, count: _Count) -> None:
        token = await self._access.token(repo)
        mirror = Mirror(self._with.mirrors, repo.id, repo.clone_url, self._with.runner, token=token)
        now = {ref: oid for ref, oid in (await mirror.remote_refs()).items() if ref.startswith(HEADS)}
        async with self._transactions() as session:
            processed = await store.processed_refs(session, repo.id)
            if differs(now, {ref: last for ref, (last, _) in processed.items()}):
                await events.ring(session, Bell.REPO_SYNC, repo.id)
                count.rung += 1


def _lost(fresh: Mapping[str, list[UpstreamDelivery]]) -> dict[str, UpstreamDelivery]:
    """Events of which no attempt arrived, with the newest attempt. One that was sent again in vain is not asked for."""
    return {
        guid: max(attempts, key=lambda d: d.id)
        for guid, attempts in fresh.items()
        if not any(d.ok or d.redelivery or d.event == "ping" for d in attempts)
    }


def differs(now: Mapping[str, str], processed: Mapping[str, str | None]) -> bool:
    """Whether a branch stands elsewhere than where it was processed last; one that is gone differs as well."""
    return any(now.get(ref) != processed.get(ref) for ref in now.keys() | processed.keys())


def spread(repo: str, every: timedelta) -> timedelta:
    """Each repository has its own pace, a fifth around the common one: a thousand never ask at once."""
    return every * (0.8 + 0.4 * (zlib.crc32(repo.encode()) % 1000) / 1000)
