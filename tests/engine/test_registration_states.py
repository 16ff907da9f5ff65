"""One code, many states: each with variables, notes and a commit of its own (S3)."""

from sqlalchemy import text

from stackly import db
from stackly.runs import store as runs
from stackly.runs.model import RunEvent
from stackly.spec.runs import RunStatus
from stackly.stacks import store as stacks
from tests.engine.syncing import Syncing, plain


def _states(**told: str) -> str:
    return "\n".join(f'  state "{name}" {{\n    {inside}\n  }}' for name, inside in told.items())


async def _deployed(syncing: Syncing) -> None:
    """Every run that waits succeeds, and its state is at its commit."""
    for run in [r for r in await syncing.runs() if r.status is RunStatus.QUEUED]:
        async with syncing.transactions() as session:
            moved = await runs.get_run(session, run.id, lock=True)
            at = await db.now(session)
            moved = await runs.transition(session, moved, RunEvent.ADMIT, at=at, epoch=1)
            for event in (RunEvent.PLAN, RunEvent.APPLY, RunEvent.SUCCEED):
                moved = await runs.transition(session, moved, event, at=at)
            await session.execute(text("UPDATE stack_states SET status = 'active' WHERE id = :s"), {"s": run.state})
            await stacks.update_state(session, run.state, commit=run.commit)


async def test_three_states_at_two_commits(syncing: Syncing) -> None:
    first = await syncing.pushed(plain("a", "a", '  variables {\n    region = "eu"\n  }'))
    inside = '  variables {\n    region = "eu"\n  }\n' + _states(
        us='variables {\n      region = "us"\n      environment = "production"\n    }',
        old=f'commit = "{first}"\n    metadata {{\n      owner = "ada"\n    }}',
    )
    second = await syncing.pushed(plain("a", "a", inside, module='# newer\nvariable "region" {}\n'))
    code = await syncing.code("a")
    assert (code.status, code.errors) == ("active", ())
    states = await syncing.states(code.id)
    by_state = {r.state: r for r in await syncing.runs(code.id) if not r.is_terminal}
    at = {name: by_state[s.id] for name, s in states.items()}
    assert {name: r.commit for name, r in at.items()} == {"default": second, "us": second, "old": first}
    assert {name: r.spec["variables"]["region"] for name, r in at.items()} == {
        "default": "eu",
        "us": "us",
        "old": "eu",
    }
    assert {name: r.spec["environment"] for name, r in at.items()} == {"default": "", "us": "production", "old": ""}
    assert at["old"].spec["bundle"] != at["us"].spec["bundle"] == at["default"].spec["bundle"]
    assert len({s.key for s in states.values()}) == 3
    kept = await syncing.rows("SELECT name, variables, metadata FROM stack_states ORDER BY name")
    assert kept[1] == {"name": "old", "variables": {"region": "eu"}, "metadata": {"owner": "ada"}}
    assert kept[2]["variables"] == {"region": "us", "environment": "production"}
    await _deployed(syncing)
    assert {name: s.commit for name, s in (await syncing.states(code.id)).items()} == {
        "default": second,
        "us": second,
        "old": first,
    }


async def test_a_state_that_stays_at_its_commit_is_left_alone_by_pushes(syncing: Syncing) -> None:
    first = await syncing.pushed(plain("a", "a"))
    await syncing.pushed(plain("a", "a", _states(old=f'commit = "{first}"')))
    (waiting,) = [r for r in await syncing.runs() if r.commit == first and not r.is_terminal]
    await syncing.pushed({"a/main.tf": "# newer\n"})
    assert (await syncing.runs())[-1].commit == syncing.upstream.head
    assert {r.id: r.status for r in await syncing.runs()}[waiting.id] is RunStatus.QUEUED, "its turn is yet to come"
    await _deployed(syncing)
    last = await syncing.pushed({"a/main.tf": "# newest\n"})
    assert [r.commit for r in await syncing.runs() if not r.is_terminal] == [last]
    code = await syncing.code("a")
    assert f"state old stays at {first[:7]}" in await syncing.reasons(f"stack/{code.id}")
    other = plain("a", "a", _states(old=f'commit = "{first}"\n    variables {{\n      x = 1\n    }}'))
    await syncing.pushed(other)
    assert {r.spec["variables"].get("x") for r in await syncing.runs() if not r.is_terminal} == {None, 1}


async def test_a_commit_of_another_history_is_refused_with_its_place(syncing: Syncing) -> None:
    await syncing.pushed(plain("a", "a"))
    syncing.upstream.checkout("fork", new=True)
    foreign = await syncing.pushed({"a/main.tf": "# not reviewed\n"})
    syncing.upstream.checkout("main")
    await syncing.pushed(plain("a", "a", _states(bad=f'commit = "{foreign}"')))
    code = await syncing.code("a")
    (problem,) = code.errors
    assert (code.status, problem["file"], problem["line"]) == ("rejected", "a/stackly.hcl", 3)
    assert "not in the history" in problem["message"]
    await syncing.pushed(plain("a", "a", _states(bad='commit = "main"')))
    assert (await syncing.code("a")).status == "rejected", "a name is no commit"


async def test_a_state_that_is_declared_no_more_is_loose_and_comes_back(syncing: Syncing) -> None:
    both = _states(eu="variables {\n      r = 1\n    }", us="variables {\n      r = 2\n    }")
    await syncing.pushed(plain("a", "a", both))
    code = await syncing.code("a")
    await syncing.holds("a", "eu")
    await syncing.pushed(plain("a", "a", _states(us="variables {\n      r = 2\n    }")))
    states = await syncing.states(code.id)
    assert {n: s.status for n, s in states.items()} == {"default": "empty", "eu": "loose", "us": "empty"}
    assert f"stackly stack destroy {code.id} --state eu" in str(states["eu"].reason)
    assert (await syncing.code("a")).status == "active"
    assert [e["states"] for e in await syncing.events("stack_loosened")] == [["eu"]]
    waiting = {r.state for r in await syncing.runs() if not r.is_terminal}
    assert states["eu"].id not in waiting
    await syncing.pushed(plain("a", "a", both))
    assert (await syncing.states(code.id))["eu"].status == "active"


async def test_an_undeclared_state_is_no_reason_to_hold_a_broken_stack_against_it(syncing: Syncing) -> None:
    """A configuration that cannot be read declares nothing, and takes nothing away."""
    await syncing.pushed(plain("a", "a", _states(eu="variables {\n      r = 1\n    }")))
    state = await syncing.holds("a", "eu")
    await syncing.pushed(plain("a", "a", "bogus = 1"))
    code = await syncing.code("a")
    assert code.status == "rejected"
    assert {s.id: s.status for s in (await syncing.states(code.id)).values()}[state.id] == "active"
