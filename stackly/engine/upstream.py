"""What GitHub says of a repository, and what that means here: whether it is scheduled, and under which name.

Access lost is never code deleted (G13): whatever is read here stops scheduling at most, and touches no state.
"""

from dataclasses import dataclass
from typing import Literal

from stackly.db import Transactions
from stackly.git.github_client import GitHub, UpstreamRepo
from stackly.git.github_rest import UpstreamNotFound
from stackly.stacks import connections_store as connections
from stackly.stacks.model import Repo

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
    if upstream.owner.lower() != repo.full_name.partition("/")[0].lower():
        return Verdict("suspended", f"transferred to {upstream.owner}; to go on there: {_add(upstream.full_name)}")
    if upstream.archived:
        return Verdict("archived", "archived on GitHub; it goes on when it is unarchived", upstream)
    return Verdict("active", None, upstream)


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
