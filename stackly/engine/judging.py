"""Facts in, one recorded decision out."""

import json
from collections.abc import Sequence
from datetime import datetime

from stackly.approvals import store as approvals
from stackly.approvals.model import DEFAULT_EXPIRY, ApprovalRequest, Vote
from stackly.db import Session
from stackly.engine.telling import tell
from stackly.events import store as events
from stackly.events.model import DecisionRecord, EventName
from stackly.ids import DecisionId
from stackly.policy import evaluate
from stackly.policy.model import Decision, Facts, Policy
from stackly.runs import planned
from stackly.runs.model import Run


def facts_for(run: Run, *, now: datetime, digest: str | None, votes: Sequence[Vote]) -> Facts:
    """Everything the decision may stand on."""
    trigger, spec = run.trigger, run.spec
    return Facts(
        now=now,
        account=run.account,
        stack=str(spec.get("stack", run.code)),
        repo=str(spec.get("repo", "")),
        kind=run.kind.value,
        environment=spec.get("environment") or None,
        branch=run.branch,
        default_branch=spec.get("default_branch"),
        trigger_kind=trigger.get("kind"),
        author=trigger.get("author"),
        committer=trigger.get("committer"),
        pusher=trigger.get("pusher"),
        is_pusher_unknown=trigger.get("kind") == "push" and trigger.get("pusher", "") is None,
        actor=trigger.get("actor"),
        expected_duration_s=spec.get("expected_duration_s"),
        digest=digest,
        requested_at=run.created_at,
        votes=tuple(vote.fact(digest) for vote in votes),
    )


async def judge(
    session: Session, run: Run, policies: Sequence[Policy], facts: Facts, question: str
) -> tuple[Decision, DecisionId]:
    """Decide, and record the decision with everything it stood on."""
    decision = evaluate.decide(policies, facts, question)
    said = json.loads(json.dumps(decision.as_json(), default=str))
    stood_on = evaluate.inputs(policies, facts, question)
    if (plan := planned.shown(run.spec)) is not None:
        stood_on["plan"] = plan  # beside the facts: no policy reads it, who reads the decision does
    record = DecisionRecord(
        account=run.account,
        subject=f"run/{run.id}",
        generation=run.generation,
        question=question,
        operation=run.id,
        inputs=stood_on,
        tzdata=decision.tzdata,
        at=decision.at,
        decision=decision.outcome,
        tree=said["reasons"],
        next_check=decision.next_check,
    )
    stored = await events.record_decision(session, record)
    checked = {"question": question, "outcome": decision.outcome, "policies": [p.name for p in policies]}
    await tell(session, run, EventName.POLICY_CHECK, "", {**checked, "decision": stored})
    return decision, stored


async def request_approval(session: Session, run: Run, decision: Decision, at: datetime) -> ApprovalRequest:
    """Open the run's request for what the decision still needs, bound to its digest."""
    need = decision.approvals[0]
    made = await approvals.insert_request(
        session,
        account=run.account,
        run=run.id,
        digest=run.digest or "",
        needed=max(n.needed for n in decision.approvals),
        groups=need.groups,
        policy=", ".join(n.policy for n in decision.approvals),
        expires=need.expires_at or at + DEFAULT_EXPIRY,
    )
    payload = {"digest": made.digest, "needed": made.needed, "groups": list(made.groups)}
    await tell(session, run, EventName.APPROVAL_REQUIRED, made.id, payload)
    return made
