"""Bringing a repository in: fetch, compare with what was processed last, read what changed, register."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from temporalio import activity

from stackly import log
from stackly.db import Transactions
from stackly.engine.contracts.control import RefChange, SyncActivities, SyncOutcome, SyncPlan
from stackly.engine.failures import tell_all
from stackly.engine.policies import PolicyBook, repository_policies
from stackly.engine.reading import CONFIG, Platform, Sources, read_stack
from stackly.engine.registration import Pushed, register
from stackly.errors import FileInvalid, StacklyError
from stackly.events import store as events
from stackly.events.model import EventName
from stackly.git.changes import Change, changes
from stackly.git.closures import Closure
from stackly.git.mirrors import Mirror
from stackly.git.runner import Runner
from stackly.git.trees import Tree
from stackly.policy.model import Policy
from stackly.stacks import store
from stackly.stacks.model import FoundStack, Repo
from stackly.storage import Store

_log = log.get("engine")

HEADS = "refs/heads/"
MAX_TEXT = 256 * 1024
LOCK_FILE = ".terraform.lock.hcl"


@dataclass(frozen=True, slots=True)
class Source:
    """Where mirrors lie, how git is run, and what the platform offers."""

    mirrors: Path
    runner: Runner
    majors: tuple[str, ...]
    book: PolicyBook


@tell_all
class Sync(SyncActivities):
    """Level-triggered: what a webhook said is never read, only that something was said (DESIGN section 3)."""

    def __init__(self, transactions: Transactions, storage: Store, source: Source) -> None:
        self._transactions = transactions
        self._storage = storage
        self._source = source

    @activity.defn(name="sync.fetch")
    async def fetch(self, repo: str) -> SyncPlan:
        async with self._transactions() as session:
            found = await store.get_repo(session, repo)
        mirror = self._mirror(found)
        try:
            await mirror.fetch()
        except StacklyError as e:
            async with self._transactions() as session:
                await store.set_repo_reason(session, repo, f"fetch failed: {e.detail}")
            raise
        heads = {ref: oid for ref, oid in (await mirror.refs()).items() if ref.startswith(HEADS)}
        async with self._transactions() as session:
            await store.set_repo_reason(session, repo, None)
            processed = await store.processed_refs(session, repo)
        return SyncPlan(_differences(repo, found.default_branch, heads, processed))

    @activity.defn(name="sync.process")
    async def process(self, change: RefChange) -> SyncOutcome:
        async with self._transactions() as session:
            repo = await store.get_repo(session, change.repo)
            codes = await store.list_codes(session, change.repo, change.ref)
        before = {c.path: c.tree for c in codes}
        mirror = self._mirror(repo)
        if not change.commit:
            changed, found = changes(before, {}), dict[str, FoundStack]()
        else:
            changed, found = await self._read(mirror, repo, change, before)
        pushed = await self._pushed(mirror, repo, change)
        async with self._transactions() as session:
            outcome = await register(session, pushed, changed, found)
        _log.info("push.processed", repo_id=repo.id, ref=change.ref, commit=change.commit, runs=outcome.runs)
        return outcome

    def _mirror(self, repo: Repo) -> Mirror:
        return Mirror(self._source.mirrors, repo.id, repo.clone_url, self._source.runner)

    async def _read(
        self, mirror: Mirror, repo: Repo, change: RefChange, before: Mapping[str, str]
    ) -> tuple[list[Change], dict[str, FoundStack]]:
        tree = await mirror.trees(change.commit)
        closures = await mirror.closures(tree)
        changed = changes(before, {path: c.key for path, c in closures.items()})
        wanted = [c.path for c in changed if c.verb != "removed"]
        platform = Platform(self._source.majors, self._source.book, await self._policies(mirror, repo))
        found: dict[str, FoundStack] = {}
        for path in wanted:
            sources = await _sources(mirror, tree, path, closures[path])
            stack = read_stack(sources, platform, change.commit)
            if not stack.errors:
                stack = replace(stack, bundle=await self._bundled(mirror, change.commit, path))
            found[path] = stack
        return changed, found

    async def _bundled(self, mirror: Mirror, commit: str, path: str) -> str:
        """The code goes to storage, by its content, before any row names it: destroy must never need the repository."""
        packed = await mirror.bundle(commit, path)
        key = f"code/{hashlib.sha256(packed).hexdigest()}.tar.gz"
        await self._storage.put(key, packed, "application/gzip")
        return key

    async def _policies(self, mirror: Mirror, repo: Repo) -> dict[str, Policy]:
        """The repository's own policies, of its default branch only: a branch cannot write its own judge."""
        head = (await mirror.refs()).get(f"{HEADS}{repo.default_branch}")
        if head is None:
            return {}
        tree = await mirror.trees(head)
        files = {e.path: e.oid for e in tree.directly_in("policies") if e.is_file and e.path.endswith(".hcl")}
        blobs = await mirror.blobs(files.values(), max_file=MAX_TEXT)
        texts = {path: blobs[oid].decode("utf-8", "replace") for path, oid in files.items()}
        try:
            return repository_policies(texts)
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
        return Pushed(repo, change, info.author.name, info.committer.name, pusher, info.subject)


def _differences(
    repo: str, default: str, heads: Mapping[str, str], processed: Mapping[str, tuple[str | None, int]]
) -> list[RefChange]:
    """The default branch first, so that baselines exist before the branches that are compared with them."""
    refs = sorted({*heads, *processed}, key=lambda r: (r != f"{HEADS}{default}", r))
    out = []
    for ref in refs:
        seen, generation = processed.get(ref, (None, 0))
        if heads.get(ref) != seen:
            out.append(RefChange(repo, ref, heads.get(ref, ""), seen or "", generation))
    return out


async def _sources(mirror: Mirror, tree: Tree, path: str, closure: Closure) -> Sources:
    """Configuration, suites and module files that lie directly in the stack's directory."""
    wanted = {
        e.path.rpartition("/")[2]: e.oid
        for e in tree.directly_in(path)
        if e.is_file and (e.path.endswith((".tf", ".yaml", ".yml")) or e.path.endswith((CONFIG, LOCK_FILE)))
    }
    blobs = await mirror.blobs(set(wanted.values()), max_file=MAX_TEXT)
    texts = {name: blobs[oid].decode("utf-8", "replace") for name, oid in wanted.items()}
    lock = texts.pop(LOCK_FILE, "")
    return Sources(path, closure, texts, hashlib.sha256(lock.encode()).hexdigest() if lock else "")
