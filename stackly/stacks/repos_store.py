"""SQL of what became of a repository: out of reach or back, renamed or transferred. Never a reason to destroy."""

from sqlalchemy import text

from stackly import db
from stackly.db import Session
from stackly.events import store as events
from stackly.events.model import Bell, EventName
from stackly.stacks import loose_store
from stackly.stacks.model import Repo
from stackly.stacks.store import get_repo

ACTIVE = "active"
# After a repository comes back, a sync has this long to find its code before any timer of a loose state ends.
REPRIEVE_S = 3600.0


async def set_repo_status(session: Session, repo: str, status: str, reason: str | None) -> Repo:
    """The repository is `active`, `suspended`, `archived`, `deleted` or `uninstalled`; saying so again changes nothing.

    While it is not active nothing of it is scheduled: no sync, no run starts; states stay as they are, and timers of
    loose states stand still. Nothing is ever destroyed for it. Back again, everything goes on where it stood.
    """
    seen = await get_repo(session, repo, lock=True)
    if seen.status == status:
        return seen
    await session.execute(
        text("UPDATE repos SET status = :status, reason = :reason WHERE id = :id"),
        {"id": repo, "status": status, "reason": reason},
    )
    if status == ACTIVE:
        await loose_store.go_on_with_timers(session, repo, least_s=REPRIEVE_S)
        await events.ring(session, Bell.REPO_SYNC, repo)
        await events.ring(session, Bell.ADMIT, seen.account)
    else:
        await loose_store.stop_timers(session, repo)
    payload = {"repo": seen.full_name, "from": seen.status, "to": status, "reason": reason}
    at = (await db.now(session)).isoformat()
    await events.record(session, seen.account, f"repo/{repo}", EventName.REPO_STATUS_CHANGED, f"{status}@{at}", payload)
    return await get_repo(session, repo)


async def rename_repo(
    session: Session,
    repo: str,
    *,
    full_name: str,
    clone_url: str | None = None,
    default_branch: str | None = None,
    owner_id: int | None = None,
) -> Repo:
    """Renamed or transferred: GitHub's numeric id is what a repository is, so its stacks and states stay what they are.

    What is None stays as it is; saying the same again changes nothing. A default branch of another name is noted until
    the states have followed it.
    """
    seen = await get_repo(session, repo, lock=True)
    url, branch = clone_url or seen.clone_url, default_branch or seen.default_branch
    if owner_id is not None and owner_id != seen.owner_id:
        await session.execute(text("UPDATE repos SET owner_id = :n WHERE id = :id"), {"id": repo, "n": owner_id})
    if (seen.full_name, seen.clone_url, seen.default_branch) == (full_name, url, branch):
        return seen
    await session.execute(
        text(
            "UPDATE repos SET full_name = :name, clone_url = :url, default_branch = :branch, former_default ="
            " CASE WHEN default_branch = :branch THEN former_default"
            "   ELSE nullif(coalesce(former_default, default_branch), :branch) END WHERE id = :id"
        ),
        {"id": repo, "name": full_name, "url": url, "branch": branch},
    )
    payload = {"from": seen.full_name, "to": full_name, "clone_url": url, "default_branch": branch}
    at = (await db.now(session)).isoformat()
    await events.record(session, seen.account, f"repo/{repo}", EventName.REPO_RENAMED, f"{full_name}@{at}", payload)
    return await get_repo(session, repo)
