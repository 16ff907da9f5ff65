import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stackly.policy import canonical, windows
from stackly.policy.evaluate import decide, inputs, replay
from stackly.policy.model import ApprovalRule, Decision, Deny, Facts, Hours, Policy, Quota, VoteFact, Window
from stackly.policy.parse import policies

MONDAY_10 = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
SATURDAY = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
ROOT = Path(__file__).parents[2]

(WINDOW,) = policies((ROOT / "policies/deployment_window.hcl").read_text(), "deployment_window.hcl")
(APPROVAL,) = policies((ROOT / "policies/production_approval.hcl").read_text(), "production_approval.hcl")


def facts(**given_facts: object) -> Facts:
    base = Facts(
        now=MONDAY_10,
        account="acme",
        stack="example",
        repo="acme/db",
        kind="deploy",
        environment="prod",
        branch="main",
        default_branch="main",
        trigger_kind="push",
        author="Ann",
        committer="carl",
        pusher="pete",
        actor="pete",
        digest="d1",
    )
    return replace(base, **given_facts)  # type: ignore[arg-type]


def vote(person: str, value: str = "approve", *groups: str, **more: object) -> VoteFact:
    made = VoteFact(person, groups or ("platform-admins",), value)
    return replace(made, **more)  # type: ignore[arg-type]


def outcomes(decision: Decision) -> list[tuple[str, str]]:
    return [(reason.rule, reason.outcome) for reason in decision.reasons]


def test_the_shipped_window_holds_on_saturday_and_names_monday_nine() -> None:
    decision = decide([WINDOW], facts(now=SATURDAY), "apply")
    opening = datetime(2026, 11, 23, 9, tzinfo=UTC)
    assert (decision.outcome, decision.not_before, decision.next_check) == ("hold", opening, opening)
    assert decide([WINDOW], facts(now=opening), "apply").outcome == "allow"
    assert decision.tzdata == windows.tzdata_version()


def test_on_violation_deny_rejects() -> None:
    strict = replace(WINDOW, on_violation="deny")
    decision = decide([strict], facts(now=SATURDAY), "apply")
    assert (decision.outcome, decision.next_check) == ("deny", None)
    assert decision.flips[0].at == datetime(2026, 11, 23, 9, tzinfo=UTC)


@pytest.mark.parametrize("kind", ["destroy", "preview", "drift_check"])
def test_no_window_keeps_a_teardown_or_a_look_waiting(kind: str) -> None:
    assert decide([WINDOW], facts(now=SATURDAY, kind=kind), "apply").outcome == "allow"


def test_an_obligation_is_carried_out_whatever_the_policies_say() -> None:
    shut = Policy("all", schedule=Window(deny=(Deny("ever"),)), approval=ApprovalRule(), quota=Quota(runs=0))
    assert decide([shut], facts(kind="destroy", counts={"runs": 0}, asks={"runs": 1}), "teardown").outcome == "allow"


def test_a_person_s_destroy_of_production_still_needs_its_approval() -> None:
    assert decide([APPROVAL], facts(kind="destroy", now=SATURDAY), "apply").outcome == "hold"


def test_the_expected_duration_must_fit() -> None:
    late = facts(now=datetime(2026, 11, 23, 16, 30, tzinfo=UTC), expected_duration_s=1801)
    decision = decide([WINDOW], late, "apply")
    assert (decision.outcome, decision.not_before) == ("hold", datetime(2026, 11, 24, 9, tzinfo=UTC))
    assert decide([WINDOW], replace(late, expected_duration_s=1800), "apply").outcome == "allow"
    never = decide([WINDOW], replace(late, expected_duration_s=9 * 3600), "apply")
    assert (never.outcome, never.not_before, never.flips[0].change) == ("hold", None, "edit")
    assert never.next_check is not None


def test_one_of_two_approvers_is_not_enough() -> None:
    one = decide([APPROVAL], facts(votes=(vote("zoe"),)), "apply")
    assert (one.outcome, one.approvals[0].given, one.reasons[0].needed) == ("hold", ("zoe",), 1)
    two = decide([APPROVAL], facts(votes=(vote("zoe"), vote("yan"))), "apply")
    assert (two.outcome, two.approvals[0].given, two.flips) == ("allow", ("yan", "zoe"), ())


@pytest.mark.parametrize(
    ("votes", "why"),
    [
        ((vote("zoe"), vote("Zoe")), "the same person twice"),
        ((vote("zoe"), vote("ann")), "the author"),
        ((vote("zoe"), vote("CARL")), "the committer"),
        ((vote("zoe"), vote("pete")), "the pusher"),
        ((vote("zoe"), vote("yan", "approve", "developers")), "outside the groups"),
        ((vote("zoe"), vote("yan", digest="d0")), "on an older digest"),
    ],
)
def test_votes_that_do_not_count(votes: tuple[VoteFact, ...], why: str) -> None:
    decision = decide([APPROVAL], facts(votes=votes), "apply")
    assert decision.outcome == "hold", why
    assert [person.casefold() for person in decision.approvals[0].given] == ["zoe"]


def test_whoever_started_it_and_whoever_took_part_may_not_approve_it() -> None:
    started = facts(actor="zoe", contributors=("yan",), votes=(vote("zoe"), vote("yan")))
    assert decide([APPROVAL], started, "apply").approvals[0].given == ()


def test_where_nobody_is_known_to_have_pushed_one_approval_more_is_asked_for() -> None:
    one, two, three = vote("zoe"), vote("yan"), vote("xia")
    unknown = facts(pusher=None, actor=None, is_pusher_unknown=True, votes=(one, two))
    held = decide([APPROVAL], unknown, "apply")
    assert (held.outcome, held.approvals[0].needed) == ("hold", 3)
    assert "nobody is known to have pushed it" in held.reasons[-1].text
    allowed = decide([APPROVAL], replace(unknown, votes=(one, two, three)), "apply")
    assert allowed.outcome == "allow"
    assert "nobody is known to have pushed it" in allowed.reasons[-1].text
    assert decide([APPROVAL], facts(votes=(one, two)), "apply").outcome == "allow"


def test_a_denial_ends_it_over_any_number_of_approvals() -> None:
    votes = (vote("zoe"), vote("yan"), vote("xia", "deny"))
    assert decide([APPROVAL], facts(votes=votes), "apply").outcome == "deny"
    stranger = (vote("zoe"), vote("yan"), vote("xia", "deny", "developers"))
    assert decide([APPROVAL], facts(votes=stranger), "apply").outcome == "allow"


def test_the_newest_vote_of_a_person_counts_and_an_old_digest_never_replaces_it() -> None:
    sooner, later = MONDAY_10 - timedelta(hours=2), MONDAY_10 - timedelta(hours=1)
    changed = (vote("zoe", "deny", at=sooner), vote("zoe", at=later), vote("yan"))
    assert decide([APPROVAL], facts(votes=changed), "apply").outcome == "allow"
    stale = (vote("zoe", digest="d1", at=sooner), vote("zoe", "deny", digest="d0", at=later), vote("yan"))
    assert decide([APPROVAL], facts(votes=stale), "apply").outcome == "allow"


def test_a_request_expires_without_its_quorum() -> None:
    rule = Policy("p", approval=ApprovalRule(min_approvers=1, expires_s=3600))
    open_until = MONDAY_10 + timedelta(hours=1)
    waiting = decide([rule], facts(requested_at=MONDAY_10), "apply")
    assert (waiting.outcome, waiting.next_check, waiting.approvals[0].expires_at) == ("hold", open_until, open_until)
    assert decide([rule], facts(requested_at=MONDAY_10, now=open_until), "apply").outcome == "deny"


def test_an_environment_s_policy_is_silent_elsewhere() -> None:
    for environment in ("staging", None, "Prod"):
        decision = decide([APPROVAL], facts(environment=environment), "apply")
        assert (decision.outcome, outcomes(decision)) == ("allow", [("environment", "allow")])


def test_window_and_approval_give_one_decision_with_both_reasons() -> None:
    decision = decide([WINDOW, APPROVAL], facts(now=SATURDAY), "apply")
    assert decision.outcome == "hold"
    assert outcomes(decision) == [("window", "hold"), ("approval", "hold")]
    assert decision.not_before == datetime(2026, 11, 23, 9, tzinfo=UTC)
    assert [(flip.change, flip.count) for flip in decision.flips] == [("wait", None), ("approve", 2)]
    assert decision.policies == (WINDOW.digest, APPROVAL.digest)


def test_admission_of_a_deploy_does_not_wait_for_approval_of_a_plan_that_does_not_exist() -> None:
    assert decide([APPROVAL], facts(), "admit").outcome == "allow"
    assert decide([APPROVAL], facts(kind="benchmark"), "admit").outcome == "hold"


def test_a_decision_counts_approvals_in_plain_words() -> None:
    def said(approvers: int, question: str, **given_facts: object) -> str:
        rule = Policy("p", approval=ApprovalRule(min_approvers=approvers, expires_s=3600))
        decision = decide([rule], facts(**given_facts), question)
        return "\n".join([decision.reasons[0].text, *(flip.text for flip in decision.flips)])

    assert said(1, "admit") == "1 approval will be asked for when the plan is known"
    assert said(2, "admit") == "2 approvals will be asked for when the plan is known"
    unknown = said(2, "admit", pusher=None, is_pusher_unknown=True)
    assert unknown.startswith("3 approvals will be asked for"), "as many as will be"
    assert "nobody is known to have pushed it" in unknown
    assert said(1, "apply") == "0 of 1 approval\n1 more approval"
    assert said(2, "apply") == "0 of 2 approvals\n2 more approvals"
    assert said(1, "apply", requested_at=MONDAY_10 - timedelta(hours=2)).endswith("start it again and get 1 approval")


def test_waiting_for_one_window_must_not_close_another() -> None:
    weekend = Policy("weekend", schedule=Window(days=(5, 6)))
    mornings = Policy("mornings", schedule=Window((Hours(480, 600),)))
    decision = decide([weekend, mornings], facts(now=datetime(2026, 11, 22, 23, tzinfo=UTC)), "apply")
    assert decision.not_before == datetime(2026, 11, 28, 8, tzinfo=UTC)


def test_quota_queues_what_will_fit_and_denies_what_never_can() -> None:
    quota = Policy("q", quota=Quota(machines=10))
    full = decide([quota], facts(counts={"machines": 8}, asks={"machines": 3}), "admit")
    assert (full.outcome, full.flips[0].count) == ("hold", 1)
    assert decide([quota], facts(counts={"machines": 7}, asks={"machines": 3}), "admit").outcome == "allow"
    assert decide([quota], facts(counts={"machines": 0}, asks={"machines": 11}), "admit").outcome == "deny"


def test_what_nobody_counted_is_never_recorded_as_a_number() -> None:
    quota = Policy("q", quota=Quota(machines=10, cores=1))
    for uncounted in (facts(), facts(asks={"machines": 3}), facts(counts={"machines": 8})):
        decision = decide([quota], uncounted, "admit")
        assert [r.text for r in decision.reasons] == [
            "machines: 10 allowed, and this release counts none",
            "cores: 1 allowed, and this release counts none",
        ]


def test_an_error_in_one_policy_holds_and_is_shown_beside_the_others() -> None:
    broken = Policy("broken", schedule=Window(timezone="Mars/Base"))
    decision = decide([APPROVAL, broken], facts(votes=(vote("zoe"), vote("yan"))), "apply")
    assert outcomes(decision) == [("approval", "allow"), ("error", "hold")]
    assert decision.outcome == "hold"
    assert "Mars/Base" in decision.reasons[1].text
    odd = decide([APPROVAL], facts(votes=(vote("zoe", "maybe"),)), "apply")
    assert outcomes(odd) == [("error", "hold")]


def test_without_a_policy_it_is_allowed_and_says_so() -> None:
    decision = decide([], facts(), "apply")
    assert (decision.outcome, decision.reasons[0].rule) == ("allow", "none")


_people = st.sampled_from(["ann", "carl", "pete", "zoe", "yan", "xia", "wim"])
_votes = st.lists(
    st.builds(
        VoteFact,
        person=_people,
        groups=st.lists(st.sampled_from(["platform-admins", "developers"]), max_size=2, unique=True).map(tuple),
        value=st.sampled_from(["approve", "approve", "approve", "deny"]),
        digest=st.sampled_from([None, "d1", "d0"]),
        at=st.none() | st.integers(1, 20).map(lambda hours: MONDAY_10 - timedelta(hours=hours)),
    ),
    max_size=6,
).map(tuple)
_hours = st.sampled_from([Hours(540, 1020), Hours(1320, 360), Hours(0, 1440), Hours(0, 60)])
_windows = st.builds(
    Window,
    hours=st.tuples(_hours),
    days=st.sampled_from([(0, 1, 2, 3, 4), (5, 6), (0, 1, 2, 3, 4, 5, 6)]),
    timezone=st.sampled_from(["UTC", "Europe/Berlin", "Mars/Base"]),
)
_rules = st.builds(
    ApprovalRule,
    required=st.sampled_from([True, True, False]),
    min_approvers=st.integers(1, 3),
    allowed_groups=st.sampled_from([(), ("platform-admins",)]),
    expires_s=st.sampled_from([None, 3600]),
)
_policies = st.lists(
    st.builds(
        Policy,
        name=st.sampled_from(["a", "b", "c"]),
        environment=st.sampled_from([None, "prod", "staging"]),
        schedule=st.none() | _windows,
        approval=st.none() | _rules,
        quota=st.sampled_from([None, Quota(machines=5)]),
        on_violation=st.sampled_from(["queue", "deny"]),
    ),
    max_size=3,
)
_facts = st.builds(
    facts,
    now=st.integers(0, 15 * 1440).map(lambda m: datetime(2026, 3, 20, tzinfo=UTC) + timedelta(minutes=m)),
    kind=st.sampled_from(["deploy", "benchmark", "destroy", "preview"]),
    environment=st.sampled_from(["prod", None]),
    expected_duration_s=st.sampled_from([None, 1800, 30000]),
    votes=_votes,
    counts=st.sampled_from([{}, {"machines": 4}]),
    asks=st.sampled_from([{}, {"machines": 2}, {"machines": 9}]),
    requested_at=st.sampled_from([None, datetime(2026, 3, 25, tzinfo=UTC)]),
)
_questions = st.sampled_from(["admit", "apply", "teardown"])


@given(_policies, _facts, _questions)
@settings(max_examples=150, deadline=None)
def test_a_decision_replays_bit_for_bit_from_what_was_stored(
    asked: Sequence[Policy], known: Facts, question: str
) -> None:
    decision = decide(asked, known, question)
    stored = json.loads(canonical.text(inputs(asked, known, question)))
    assert replay(stored).canonical() == decision.canonical()
    assert Decision.from_json(decision.as_json()) == decision


@given(_policies, _facts, _questions)
@settings(max_examples=150, deadline=None)
def test_the_outcome_is_the_strictest_reason_and_a_policy_more_never_loosens_it(
    asked: Sequence[Policy], known: Facts, question: str
) -> None:
    rank = ["allow", "hold", "deny"]
    decision = decide(asked, known, question)
    assert decision.outcome == max((r.outcome for r in decision.reasons), key=rank.index)
    assert (decision.next_check is not None) or decision.outcome != "hold"
    for cut in range(len(asked)):
        fewer = decide([*asked[:cut], *asked[cut + 1 :]], known, question)
        assert rank.index(fewer.outcome) <= rank.index(decision.outcome)
    if known.kind == "destroy":
        assert not any(r.rule in ("window", "quota") for r in decision.reasons)
    if decision.not_before is not None:
        assert decision.not_before > known.now


@given(_policies, _facts)
@settings(max_examples=150, deadline=None)
def test_doing_everything_a_decision_asks_for_makes_it_an_allow(asked: Sequence[Policy], known: Facts) -> None:
    """The answer to `what would change that` is tried out."""
    decision = decide(asked, known, "apply")
    if any(flip.change in ("edit", "fix") for flip in decision.flips):
        return
    then = known
    for flip in decision.flips:
        if flip.change == "wait":
            assert flip.at is not None
            then = replace(then, now=max(then.now, flip.at))
        elif flip.change == "approve":
            helpers = tuple(vote(f"helper{n}", digest="d1") for n in range(flip.count or 0))
            known_helpers = {v.person for v in then.votes}
            then = replace(then, votes=then.votes + tuple(h for h in helpers if h.person not in known_helpers))
        elif flip.change == "withdraw":
            then = replace(then, votes=tuple(v for v in then.votes if v.value != "deny"))
        elif flip.change == "shrink":
            then = replace(then, asks={"machines": 5}, counts={})
        elif flip.change == "free":
            then = replace(then, counts={"machines": known.counts["machines"] - (flip.count or 0)})
    then = replace(then, requested_at=None)
    assert decide(asked, then, "apply").outcome == "allow", decision.flips
