"""What an open request still lacks: how many different people, and why so many. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from stackly.approvals.model import Vote
from stackly.policy.evaluate import decide
from stackly.policy.model import ApprovalNeed, Facts, Policy
from stackly.policy.quorum import tally
from stackly.words import counted


@dataclass(frozen=True, slots=True)
class Outstanding:
    """Shape: `people` of those who have not approved yet; `why` are sentences."""

    people: int
    why: tuple[str, ...]


def outstanding(stood_on: Mapping[str, Any], votes: Sequence[Vote], digest: str) -> Outstanding | None:
    """Judged as the newest decision was, by the votes as they are now.

    Shape: None where that decision asked for no approval, or is written as this release does not read it.
    """
    try:
        policies = [Policy.from_json(each) for each in stood_on["policies"]]
        facts = Facts.from_json(stood_on["facts"])
        facts = replace(facts, votes=tuple(vote.fact(digest) for vote in votes))
        needs = decide(policies, facts, stood_on["question"]).approvals
    except (KeyError, TypeError, ValueError):
        return None
    if not needs:
        return None
    missing = {need: max(0, need.needed - len(need.given)) for need in needs}
    return Outstanding(max(missing.values()), tuple(_why(policies, facts, missing)))


def _why(policies: Sequence[Policy], facts: Facts, missing: Mapping[ApprovalNeed, int]) -> list[str]:
    said = [_asked(need, facts) for need, lacking in missing.items() if lacking]
    behind = _behind(facts)
    if behind:
        said.append(f"{', '.join(behind)} may not approve: the change is theirs")
    ignored = [tally(policy.approval, facts).ignored for policy in policies if policy.approval is not None]
    return [*said, *dict.fromkeys(why for each in ignored for why in each)] if said else []


def _asked(need: ApprovalNeed, facts: Facts) -> str:
    of = f" of {' or '.join(need.groups)}" if need.groups else ""
    asked = need.needed - facts.is_pusher_unknown
    said = f"policy {need.policy} asks for {counted(asked, 'person', 'different people')}{of}"
    more = ", and one more because nobody is known to have pushed this: one of them may be who did"
    return said + more * facts.is_pusher_unknown


def _behind(facts: Facts) -> list[str]:
    """Who may not approve, each once."""
    logins = (facts.author, facts.committer, facts.pusher, facts.actor, *facts.contributors)
    return list({login.casefold(): login for login in reversed(logins) if login}.values())[::-1]
