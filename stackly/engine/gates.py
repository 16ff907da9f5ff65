"""The gate of a deploy: one transaction between what was planned and what is applied (engine rule 8)."""

from datetime import datetime
from typing import Any

from stackly import db
from stackly.approvals import store as approvals
from stackly.approvals.model import DEFAULT_EXPIRY, ApprovalRequest
from stackly.db import Session
from stackly.engine import expecting, standing
from stackly.engine.contracts.control import GateAnswer, PlanRecord
from stackly.engine.digests import plan_digest
from stackly.engine.judging import facts_for, judge, request_approval
from stackly.engine.policies import PolicyBook
from stackly.engine.telling import tell
from stackly.events.model import EventName
from stackly.policy.model import Decision
from stackly.runs import store
from stackly.runs.model import Blocker, Run, RunEvent, Waiting
from stackly.spec.runs import RunKind, RunStatus
from stackly.stacks import lifecycle
from stackly.stacks import store as stacks
from stackly.stacks.transitions import StateEvent

QUESTION = "apply"
LOOK_AGAIN_S = 30.0


async def record_plan(session: Session, given: PlanRecord, book: PolicyBook) -> GateAnswer:
    """Bind the plan to a digest; an unchanged one ends the run well, any other goes to the gate.

    A workflow that was lost behind the gate comes by again: what was decided stays decided.
    """
    run = await _locked(session, given.run)
    if run is None:
        return GateAnswer("stop", "the run has ended")
    if run.status is RunStatus.APPLYING:
        return GateAnswer("apply")  # its step's row knows of a cancel
    if run.cancel_requested:
        return GateAnswer("stop", "cancelled")
    plan = {
        "plan_sha256": given.plan.plan_sha256,
        "serial": given.plan.serial,
        "lineage": given.plan.lineage,
        "lock_sha256": given.plan.lock_sha256,
        "create": given.plan.create,
        "update": given.plan.update,
        "delete": given.plan.delete,
        "move": given.plan.move,
        "import": given.plan.adopt,
        "forget": given.plan.forget,
        "summary": given.plan.summary,
        "changes": given.plan.changes,
    }
    await tell(session, run, EventName.PLAN_COMPLETED, given.plan.plan_sha256, plan)
    spec = {**run.spec, "plan": plan}
    if run.kind is RunKind.PREVIEW:
        await store.update_run(session, run.id, spec=spec)
        return GateAnswer("changed" if given.plan.changed else "unchanged")
    if not given.plan.changed:
        return GateAnswer("unchanged")
    digest = plan_digest(run.commit, spec, book.current(spec.get("policies", [])), plan)
    await _void_older(session, run, digest)
    run = await store.update_run(session, run.id, spec=spec, digest=digest)
    return await _decide(session, run, book)


async def pass_gate(session: Session, run_id: str, book: PolicyBook) -> GateAnswer:
    """Ask again after a ring. Everything is read anew under the locks: state, digest, policies, votes, cancel."""
    run = await _locked(session, run_id)
    if run is None:
        return GateAnswer("stop", "the run has ended")
    if run.status is RunStatus.APPLYING:
        return GateAnswer("apply")
    if run.cancel_requested:
        return GateAnswer("stop", "cancelled")
    plan: dict[str, Any] = run.spec.get("plan") or {}
    digest = plan_digest(run.commit, run.spec, book.current(run.spec.get("policies", [])), plan)
    state = await stacks.get_state(session, run.state)
    if digest != run.digest or (state.serial or 0) != (plan.get("serial") or 0):
        await _void_older(session, run, digest)
        # The next plan is another step: asked for by its old name, it would answer with what it planned then.
        run = await store.update_run(session, run.id, spec={**run.spec, "plans": int(run.spec.get("plans", 1)) + 1})
        await _move(session, run, RunEvent.PLAN, "what was planned has moved; planning anew")
        return GateAnswer("plan", "the digest moved")
    return await _decide(session, run, book)


async def _locked(session: Session, run_id: str) -> Run | None:
    """State before run, in the order of locks (engine rule 10)."""
    seen = await store.get_run(session, run_id)
    await stacks.get_state(session, seen.state, lock=True)
    run = await store.get_run(session, run_id, lock=True)
    return None if run.is_terminal else run


async def _decide(session: Session, run: Run, book: PolicyBook) -> GateAnswer:
    at = await db.now(session)
    policies = book.current(run.spec.get("policies", []))
    request = await approvals.open_request(session, run.id)
    against = await standing.objection(session, run)
    if against is not None and against.is_final:
        return await _withdrawn(session, run, request, against.reason, at)
    votes = await approvals.votes_for_digest(session, run.id, run.digest or "")
    facts = facts_for(run, now=at, digest=run.digest, votes=votes)
    decision, decision_id = await judge(session, run, policies, facts, QUESTION)
    run = await store.update_run(session, run.id, decision=decision_id)
    if against is not None and decision.outcome == "allow":
        return await _out_of_reach(session, run, against.reason, at)
    if decision.outcome == "deny":
        return await _rejected(session, run, request, decision, at)
    if decision.outcome == "hold":
        return await _waits(session, run, request, decision, at)
    if request is not None:
        await approvals.close_request(session, request.id, "approved", None)
    run = await store.transition(session, run, RunEvent.APPLY, at=at)
    await expecting.expect_apply(session, run)
    # Before the first create: an apply that fails half-way leaves a state that can be destroyed.
    await lifecycle.move_state(session, run.state, StateEvent.DEPLOYED, agent=run.agent)
    await tell(session, run, EventName.DEPLOY_INITIATED, run.digest or "", {"digest": run.digest})
    return GateAnswer("apply")


async def _withdrawn(
    session: Session, run: Run, request: ApprovalRequest | None, reason: str, at: datetime
) -> GateAnswer:
    if request is not None:
        await approvals.close_request(session, request.id, "void", reason)
    await store.transition(session, run, RunEvent.SUPERSEDE, at=at, reason=reason)
    return GateAnswer("stop", reason)


async def _out_of_reach(session: Session, run: Run, reason: str, at: datetime) -> GateAnswer:
    """Nothing is applied of a repository that is suspended, archived or gone; what was approved stays approved."""
    if run.status is RunStatus.PLANNING:
        run = await store.transition(session, run, RunEvent.ASK_APPROVAL, at=at, deadline=DEFAULT_EXPIRY)
    waiting = Waiting(Blocker.POLICY, reason, run.deadline or at + DEFAULT_EXPIRY)
    await store.set_waiting(session, run, waiting, at=at)
    return GateAnswer("wait", reason, wait_s=LOOK_AGAIN_S)


async def _rejected(
    session: Session, run: Run, request: ApprovalRequest | None, decision: Decision, at: datetime
) -> GateAnswer:
    reason = "; ".join(f"{r.policy}: {r.text}" for r in decision.reasons if r.outcome == "deny")
    if request is not None:
        await approvals.close_request(session, request.id, "denied", reason)
    await store.transition(session, run, RunEvent.REJECT, at=at, reason=reason)
    return GateAnswer("stop", reason)


async def _waits(
    session: Session, run: Run, request: ApprovalRequest | None, decision: Decision, at: datetime
) -> GateAnswer:
    reason = "; ".join(f"{r.policy}: {r.text}" for r in decision.reasons if r.outcome == "hold")
    if request is None and decision.approvals:
        request = await request_approval(session, run, decision, at)
    if run.status is RunStatus.PLANNING:
        expires = request.expires if request else at + DEFAULT_EXPIRY
        run = await store.transition(session, run, RunEvent.ASK_APPROVAL, at=at, deadline=expires - at)
    blocker = Blocker.APPROVAL if decision.approvals else Blocker.WINDOW
    deadline = request.expires if request else run.deadline or at + DEFAULT_EXPIRY
    waiting = Waiting(blocker, reason, deadline, decision.next_check, decision.not_before)
    await store.set_waiting(session, run, waiting, at=at)
    wait = LOOK_AGAIN_S if decision.next_check is None else (decision.next_check - at).total_seconds()
    return GateAnswer("wait", reason, wait_s=max(1.0, min(wait, 3600.0)))


async def _void_older(session: Session, run: Run, digest: str) -> None:
    request = await approvals.open_request(session, run.id)
    if request is not None and request.digest != digest:
        why = "the digest moved: what was looked at is not this plan"
        await approvals.close_request(session, request.id, "void", why)


async def _move(session: Session, run: Run, event: RunEvent, reason: str) -> None:
    await store.transition(session, run, event, at=await db.now(session), reason=reason)
