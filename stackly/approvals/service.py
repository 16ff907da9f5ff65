"""Voting. A vote is a row and a doorbell; whoever is rung counts."""

from stackly import db
from stackly.approvals import store
from stackly.approvals.model import ApprovalRequest
from stackly.db import Session
from stackly.errors import Conflict, Denied
from stackly.events import store as events
from stackly.events.model import Bell, EventName
from stackly.runs import store as runs


class DigestMoved(Conflict):
    title = "What you looked at is not what would be applied now."


class NothingToApprove(Conflict):
    title = "The run waits for no approval."


class AlreadyVoted(Conflict):
    title = "You have voted on this already."


class SelfApproval(Denied):
    title = "Who wrote, pushed or started a run cannot approve it."


async def vote(
    session: Session,
    account: str,
    run_id: str,
    *,
    person: str,
    login: str,
    value: str,
    digest: str | None,
    reason: str | None,
) -> ApprovalRequest:
    """Vote on the open request of a run. `digest` None means "whatever it is now" (a denial needs none).

    Raises: NothingToApprove, DigestMoved, AlreadyVoted, SelfApproval.
    """
    run = await runs.get_run(session, run_id, lock=True, account=account)
    request = await store.open_request(session, run.id)
    if request is None or run.is_terminal:
        raise NothingToApprove(
            f"Run {run.id} is {run.status} and waits for no approval.", run=run.id, status=run.status
        )
    if digest is not None and digest != request.digest:
        raise DigestMoved(f"The digest is {request.digest} now; look again.", run=run.id, digest=request.digest)
    if value == "approve" and login in involved(run.trigger):
        raise SelfApproval(f"{login} is part of run {run.id}; another person has to approve it.", run=run.id)
    if not await store.insert_vote(session, request.id, person, value, reason):
        raise AlreadyVoted(f"{login} has voted on run {run.id}.", run=run.id)
    at = await db.now(session)
    payload = {"run": run.id, "person": login, "value": value, "digest": request.digest, "reason": reason}
    await events.record(
        session, account, f"run/{run.id}", EventName.APPROVAL_VOTED, f"{request.id}/{person}@{at.isoformat()}", payload
    )
    if run.is_admitted:
        await events.ring(session, Bell.RUN_RING, run.id)
    else:
        await runs.update_run(session, run.id, next_check=at)
        await events.ring(session, Bell.ADMIT, account)
    return request


def involved(trigger: object) -> frozenset[str]:
    """Logins that may not approve: who triggered, pushed, wrote or committed. Source: P3."""
    if not isinstance(trigger, dict):
        return frozenset()
    return frozenset(str(trigger[name]) for name in ("actor", "pusher", "author", "committer") if trigger.get(name))
