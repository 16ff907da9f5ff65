"""SQL of pushes that deliveries announced: what a sync may wait for, and what it says of those git does not show."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import text

from stackly.db import Session
from stackly.errors import Invalid
from stackly.git import payloads
from stackly.git.payloads import Announced

# Of the newest deliveries of a repository; a body above the cap tells of thousands of commits, and is not looked into.
MOST = 20
BODY_CAP_BYTES = 256 * 1024
HEADS = "refs/heads/"
# What was not shown is looked for as long as this, by syncs that come for other reasons.
REMEMBERED = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Announcement:
    """A push of a branch, as its delivery tells it. Shape: `reason` says since when it is waited for no more."""

    hook: str
    guid: str
    push: Announced
    age: timedelta
    reason: str | None


async def announced(session: Session, repo: str, *, within: timedelta) -> list[Announcement]:
    """Pushes of branches told not longer ago than that, and those of a day that git did not show so far.

    A push that one told later went on from is not among them: where that is shown, this was.
    """
    rows = await session.execute(
        text(
            "SELECT hook, guid, body, reason, clock_timestamp() - received_at AS age FROM deliveries"
            " WHERE repo = :repo AND event = 'push' AND status = 'received' AND length(body) < :cap"
            " AND received_at > clock_timestamp() - greatest(CAST(:within AS interval), CAST(:remembered AS interval))"
            " AND (reason IS NOT NULL OR received_at > clock_timestamp() - CAST(:within AS interval))"
            " ORDER BY received_at DESC LIMIT :most"
        ),
        {"repo": repo, "cap": BODY_CAP_BYTES, "within": within, "remembered": REMEMBERED, "most": MOST},
    )
    found = [
        Announcement(r.hook, r.guid, push, r.age, r.reason) for r in rows if (push := _push(bytes(r.body))) is not None
    ]
    kept, left = [], set[tuple[str, str]]()
    for each in found:  # the newest first
        if (each.push.ref, each.push.after) not in left:
            kept.append(each)
        left.add((each.push.ref, each.push.before))
    return kept


async def unheeded(session: Session, repo: str, *, within: timedelta) -> list[Announcement]:
    """Pushes of anything but branches, told not longer ago than that, which say nothing of it so far."""
    rows = await session.execute(
        text(
            "SELECT hook, guid, body, reason, clock_timestamp() - received_at AS age FROM deliveries"
            " WHERE repo = :repo AND event = 'push' AND status = 'received' AND length(body) < :cap"
            " AND reason IS NULL AND received_at > clock_timestamp() - CAST(:within AS interval)"
            " ORDER BY received_at DESC LIMIT :most"
        ),
        {"repo": repo, "cap": BODY_CAP_BYTES, "within": within, "most": MOST},
    )
    found = [(r, _of_any(bytes(r.body))) for r in rows]
    return [Announcement(r.hook, r.guid, p, r.age, None) for r, p in found if p and not p.ref.startswith(HEADS)]


def _push(body: bytes) -> Announced | None:
    found = _of_any(body)
    return found if found is not None and found.ref.startswith(HEADS) else None


def _of_any(body: bytes) -> Announced | None:
    try:
        said = payloads.read("push", body)
    except Invalid:
        return None
    if said.kind != "push" or not said.ref or not said.before or not said.after:
        return None
    return Announced(said.ref, said.before, said.after)


async def set_reasons(session: Session, said: Iterable[tuple[Announcement, str | None]]) -> None:
    """Why a push is not here, on the delivery that told it; None when it is."""
    told = [(a.hook, a.guid, why) for a, why in said if a.reason != why]
    for hook, guid, why in sorted(told, key=lambda t: t[:2]):  # one order of locks, as the inbox has it
        await session.execute(
            text("UPDATE deliveries SET reason = :reason WHERE hook = :hook AND guid = :guid"),
            {"hook": hook, "guid": guid, "reason": why},
        )


async def connected(session: Session, account: str, github_id: int, repo: str) -> None:
    """What arrived while a repository was not connected is its own from now on, and says what became of it."""
    await session.execute(
        text(
            "UPDATE deliveries d SET repo = :repo, reason = 'It came before the repository was connected; connecting it"
            " read its branches.' FROM hooks h WHERE h.id = d.hook AND h.account = :account AND d.repo IS NULL"
            " AND d.about = :n AND d.status = 'ignored'"
        ),
        {"account": account, "n": github_id, "repo": repo},
    )
