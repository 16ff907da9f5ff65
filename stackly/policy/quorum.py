"""Counting votes: distinct people, with the membership they have now, and nobody judging their own change."""

from dataclasses import dataclass

from stackly.policy.model import ApprovalRule, Facts, VoteFact

# Who is in this group is in all of them: the administrator of a platform on one machine.
EVERY_GROUP = "*"


@dataclass(frozen=True, slots=True)
class Tally:
    """Shape: `given` and `denied` are people, sorted; `ignored` says of each vote that does not count, why."""

    given: tuple[str, ...]
    denied: tuple[str, ...]
    ignored: tuple[str, ...]


def tally(rule: ApprovalRule, facts: Facts) -> Tally:
    """A denial by someone behind the change counts, their approval does not: both are the careful answer."""
    involved = facts.involved()
    given: dict[str, str] = {}
    denied: dict[str, str] = {}
    ignored: list[str] = []
    for vote in _newest(facts):
        person = vote.person.casefold()
        if rule.allowed_groups and not {EVERY_GROUP, *rule.allowed_groups} & set(vote.groups):
            ignored.append(f"the vote of {vote.person} does not count: in none of the groups now")
        elif vote.digest is not None and vote.digest != facts.digest:
            ignored.append(f"the vote of {vote.person} does not count: it was on something else")
        elif vote.value == "deny":
            denied[person] = vote.person
        elif vote.value != "approve":
            raise ValueError(f"a vote is approve or deny, not {vote.value!r}")
        elif person in involved:
            ignored.append(f"the vote of {vote.person} does not count: nobody approves their own change")
        else:
            given[person] = vote.person
    return Tally(_names(given), _names(denied), tuple(sorted(ignored)))


def _names(people: dict[str, str]) -> tuple[str, ...]:
    return tuple(people[key] for key in sorted(people))


def _newest(facts: Facts) -> list[VoteFact]:
    """One vote a person on what is decided now; of several the newest, of equally old ones the later in the list.

    A vote on another digest never replaces one on this digest.
    """
    newest: dict[str, VoteFact] = {}
    for vote in facts.votes:
        key = vote.person.casefold()
        before = newest.get(key)
        if before is None or _weight(vote, facts) >= _weight(before, facts):
            newest[key] = vote
    return list(newest.values())


def _weight(vote: VoteFact, facts: Facts) -> tuple[bool, float]:
    return vote.digest is None or vote.digest == facts.digest, vote.at.timestamp() if vote.at else 0.0
