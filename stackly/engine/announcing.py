"""Pushes that a webhook told before git shows them: waited for once, looked for a while, and never taken for true.

What is told is a hint of what to wait for. What is registered is what git has, however that ends.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta

from stackly import log
from stackly.db import Session
from stackly.errors import Exhausted
from stackly.events import announced_store as announcements
from stackly.events import store as events
from stackly.events.announced_store import Announcement
from stackly.events.model import Bell, EventName
from stackly.git.payloads import Announced
from stackly.stacks import connections_store as connections
from stackly.stacks import store
from stackly.stacks.model import Repo, branch_of

_log = log.get("engine")

# GitHub serves a push some seconds after it told it. Who comes later than this has waited already.
FRESH = timedelta(minutes=2)
# So long rings are left for it, each about as far from the next as from the push; then it is the sweep's.
LOOKED_FOR = timedelta(minutes=10)
FIRST_LOOK = timedelta(seconds=10)
# A limit that names no end is asked about again after this.
HELD = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Waiting:
    """What one sync knows to be announced. Shape: `pushes` of the newest deliveries, those waited for already too."""

    pushes: Sequence[Announcement]

    @property
    def awaited(self) -> list[Announced]:
        """What this sync waits for: each delivery has that once, and soon or not at all."""
        return [a.push for a in self.pushes if a.reason is None and a.age < FRESH and not _has_no_name(a.push)]

    @property
    def all(self) -> list[Announced]:
        return [a.push for a in self.pushes]


async def announced(session: Session, repo: str) -> Waiting:
    return Waiting(await announcements.announced(session, repo, within=LOOKED_FOR))


async def note(session: Session, repo: str, waiting: Waiting, missing: Collection[Announced]) -> None:
    """Say of each push whether git showed it, and look again while one may still come."""
    said = [(a, _why(a) if a.push in missing else None) for a in waiting.pushes]
    await announcements.set_reasons(session, said)
    for a, why in said:
        if why is not None and a.reason is None:
            _log.warning("push.not_served", repo_id=repo, ref=a.push.ref, commit=a.push.after, delivery=a.guid)
    waited = [(a, why) for a, why in said if not _has_no_name(a.push)]
    again = [next_look(a.age) for a, why in waited if why is not None and a.age < LOOKED_FOR]
    if again:
        await events.ring_later(session, Bell.REPO_SYNC, repo, after=min(again))


async def hold(session: Session, repo: str, waiting: Waiting, limited: Exhausted) -> None:
    """GitHub does not say now whose the name is: nothing is taken by it, and it is asked again when its limit ends."""
    seconds = float(limited.fields.get("retry_after_s") or HELD.total_seconds())
    since = await connections.confirmed_at(session, repo)
    last = f" (it said so last at {since.isoformat(timespec='seconds')})" if since else ""
    why = f"held: GitHub does not say now whose repository this is{last}. {limited.detail} It is read when that ends"
    await store.set_repo_reason(session, repo, why)
    await announcements.set_reasons(session, [(a, why) for a in waiting.pushes])
    await events.ring_later(session, Bell.REPO_SYNC, repo, after=max(FIRST_LOOK, timedelta(seconds=seconds)))
    _log.warning("sync.held", repo_id=repo, seconds=round(seconds), reason=limited.detail)


async def refuse(session: Session, repo: Repo, waiting: Waiting) -> None:
    """Pushes to a repository that is out of reach: each says why nothing starts, once, until it is back."""
    why = f"{repo.full_name} is {repo.status}: nothing of it starts; it is read when that ends"
    await _say(session, repo, [(a, why) for a in waiting.pushes])
    await pass_by(session, repo)


async def pass_by(session: Session, repo: Repo) -> None:
    """Pushes of what starts no run, whatever it is."""
    said = []
    for a in await announcements.unheeded(session, repo.id, within=LOOKED_FOR):
        kind = "a tag" if a.push.ref.startswith("refs/tags/") else "no branch"
        said.append((a, f"{a.push.ref} is {kind}; pushes of branches start runs, and no others"))
    await _say(session, repo, said)


async def _say(session: Session, repo: Repo, said: Sequence[tuple[Announcement, str]]) -> None:
    await announcements.set_reasons(session, said)
    for a, why in said:
        payload = {"repo": repo.full_name, "ref": a.push.ref, "commit": a.push.after, "reason": why, "delivery": a.guid}
        subject, n = f"push/{repo.id}/{a.push.ref}", f"{a.guid}/{repo.status}"
        await events.record(session, repo.account, subject, EventName.RUN_NOT_CREATED, n, payload)


def _has_no_name(push: Announced) -> bool:
    """JSON shows a name that is not UTF-8 with this character, and nothing can be found by it."""
    return "\N{REPLACEMENT CHARACTER}" in push.ref


def next_look(age: timedelta) -> timedelta:
    """Units: from now on, of a push that was told so long ago."""
    return max(FIRST_LOOK, age)


def _why(told: Announcement) -> str:
    push = told.push
    if _has_no_name(push):
        return f"the name {branch_of(push.ref)} is not UTF-8, so it can be kept nowhere; rename it"
    what = (
        f"{branch_of(push.ref)} at {push.after[:7]}" if push.after.strip("0") else f"{branch_of(push.ref)} as deleted"
    )
    if told.age < LOOKED_FOR:
        return f"git does not serve {what} yet; it is looked for again"
    minutes = LOOKED_FOR.total_seconds() / 60
    return f"git did not serve {what} within {minutes:.0f} minutes; the sweep takes what is there"
