"""Bringing a repository in: fetch, compare with what was processed last, read what changed, register."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from temporalio import activity

from stackly import log, texts
from stackly.db import Session, Transactions
from stackly.engine import announcing, renaming
from stackly.engine.basis import Basis, basis
from stackly.engine.beating import beating
from stackly.engine.contracts.control import RefChange, SyncActivities, SyncOutcome, SyncPlan
from stackly.engine.failures import RETRYABLE, tell_all
from stackly.engine.gathering import MAX_TEXT, Commit, gather, refused
from stackly.engine.known import Before, Known
from stackly.engine.moves import Passage, Place, passage
from stackly.engine.policies import PolicyBook, repository_policies
from stackly.engine.pushes import Intake, Pushed, Rewritten
from stackly.engine.reading import Platform
from stackly.engine.registration import register
from stackly.engine.watching import started_by, watching, would_start
from stackly.errors import Exhausted, FileInvalid, StacklyError, Unavailable, kind_of
from stackly.events import store as events
from stackly.events.model import EventName
from stackly.git.memory import Memory
from stackly.git.mirrors import AWAIT_SECONDS, Fetched, Mirror
from stackly.git.payloads import Announced
from stackly.git.runner import Runner
from stackly.policy.model import Policy
from stackly.stacks import refs_store, registry_store, store
from stackly.stacks.model import FoundStack, Repo, branch_of
from stackly.stacks.refs_store import SeenRef
from stackly.stacks.registry_store import Registered
from stackly.storage import Store

_log = log.get("engine")

HEADS = "refs/heads/"
# A branch that is away no longer than this is taken as never gone: people delete and push again.
GRACE = timedelta(minutes=15)
MOVES = 3  # so often a repository may move under a fetch before it is left to the next try
_EMPTY = "the repository shows no branch at all; nothing is taken as deleted by that"


@dataclass(frozen=True, slots=True)
class Source:
    """Where mirrors lie, how git is run, and what the platform offers.

    Units: `grace` as for GRACE; `patience` seconds for pushes that were announced. `token_of` is what git presents for
    a repository; None presents nothing. `look` asks GitHub by its number what a repository is called now; None: what is
    written stays true. `pusher_of` asks GitHub who put a ref at a commit.
    """

    mirrors: Path
    runner: Runner
    majors: tuple[str, ...]
    book: PolicyBook
    grace: timedelta = GRACE
    token_of: Callable[[Repo], Awaitable[str | None]] | None = None
    look: Callable[[str], Awaitable[Repo]] | None = None
    pusher_of: Callable[[Repo, str, str], Awaitable[str | None]] | None = None
    patience: float = AWAIT_SECONDS


@tell_all
class Sync(SyncActivities):
    """Level-triggered: a webhook says when to look, and what may still come; what is so is asked of git."""

    def __init__(self, transactions: Transactions, storage: Store, source: Source) -> None:
        self._transactions = transactions
        self._storage = storage
        self._source = source
        self._memory = Memory()
        self._known = Known()

    @activity.defn(name="sync.fetch")
    @beating
    async def fetch(self, repo: str) -> SyncPlan:
        async with self._transactions() as session:
            waiting = await announcing.announced(session, repo)
        try:
            found = await self._now(repo)
            if found.status != "active":  # out of reach: nothing starts, nothing is taken as gone
                async with self._transactions() as session:
                    await announcing.refuse(session, found, waiting)
                return SyncPlan([])
            found, mirror, fetched = await self._fetched(found, waiting.awaited)
        except Exhausted as e:
            async with self._transactions() as session:
                await announcing.hold(session, repo, waiting, e)
            return SyncPlan([])
        except StacklyError as e:
            async with self._transactions() as session:
                await store.set_repo_reason(session, repo, f"fetch failed: {e.detail}")
            raise
        heads = {ref: oid for ref, oid in fetched.refs.items() if ref.startswith(HEADS)}
        missing = await mirror.unserved(waiting.all, fetched.refs)
        await self._refuse(found, fetched.unreadable)
        async with self._transactions() as session:
            await announcing.note(session, repo, waiting, missing)
            await announcing.pass_by(session, found)
            known = await store.processed_refs(session, repo)
            is_empty = not heads and any(last for last, _ in known.values())
            await store.set_repo_reason(session, repo, _EMPTY if is_empty else None)
            there = [*heads, *fetched.unreadable]
            seen = {} if is_empty else await refs_store.look(session, repo, there)
        plan = SyncPlan(_differences(found, heads, seen, self._source.grace))
        if not plan.changes:
            await self._let_go(mirror, found)
        return plan

    async def _now(self, repo: str) -> Repo:
        """The repository by its number: what it was called may be a stranger's name by now."""
        if self._source.look is not None:
            return await self._source.look(repo)
        async with self._transactions() as session:
            return await store.get_repo(session, repo)

    async def _fetched(self, found: Repo, awaited: Sequence[Announced]) -> tuple[Repo, Mirror, Fetched]:
        """A fetch counts when its address was the repository's before and after it. Raises: Unavailable."""
        for _ in range(MOVES):
            mirror = await self._mirror(found)
            fetched = await mirror.fetch(awaiting=awaited, within=self._source.patience)
            now = await self._now(found.id)
            if (now.clone_url, now.status) == (found.clone_url, found.status):
                return now, mirror, fetched
            if now.status != "active":
                break
            found = now
        raise Unavailable("The repository was moved while it was fetched; it is fetched again.")

    async def _refuse(self, repo: Repo, unreadable: Mapping[str, str]) -> None:
        """Refs that have no name here: each is refused by itself, once a commit."""
        for ref, commit in sorted(unreadable.items()):
            change = RefChange(repo.id, ref, commit, "", 0)
            await self._failed(change, f"The name {branch_of(ref)} is not UTF-8, so it can be kept nowhere; rename it.")

    @activity.defn(name="sync.process")
    @beating
    async def process(self, change: RefChange) -> SyncOutcome:
        """One ref. What is wrong with it is its own: the repository's other refs go on."""
        try:
            return await self._process(change)
        except store.RefMoved:  # an attempt before this one, or another sync, has done it
            return SyncOutcome(0, 0, 0, 0, [])
        except StacklyError as e:
            if RETRYABLE[kind_of(e)]:
                raise
            return await self._failed(change, e.detail)
        except Exception as e:  # noqa: BLE001 - whatever is wrong with one ref must not stop the others
            _log.exception("push.failed", repo_id=change.repo, ref=change.ref, commit=change.commit)
            return await self._failed(change, f"It failed unforeseen ({type(e).__name__}); the log has its trace.")

    async def _process(self, change: RefChange) -> SyncOutcome:
        async with self._transactions() as session:
            repo = await store.get_repo(session, change.repo)
            before = self._known.of(change) or await _before(session, change)
            has_marks = await refs_store.has_marks(session, change.repo, change.ref)
        mirror = await self._mirror(repo)
        if not change.commit:
            intake = Intake(Passage((), {}, (), tuple(sorted(before.keys))))
        else:
            intake = await self._read(mirror, repo, change, before, has_marks=has_marks)
        pushed = await self._pushed(mirror, repo, change)
        if intake.arriving:  # held before any row names it, so that no clean-up can come between
            for commit in sorted({change.commit, *(p.commit for f in intake.found.values() for p in f.pins.values())}):
                await mirror.keep(commit)
        async with self._transactions() as session:
            outcome = await register(session, pushed, intake)
        self._known.registered(change, before, intake)
        _log.info("push.processed", repo_id=repo.id, ref=change.ref, commit=change.commit, runs=len(outcome.runs))
        await _tidied(mirror, repo)
        return outcome

    async def _failed(self, change: RefChange, reason: str) -> SyncOutcome:
        async with self._transactions() as session:
            repo = await store.get_repo(session, change.repo)
            await refs_store.set_ref_reason(session, change.repo, change.ref, reason[:2000])
            payload = {"repo": repo.full_name, "ref": change.ref, "commit": change.commit, "reason": reason[:2000]}
            subject = f"push/{change.repo}/{change.ref}"
            n = f"{change.generation}/{change.commit}"
            await events.record(session, repo.account, subject, EventName.SYNC_FAILED, n, payload)
        _log.warning("push.refused", repo_id=change.repo, ref=change.ref, commit=change.commit, reason=reason)
        return SyncOutcome(0, 0, 0, 0, [], failed=reason[:2000])

    async def _mirror(self, repo: Repo) -> Mirror:
        source = self._source
        token = await source.token_of(repo) if source.token_of else None
        place = (source.mirrors, repo.id, repo.clone_url, source.runner)
        return Mirror(*place, token=token, memory=self._memory, blobless=True)

    async def _read(self, mirror: Mirror, repo: Repo, change: RefChange, before: Before, *, has_marks: bool) -> Intake:
        tree = await mirror.trees(change.commit)
        commit = Commit(mirror, change.commit, tree, await mirror.closures(tree))
        unusable = refused(tree)
        keys = {path: c.key for path, c in commit.closures.items()} | {p: f.tree for p, f in unusable.items()}
        differing = {path for path, _ in keys.items() ^ before.keys.items()}
        rewritten = await _rewritten(mirror, change)
        lost, stale = None, set[str]()
        if rewritten or has_marks:
            lost, stale = await self._lost(mirror, change)
            stale = (stale & keys.keys()) - differing
        base = await basis(self._transactions, mirror, change)
        programs = started_by(base.changed, before.watching) if change.seen else {}
        programs = {p: files for p, files in programs.items() if p in keys and p not in differing | stale}
        async with self._transactions() as session:
            moving = (await renaming.paths(session, change) & keys.keys()) - differing
        wanted = ((differing & keys.keys()) | stale | programs.keys() | moving) - unusable.keys()
        platform = Platform(self._source.majors, self._source.book, await self._policies(mirror, repo, commit))
        found = await gather(commit, wanted, platform, self._storage) if wanted else {}
        found |= {p: f for p, f in unusable.items() if p in differing}
        programs |= base.programs(found)
        async with self._transactions() as session:
            places = await registry_store.places(session, change.repo, change.ref, differing | found.keys())
        return Intake(
            passage=_passage(places, found),
            found=found,
            keys=keys,
            programs=programs,
            rewritten=rewritten,
            lost=lost,
            would=_would(base, change, keys, before, is_touched=bool(differing or found)),
            untouched=(base.untouched(found) | (moving - stale)) - programs.keys(),
            unnamed={texts.shown(p): why for p, why in tree.refused.items() if texts.flaw(p)},
        )

    async def _lost(self, mirror: Mirror, change: RefChange) -> tuple[frozenset[str], set[str]]:
        """What this ref's stacks, states and runs stand on and its history holds no more.

        Shape: (commits, paths of the stacks on them).
        """
        async with self._transactions() as session:
            commits = sorted(await refs_store.commits_of_ref(session, change.repo, change.ref))
        room = asyncio.Semaphore(4)

        async def is_there(commit: str) -> bool:
            async with room:
                return await mirror.is_ancestor(commit, change.commit)

        there = await asyncio.gather(*(is_there(c) for c in commits))
        lost = frozenset(c for c, stays in zip(commits, there, strict=True) if not stays)
        async with self._transactions() as session:
            return lost, await registry_store.paths_on(session, change.repo, change.ref, lost)

    async def _let_go(self, mirror: Mirror, repo: Repo) -> None:
        """Commits that nothing refers to need not be held any more; looked at when there is nothing else to do."""
        kept = await mirror.kept()
        if not kept:
            return
        async with self._transactions() as session:
            used = await refs_store.commits_in_use(session, repo.id)
        for commit in sorted(kept - used):
            await mirror.release(commit)

    async def _policies(self, mirror: Mirror, repo: Repo, commit: Commit) -> dict[str, Policy]:
        """The repository's own policies, of its default branch only: a branch cannot write its own judge."""
        head = (await mirror.refs()).get(f"{HEADS}{repo.default_branch}")
        if head is None:
            return {}
        tree = commit.tree if head == commit.oid else await mirror.trees(head)
        files = {e.path: e.oid for e in tree.directly_in("policies") if e.is_file and e.path.endswith(".hcl")}
        if not files:
            return {}
        try:
            blobs = await mirror.blobs(files.values(), max_file=MAX_TEXT)
            texts = {path: blobs[oid].decode("utf-8", "replace") for path, oid in files.items()}
            return await asyncio.to_thread(repository_policies, texts)
        except FileInvalid as e:
            async with self._transactions() as session:
                payload = {"repo": repo.full_name, "errors": [p.as_dict() for p in e.problems]}
                await events.record(session, repo.account, f"repo/{repo.id}", EventName.SYNC_FAILED, head, payload)
            return {}

    async def _pushed(self, mirror: Mirror, repo: Repo, change: RefChange) -> Pushed:
        if not change.commit:
            return Pushed(repo, change, author="", committer="", pusher=None, subject="")
        info = await mirror.commit_info(change.commit)
        async with self._transactions() as session:
            pusher = await events.pusher_of(session, repo.id, change.ref, change.commit)
        if pusher is None and self._source.pusher_of is not None:
            pusher = await self._source.pusher_of(repo, change.ref, change.commit)
        return Pushed(repo, change, info.author.name, info.committer.name, pusher, info.subject)


async def _tidied(mirror: Mirror, repo: Repo) -> None:
    """After what people wait for. A mirror that could not be tidied is slower, and nothing else."""
    try:
        await mirror.tidy()
    except StacklyError as e:
        _log.warning("mirror.untidy", repo_id=repo.id, reason=e.detail)


async def _before(session: Session, change: RefChange) -> Before:
    keys = await registry_store.keys(session, change.repo, change.ref)
    return Before(keys, watching(await registry_store.watching(session, change.repo, change.ref)))


def _passage(places: Mapping[str, Registered], found: Mapping[str, FoundStack]) -> Passage:
    """Follow the stacks that differ, and those that are read again although they do not."""
    then = {p: Place(r.key, None if r.rejected else r.name) for p, r in places.items()}
    now = {p: Place(f.tree_key, f.name if f.config else None) for p, f in found.items()}
    return passage(then, now)


async def _rewritten(mirror: Mirror, change: RefChange) -> Rewritten | None:
    """Told by ancestry of the commit processed last, never by what a payload says of it."""
    if not change.seen or await mirror.is_ancestor(change.seen, change.commit):
        return None
    base = await mirror.merge_base(change.seen, change.commit) if await mirror.has(change.seen) else None
    return Rewritten("reset" if base == change.commit else "rewritten", change.seen, base)


def _would(base: Basis, change: RefChange, keys: Mapping[str, str], before: Before, *, is_touched: bool) -> str:
    if base.is_new and base.commit:
        return base.reason(branch_of(change.ref))
    if change.moved_from:
        return f"{branch_of(change.ref)} is the default branch now; nothing is deployed anew by that"
    return "" if is_touched else would_start(base.changed, keys, before.watching)


def _differences(
    repo: Repo, heads: Mapping[str, str], seen: Mapping[str, SeenRef], grace: timedelta
) -> list[RefChange]:
    """The default branch first, so that baselines exist before what is compared with them; what is gone last."""
    default = f"{HEADS}{repo.default_branch}"
    out: list[RefChange] = []
    for ref in sorted({*heads, *seen}, key=lambda r: (r not in heads, r != default, r)):
        known = seen.get(ref, SeenRef(None, 0, None))
        is_waited_for = ref not in heads and known.gone_for is not None and known.gone_for < grace
        if heads.get(ref) != known.last and not is_waited_for:
            out.append(RefChange(repo.id, ref, heads.get(ref, ""), known.last or "", known.generation))
    now = seen.get(default, SeenRef(None, 0, None))
    return renaming.change_of(repo, heads, out, RefChange(repo.id, default, "", now.last or "", now.generation))
