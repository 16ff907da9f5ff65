"""`admit`: which waiting runs start now. One transaction under the account's lock, and a reason for all that wait."""

import zlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.exc import DBAPIError

from stackly import db, log
from stackly.agents import service as agents
from stackly.approvals import store as approvals
from stackly.approvals.model import ApprovalRequest
from stackly.db import Session, Transactions
from stackly.engine import acts, standing
from stackly.engine.digests import benchmark_digest
from stackly.engine.judging import facts_for, judge, request_approval
from stackly.engine.policies import PolicyBook
from stackly.events import store as events
from stackly.events.model import Bell
from stackly.policy.model import Decision, Policy
from stackly.runs import queue, store
from stackly.runs import tests as tests_store
from stackly.runs.model import QUEUE_PATIENCE, STARTING_PATIENCE, Blocker, Run, RunEvent, Waiting
from stackly.spec.runs import MUTATING, RunKind, RunStatus
from stackly.stacks import store as stacks
from stackly.teardown import reads as teardowns

_log = log.get("engine")

QUESTION = "admit"
# The account's lock is held for one batch: a long one would make everybody else time out on it.
BATCH = 50
LOOK_AGAIN = timedelta(seconds=5)
LOOK_LATER = timedelta(minutes=1)
# Windows of many stacks open in the same instant; a stack's own offset spreads them.
JITTER_S = 5


@dataclass(frozen=True, slots=True)
class Limits:
    """How many runs may be in `starting` in all; an account's own limit stands in its row."""

    starting_in_all: int = 32


async def admit(transactions: Transactions, account: str, book: PolicyBook, limits: Limits) -> list[str]:
    """Admit what may start now. Returns the ids of the runs that were admitted."""
    async with transactions() as session:
        max_starting, _ = await queue.lock_account(session, account)
        # Later statements see what committed before the lock was ours (engine rule 7).
        await _name_blockers(session, account)
        room = min(
            max_starting - await queue.starting(session, account),
            limits.starting_in_all - await queue.starting_in_all(session),
        )
        found = await queue.admissible(session, account, limit=BATCH)
        await stacks.lock_states(session, sorted({r.state for r in found}))
        held = await queue.lock_waiting(session, sorted(r.id for r in found))
        admitted: list[str] = []
        failed: dict[str, Exception] = {}
        for run in (one.id for one in found if one.id in held):
            try:
                # What one run's look wrote before it failed must not stay, and what others wrote must.
                async with session.begin_nested():
                    if await _consider(session, store.as_run(held[run]), book, has_room=len(admitted) < room):
                        admitted.append(run)
            except Exception as e:
                if acts.is_outage(e) or (isinstance(e, DBAPIError) and db.kind_of(e) is not None):
                    raise
                failed[run] = e
                await queue.put_off(session, run, acts.reason(e), first=LOOK_AGAIN, cap=acts.UNFORESEEN_CAP)
        if len(found) == BATCH:  # more may wait: they were not looked at
            await events.ring(session, Bell.ADMIT, account)
    for run_id in admitted:
        _log.info("run.admitted", run_id=run_id, account_id=account)
    for run_id, error in failed.items():
        await acts.note(transactions, "admit", run_id, error)
    return admitted


async def _name_blockers(session: Session, account: str) -> None:
    at = await db.now(session)
    blocked = await queue.blocked_behind(session, account)
    held_up: dict[str, list[str]] = {}
    for owed in await teardowns.owed(session, runs=sorted({current for _, current in blocked})) if blocked else []:
        held_up.setdefault(owed.run, []).append(owed.sentence)
    for run, current in blocked:
        if run.status is RunStatus.QUEUED:
            reason = "; ".join([f"behind run {current} on the same state", *held_up.get(current, ())])
            await store.set_waiting(
                session, run, Waiting(Blocker.QUEUE, reason, run.deadline or at + QUEUE_PATIENCE), at=at
            )


async def _consider(session: Session, run: Run, book: PolicyBook, *, has_room: bool) -> bool:
    at = await db.now(session)
    if run.cancel_requested:
        await store.transition(session, run, RunEvent.CANCEL, at=at, reason="cancelled")
        return False
    against = await standing.objection(session, run)
    if against is not None:
        await _objected(session, run, against, at=at)
        return False
    if run.kind is RunKind.DESTROY:
        return await _start(session, run, at=at)  # teardown needs no quota, window or approval (engine rule 16)
    policies = book.current(run.spec.get("policies", []))
    run = await _rebound(session, run, policies)
    request = await approvals.open_request(session, run.id)
    votes = await approvals.votes_for_digest(session, run.id, run.digest or "")
    decision, decision_id = await judge(
        session, run, policies, facts_for(run, now=at, digest=run.digest, votes=votes), QUESTION
    )
    if decision.outcome == "deny":
        await _denied(session, run, request, decision, at=at, decision_id=decision_id)
        return False
    if decision.outcome == "hold":
        await _held(session, run, request, decision, at=at, decision_id=decision_id)
        return False
    return await _allowed(session, run, request, at=at, decision_id=decision_id, has_room=has_room)


async def _objected(session: Session, run: Run, against: standing.Objection, *, at: datetime) -> None:
    """Its code is gone: it ends. Its repository is out of reach: it waits."""
    if not against.is_final:
        waiting = Waiting(Blocker.POLICY, against.reason, run.deadline or at + QUEUE_PATIENCE, at + LOOK_LATER)
        await store.set_waiting(session, run, waiting, at=at)
        return
    request = await approvals.open_request(session, run.id)
    if request is not None:
        await approvals.close_request(session, request.id, "void", against.reason)
    await store.transition(session, run, RunEvent.SUPERSEDE, at=at, reason=against.reason)


async def _rebound(session: Session, run: Run, policies: list[Policy]) -> Run:
    """A benchmark's digest covers its policies: when one moved, the digest moves and what was approved is void."""
    if run.kind is not RunKind.BENCHMARK:
        return run
    digest = benchmark_digest(run.commit, run.spec, policies)
    if digest == run.digest:
        return run
    request = await approvals.open_request(session, run.id)
    if request is not None:
        await approvals.close_request(session, request.id, "void", "the digest moved")
    return await store.update_run(session, run.id, digest=digest)


async def _denied(
    session: Session, run: Run, request: ApprovalRequest | None, decision: Decision, *, at: datetime, decision_id: str
) -> None:
    reason = "; ".join(f"{r.policy}: {r.text}" for r in decision.reasons if r.outcome == "deny")
    if request is not None:
        await approvals.close_request(session, request.id, "denied", reason)
    await store.transition(session, run, RunEvent.REJECT, at=at, reason=reason, decision=decision_id)


async def _held(
    session: Session, run: Run, request: ApprovalRequest | None, decision: Decision, *, at: datetime, decision_id: str
) -> None:
    """Waiting is a row: window, approval, quota or an error in a policy, with when it is looked at next."""
    await store.update_run(session, run.id, decision=decision_id)
    reason = "; ".join(f"{r.policy}: {r.text}" for r in decision.reasons if r.outcome == "hold")
    if decision.approvals:
        request = request or await request_approval(session, run, decision, at)
        expires = request.expires
        if run.status is RunStatus.QUEUED:
            run = await store.transition(session, run, RunEvent.ASK_APPROVAL, at=at, reason=None, deadline=expires - at)
        next_check = min(filter(None, [decision.next_check, expires]))
        await store.set_waiting(session, run, Waiting(Blocker.APPROVAL, reason, expires, next_check=next_check), at=at)
        return
    blocker = next((r.rule for r in decision.reasons if r.outcome == "hold"), "policy")
    named = Blocker(blocker) if blocker in set(Blocker) else Blocker.POLICY
    check = (decision.next_check or at + timedelta(minutes=1)) + _offset(run)
    deadline = max(run.deadline or at, check + QUEUE_PATIENCE)
    waiting = Waiting(named, reason, deadline, next_check=check, not_before=decision.not_before)
    await store.set_waiting(session, run, waiting, at=at)


def _offset(run: Run) -> timedelta:
    return timedelta(seconds=zlib.crc32(run.state.encode()) % (JITTER_S * 1000) / 1000)


async def _allowed(
    session: Session, run: Run, request: ApprovalRequest | None, *, at: datetime, decision_id: str, has_room: bool
) -> bool:
    run = await store.update_run(session, run.id, decision=decision_id)
    if run.status is RunStatus.AWAITING_APPROVAL:
        if request is not None:
            await approvals.close_request(session, request.id, "approved", None)
        run = await store.transition(session, run, RunEvent.RELEASE, at=at, deadline=QUEUE_PATIENCE)
    deadline = run.deadline or at + QUEUE_PATIENCE
    if not has_room:
        waiting = Waiting(Blocker.QUOTA, "as many runs are starting as may start at once", deadline, at + LOOK_AGAIN)
        await store.set_waiting(session, run, waiting, at=at)
        return False
    return await _start(session, run, at=at)


async def _start(session: Session, run: Run, *, at: datetime) -> bool:
    """Give the run its agent, the state and an epoch, and its workflow a doorbell."""
    agent, why = run.agent, ""
    if agent is None:
        agent, why = await agents.pick_site(session, run.account, str(run.spec.get("target", "local")))
    if agent is None:
        waiting = Waiting(Blocker.AGENT, why, run.deadline or at + QUEUE_PATIENCE, at + LOOK_AGAIN)
        await store.set_waiting(session, run, waiting, at=at)
        return False
    # A run that changes nothing must not void the fence of one that does.
    is_mutating = run.kind in MUTATING
    epoch = await stacks.take_state(session, run.state, run.id) if is_mutating else 0
    await store.transition(session, run, RunEvent.ADMIT, at=at, deadline=STARTING_PATIENCE, epoch=epoch, agent=agent)
    if run.kind is RunKind.BENCHMARK:
        await tests_store.insert_tests(session, run.id, run.spec["suite"]["tests"], agent=agent)
    await events.ring(session, Bell.RUN_START, run.id)
    return True
