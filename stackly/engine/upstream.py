"""What GitHub says of a repository, and what that means here: whether it is scheduled, and under which name.

Access lost is never code deleted (G13): whatever is read here stops scheduling at most, and touches no state.
"""

from dataclasses import dataclass
from typing import Literal

from stackly import log
from stackly.db import Transactions
from stackly.errors import StacklyError
from stackly.events import store as events
from stackly.events.model import Bell
from stackly.git.github_client import GitHub, UpstreamRepo
from stackly.git.github_rest import UpstreamNotFound
from stackly.stacks import connections_store as connections
from stackly.stacks import repos_store, store
from stackly.stacks.model import Repo

_log = log.get("engine")

# `none`: no App reaches it, a plain token does, or nobody needs one.
Reach = Literal["none", "active", "suspended", "gone"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Shape: `status` and `reason` as repositories have them; `known_as` is what it is called now, None: unchanged."""

    status: str
    reason: str | None
    known_as: UpstreamRepo | None = None


def judge(repo: Repo, upstream: UpstreamRepo | None, reach: Reach, *, said_deleted: bool) -> Verdict:
    """Shape: `upstream` is None when GitHub does not show it; `said_deleted` when a signed delivery told its end."""
    if said_deleted and upstream is None:
        return Verdict("deleted", "deleted on GitHub; its states are kept: stackly stack list")
    if reach == "gone":
        return Verdict("uninstalled", f"the GitHub App was uninstalled; install it again, then: {_add(repo.full_name)}")
    if reach == "suspended":
        return Verdict("suspended", "the GitHub App's installation is suspended; it goes on when that ends")
    if upstream is None:
        why = "GitHub no longer shows it to us: it was deleted, made private, or taken from the installation"
        return Verdict("suspended", f"{why}; with access again: {_add(repo.full_name)}")
    # Who owns code decides what runs: a new owner is accepted by a person, never by a webhook. The former name stays
    # here until then, so every look comes to the same end.
    if not _same_owner(repo, upstream):
        return Verdict("suspended", f"transferred to {upstream.owner}; to go on there: {_add(upstream.full_name)}")
    if upstream.archived:
        return Verdict("archived", "archived on GitHub; it goes on when it is unarchived", upstream)
    return Verdict("active", None, upstream)


def _same_owner(repo: Repo, upstream: UpstreamRepo) -> bool:
    """By number, where it was ever read: an owner may be called otherwise now, and another may have the name."""
    if repo.owner_id is not None and upstream.owner_id is not None:
        return repo.owner_id == upstream.owner_id
    return upstream.owner.lower() == repo.full_name.partition("/")[0].lower()


def _add(full_name: str) -> str:
    return f"stackly repo add {full_name}"


async def reach_of(github: GitHub, installation: int | None) -> Reach:
    """Raises: Upstream errors other than "not found"."""
    if installation is None or not github.has_app:
        return "none"
    try:
        found = await github.installation(installation)
    except UpstreamNotFound:
        return "gone"
    return "suspended" if found.suspended else "active"


@dataclass(frozen=True, slots=True)
class Looks:
    """Asking GitHub for a repository by its number, and carrying here what is said of it."""

    transactions: Transactions
    github: GitHub

    async def look(self, repo: str, reach: Reach | None = None) -> Repo:
        """The repository as it is from now on. What GitHub said before counts for nothing: a name changes in a moment.

        Raises: Upstream errors; nothing is changed then.
        """
        async with self.transactions() as session:
            seen = await store.get_repo(session, repo)
            known = await connections.connection(session, seen.account, repo)
            said_deleted = await events.said_deleted(session, repo)
        installation = known.installation
        reach = reach or await reach_of(self.github, installation)
        if reach == "gone":  # installed again under another number, perhaps
            installation = await self.github.installation_of(seen.full_name)
            reach = await reach_of(self.github, installation) if installation is not None else "gone"
        upstream = await self._upstream(seen, installation, reach)
        return await self._apply(seen, installation, judge(seen, upstream, reach, said_deleted=said_deleted))

    async def _upstream(self, seen: Repo, installation: int | None, reach: Reach) -> UpstreamRepo | None:
        if reach in {"gone", "suspended"}:
            return None
        try:
            return await self.github.repository_by_id(seen.github_id, installation=installation)
        except UpstreamNotFound:
            return None

    async def _apply(self, seen: Repo, installation: int | None, verdict: Verdict) -> Repo:
        async with self.transactions() as session:
            await store.get_repo(session, seen.id, lock=True)  # before what refers to it, as whoever connects it does
            known = verdict.known_as
            if known is not None:
                await connections.connect(session, seen.account, seen.id, installation)
                await repos_store.rename_repo(
                    session,
                    seen.id,
                    full_name=known.full_name,
                    clone_url=known.clone_url,
                    default_branch=known.default_branch,
                    owner_id=known.owner_id,
                )
            await connections.confirm(session, seen.id)
            now = await repos_store.set_repo_status(session, seen.id, verdict.status, verdict.reason)
            is_back = verdict.status == repos_store.ACTIVE != seen.status
            if is_back or (known is not None and known.default_branch != seen.default_branch):
                await events.ring(session, Bell.REPO_SYNC, seen.id)
        if verdict.status != seen.status:
            _log.warning("repo.status_changed", repo_id=seen.id, status=verdict.status, reason=verdict.reason)
        return now


@dataclass(frozen=True, slots=True)
class Access:
    """The credential for each repository."""

    transactions: Transactions
    github: GitHub

    async def installation(self, repo: Repo) -> int | None:
        async with self.transactions() as session:
            return (await connections.connection(session, repo.account, repo.id)).installation

    async def token(self, repo: Repo) -> str | None:
        """Raises: Upstream errors, when an installation gives none."""
        return await self.github.token(await self.installation(repo))

    async def pusher(self, repo: Repo, ref: str, commit: str) -> str | None:
        """Who GitHub's activity says put this commit there. None where it does not say, or cannot be asked."""
        try:
            installation = await self.installation(repo)
            return await self.github.pusher_of(repo.full_name, ref, commit, installation=installation)
        except StacklyError as e:
            _log.warning("pusher.unknown", repo_id=repo.id, ref=ref, commit=commit, reason=e.detail)
            return None
