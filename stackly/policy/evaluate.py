"""Policies and facts in, one decision out. No clock, no I/O: the same inputs give the same bits.

Three values, deny > hold > allow. What goes wrong inside a policy holds the run and says so: an error never allows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from stackly.policy import canonical, windows
from stackly.policy.model import (
    ALLOW,
    DENY,
    HOLD,
    ApprovalNeed,
    ApprovalRule,
    Decision,
    Facts,
    Flip,
    Policy,
    Quota,
    Reason,
    Window,
)
from stackly.policy.quorum import tally
from stackly.spec.runs import MUTATING, RunKind
from stackly.words import counted

# Which rules speak about which kind of run. A preview and a drift check change nothing; a destroy is the safe
# direction, so neither a window nor a quota may keep infrastructure alive.
WINDOWED = frozenset({RunKind.DEPLOY, RunKind.BENCHMARK})
APPROVED = MUTATING
COUNTED = frozenset(RunKind) - {RunKind.DESTROY}

# Questions. `admit`: may the run start? `apply`: may what was planned be carried out? `teardown`: an obligation is
# carried out; nothing may stop it. Any other question is judged like `apply`.
ADMIT, APPLY, TEARDOWN = "admit", "apply", "teardown"

# These are approved on their plan, which does not exist before they were admitted.
PLANNED = frozenset({RunKind.DEPLOY, RunKind.DESTROY})

RECHECK = timedelta(hours=1)
_RANK = {ALLOW: 0, HOLD: 1, DENY: 2}
_QUOTAS = ("runs", "machines", "cores", "runs_per_event")


@dataclass(frozen=True, slots=True)
class _Found:
    """What one policy says."""

    reasons: tuple[Reason, ...] = ()
    flips: tuple[Flip, ...] = ()
    needs: tuple[ApprovalNeed, ...] = ()
    checks: tuple[datetime, ...] = ()
    blocked_by: tuple[Window, ...] = ()
    windows: tuple[Window, ...] = ()

    def __add__(self, other: "_Found") -> "_Found":
        return _Found(
            self.reasons + other.reasons,
            self.flips + other.flips,
            self.needs + other.needs,
            self.checks + other.checks,
            self.blocked_by + other.blocked_by,
            self.windows + other.windows,
        )


def decide(policies: Sequence[Policy], facts: Facts, question: str) -> Decision:
    """One decision over all policies; teardown is never blocked by a window or a quota."""
    found = _Found()
    for policy in policies:
        found += _judge(policy, facts, question)
    if not found.reasons:
        found += _Found(reasons=(Reason("", ALLOW, "none", "no policy is attached"),))
    outcome = max((reason.outcome for reason in found.reasons), key=_RANK.__getitem__)
    joint = _joint(found, facts)
    not_before = joint if outcome == HOLD else None
    return Decision(
        outcome=outcome,
        question=question,
        at=facts.now,
        reasons=found.reasons,
        tzdata=windows.tzdata_version(),
        not_before=not_before,
        next_check=_next_check(outcome, not_before, found, facts),
        approvals=found.needs,
        policies=tuple(_digest(policy) for policy in policies),
        flips=tuple(_settled(flip, joint) for flip in found.flips) if outcome != ALLOW else (),
    )


def replay(inputs: dict[str, Any]) -> Decision:
    """Decide again from what `inputs` stored. Raises: KeyError, TypeError, ValueError on other data."""
    policies = [Policy.from_json(policy) for policy in inputs["policies"]]
    return decide(policies, Facts.from_json(inputs["facts"]), inputs["question"])


def inputs(policies: Sequence[Policy], facts: Facts, question: str) -> dict[str, Any]:
    """Everything `replay` needs, as JSON, for the record of the decision."""
    return {"policies": [policy.as_json() for policy in policies], "facts": facts.as_json(), "question": question}


def _digest(policy: Policy) -> str:
    try:
        return policy.digest
    except Exception:  # noqa: BLE001 - a policy that cannot be hashed already holds the run, visibly
        return "unreadable"


def _judge(policy: Policy, facts: Facts, question: str) -> _Found:
    try:
        policy.digest  # noqa: B018 - a policy that cannot be recorded must not decide
        return _rules(policy, facts, question)
    except Exception as wrong:  # noqa: BLE001 - an error inside one policy holds, and is shown; it never allows
        said = f"the policy could not be judged: {type(wrong).__name__}: {wrong}"
        return _Found(
            reasons=(Reason(policy.name, HOLD, "error", said),),
            flips=(Flip(policy.name, "fix", "repair the policy"),),
        )


def _rules(policy: Policy, facts: Facts, question: str) -> _Found:
    if policy.environment is not None and policy.environment != facts.environment:
        here = facts.environment or "none"
        said = f"applies to environment {policy.environment} only; this is {here}"
        return _Found(reasons=(Reason(policy.name, ALLOW, "environment", said),))
    found = _Found()
    if question != TEARDOWN:
        if policy.schedule is not None and facts.kind in WINDOWED:
            found += _window(policy, policy.schedule, facts)
        if policy.quota is not None and facts.kind in COUNTED:
            found += _quota(policy, policy.quota, facts)
        if policy.approval is not None and policy.approval.required and facts.kind in APPROVED:
            found += _approval(policy, policy.approval, facts, question)
    if found.reasons:
        return found
    return _Found(reasons=(Reason(policy.name, ALLOW, "kind", f"has no rule for a {facts.kind} at {question}"),))


def _window(policy: Policy, window: Window, facts: Facts) -> _Found:
    need = facts.expected_duration_s
    fit = windows.next_fit(window, facts.now, need)
    if fit == facts.now:
        closing = windows.closes_at(window, facts.now)
        said = f"open until {_local(closing, window)}" if closing else "always open"
        reason = Reason(policy.name, ALLOW, "window", said)
        return _Found(reasons=(reason,), checks=(closing,) if closing else (), windows=(window,))
    why = windows.closing_rule(window, facts.now) or f"closes before the expected {_length(need or 0)} are over"
    when = f"opens {_local(fit, window)}" if fit else "no later opening is long enough"
    outcome = DENY if policy.on_violation == "deny" else HOLD
    reason = Reason(policy.name, outcome, "window", f"{why}; {when}", not_before=fit)
    flip = (
        Flip(policy.name, "wait", f"wait until {_local(fit, window)}", at=fit)
        if fit
        else Flip(policy.name, "edit", "change the schedule: it leaves no time that is long enough")
    )
    return _Found(reasons=(reason,), flips=(flip,), blocked_by=(window,), windows=(window,))


def _quota(policy: Policy, quota: Quota, facts: Facts) -> _Found:
    found = _Found()
    for name in _QUOTAS:
        limit = getattr(quota, name)
        if limit is not None and name in facts.counts and name in facts.asks:
            found += _limit(policy, name, limit, facts)
        elif limit is not None:  # of an earlier release: what nobody counted is never recorded as 0
            said = f"{name.replace('_', ' ')}: {limit} allowed, and this release counts none"
            found += _Found(reasons=(Reason(policy.name, ALLOW, "quota", said),))
    return found


def _limit(policy: Policy, name: str, limit: int, facts: Facts) -> _Found:
    asked, used = facts.asks[name], facts.counts[name]
    shown = name.replace("_", " ")
    said = f"{shown}: {used} in use, {asked} asked, {limit} allowed"
    if used + asked <= limit:
        return _Found(reasons=(Reason(policy.name, ALLOW, "quota", said),))
    if asked > limit:  # waiting cannot help
        flip = Flip(policy.name, "shrink", f"ask for {asked - limit} {shown} less", count=asked - limit)
        return _Found(reasons=(Reason(policy.name, DENY, "quota", said),), flips=(flip,))
    over = used + asked - limit
    outcome = DENY if policy.on_violation == "deny" else HOLD
    flip = Flip(policy.name, "free", f"free {over} {shown}", count=over)
    return _Found(reasons=(Reason(policy.name, outcome, "quota", said),), flips=(flip,))


def _approval(policy: Policy, rule: ApprovalRule, facts: Facts, question: str) -> _Found:
    wanted = rule.min_approvers + facts.is_pusher_unknown
    # One of those who approve may be who pushed.
    unknown = "; nobody is known to have pushed it, so one approval more is asked for" * facts.is_pusher_unknown
    groups = f" from {', '.join(rule.allowed_groups)}" if rule.allowed_groups else ""
    if question == ADMIT and facts.kind in PLANNED:
        said = f"{counted(wanted, 'approval')}{groups} will be asked for when the plan is known{unknown}"
        return _Found(reasons=(Reason(policy.name, ALLOW, "approval", said),))
    count = tally(rule, facts)
    expires = facts.requested_at + timedelta(seconds=rule.expires_s) if facts.requested_at and rule.expires_s else None
    need = ApprovalNeed(policy.name, wanted, count.given, rule.allowed_groups, expires)
    missing = wanted - len(count.given)
    more = f"{counted(missing, 'more approval')}{groups}"
    ignored = unknown + "".join(f"; {why}" for why in count.ignored)
    if count.denied:
        said = f"denied by {', '.join(count.denied)}"
        flips: tuple[Flip, ...] = (
            Flip(policy.name, "withdraw", f"{said}: ask anew with a new run", count=len(count.denied)),
        )
        if missing > 0:
            flips += (Flip(policy.name, "approve", more, count=missing),)
        return _Found((Reason(policy.name, DENY, "approval", said + ignored),), flips, (need,))
    if missing <= 0:
        said = f"approved by {', '.join(count.given)}"
        return _Found(reasons=(Reason(policy.name, ALLOW, "approval", said + ignored),), needs=(need,))
    flip = Flip(policy.name, "approve", more, count=missing)
    if expires is not None and facts.now >= expires:
        said = f"the request expired with {len(count.given)} of {counted(wanted, 'approval')}"
        flip = Flip(
            policy.name, "approve", f"start it again and get {counted(wanted, 'approval')}{groups}", count=missing
        )
        return _Found((Reason(policy.name, DENY, "approval", said + ignored, needed=missing),), (flip,), (need,))
    said = f"{len(count.given)} of {counted(wanted, 'approval')}{groups}"
    reason = Reason(policy.name, HOLD, "approval", said + ignored, needed=missing)
    return _Found((reason,), (flip,), (need,), (expires,) if expires else ())


def _joint(found: _Found, facts: Facts) -> datetime | None:
    """When all windows allow it at once. Open ones count too: waiting for another may close them."""
    if not found.blocked_by:
        return None
    return windows.joint_fit(found.windows, facts.now, facts.expected_duration_s)


def _settled(flip: Flip, joint: datetime | None) -> Flip:
    """A single policy knows its own opening; what helps is the one that suits them all."""
    if flip.change != "wait":
        return flip
    if joint is None:
        return Flip(flip.policy, "edit", "change a schedule: the windows leave no time in common that is long enough")
    return flip if joint == flip.at else Flip(flip.policy, "wait", f"wait until {canonical.as_json(joint)}", at=joint)


def _next_check(outcome: str, not_before: datetime | None, found: _Found, facts: Facts) -> datetime | None:
    if outcome == DENY:
        return None
    moments = [*found.checks, *([not_before] if not_before else [])]
    later = [moment for moment in moments if moment > facts.now]
    if outcome == HOLD:
        return min(later, default=facts.now + RECHECK)
    return min(later, default=None)


def _local(at: datetime | None, window: Window) -> str:
    return at.astimezone(windows.zone(window.timezone)).strftime("%a %Y-%m-%d %H:%M %Z") if at else "never"


def _length(seconds: int) -> str:
    hours, rest = divmod(seconds, 3600)
    minutes, left = divmod(rest, 60)
    parts = ((hours, "h"), (minutes, "m"), (left, "s"))
    return " ".join(f"{number}{unit}" for number, unit in parts if number) or "0s"
