"""What an open request still lacks: how many different people, and why so many."""

from pathlib import Path
from typing import Any

import pytest

from stackly.approvals import reads
from stackly.cli.approvals import show
from stackly.runs.model import Run
from stackly.spec.runs import RunKind
from tests.engine.deploying import NEEDS_TWO, Policies, under, vote
from tests.engine.rows import Rows


@pytest.fixture
def policies(tmp_path: Path) -> Policies:
    return Policies(tmp_path).say(NEEDS_TWO)


@pytest.fixture
async def held(rows: Rows, policies: Policies) -> Run:
    run = await under(rows, policies, RunKind.BENCHMARK)
    await rows.drained()
    return await rows.run(run.id)


async def asked(rows: Rows, run: Run) -> Any:
    async with rows.transactions() as session:
        one = await reads.approval_of(session, rows.account, run.id)
        (listed,) = await reads.list_approvals(session, rows.account, limit=10, after=None)
    assert (listed["approved"], listed.get("still_needed")) == (one["approved"], one.get("still_needed"))
    return one


async def test_a_quorum_of_two_names_two_people_and_who_is_none_of_them(rows: Rows, held: Run) -> None:
    found = await asked(rows, held)
    assert (found["approved"], found["still_needed"]) == (0, 2)
    assert found["why"] == [
        "policy agreed asks for 2 different people of dba",
        "octo may not approve: the change is theirs",
    ]
    text = show({**found, "plan": None})
    assert "still needed  2 more people" in text
    assert "octo may not approve" in text


async def test_a_vote_is_counted_before_the_next_decision(rows: Rows, held: Run) -> None:
    await vote(rows, held, "ada")
    found = await asked(rows, held)
    assert (found["approved"], found["still_needed"]) == (1, 1)
    assert "still needed  1 more person\n" in show({**found, "plan": None})


async def test_a_vote_that_does_not_count_is_not_called_an_approval(rows: Rows, held: Run) -> None:
    await vote(rows, held, "ada")
    await rows.execute("UPDATE identities SET groups = '{}' WHERE login = 'ada'")
    found = await asked(rows, held)
    assert (found["approved"], found["still_needed"]) == (0, 2)
    assert "the vote of ada does not count: in none of the groups now" in found["why"]


async def test_one_more_is_needed_where_nobody_is_known_to_have_pushed_and_it_says_why(
    rows: Rows, policies: Policies
) -> None:
    run = await under(rows, policies, RunKind.BENCHMARK)
    await rows.execute("""UPDATE operations SET trigger = '{"kind": "push", "pusher": null}'""")
    await rows.drained()
    found = await asked(rows, run)
    assert (found["needed"], found["still_needed"]) == (3, 3)
    (why,) = found["why"]
    assert why.startswith("policy agreed asks for 2 different people of dba, and one more because nobody is known")


async def test_a_decision_that_this_release_does_not_read_leaves_the_votes(rows: Rows, held: Run) -> None:
    await vote(rows, held, "ada")
    await rows.execute("""UPDATE decisions SET inputs = '{"facts": {"of": "another release"}}'""")
    found = await asked(rows, held)
    assert (found["approved"], found.get("still_needed")) == (1, None)


async def test_what_was_answered_lacks_nobody(rows: Rows, held: Run) -> None:
    for login in ("ada", "bob"):
        await vote(rows, held, login)
    assert "nobody: the next decision" in show({**await asked(rows, held), "plan": None})
    await rows.drained()
    found = await asked(rows, held)
    assert (found["status"], found["approved"], found.get("still_needed")) == ("approved", 2, None)
