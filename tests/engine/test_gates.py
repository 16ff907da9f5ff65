"""engine rule 8: between what was approved and what is applied, whatever moves voids."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from stackly import clock
from stackly.engine.activities.runs import Runs
from stackly.engine.contracts.control import Boundary, Claim
from stackly.engine.digests import plan_digest
from stackly.engine.policies import PolicyBook
from stackly.policy.model import Policy
from stackly.runs import service
from stackly.spec.runs import RunKind, RunStatus
from tests.engine.deploying import NEEDS_ONE, NEEDS_TWO, Deploy, Policies, vote
from tests.engine.rows import Rows


@pytest.fixture
async def deploy(rows: Rows, tmp_path: Path) -> Deploy:
    """A deploy that waits at its gate for one approval."""
    made = Deploy(rows, Policies(tmp_path).say(NEEDS_ONE))
    assert (await made.planned()).answer == "wait"
    return made


async def test_the_approved_digest_is_what_is_applied(deploy: Deploy) -> None:
    request = await vote(deploy.rows, await deploy.run(), "ada")
    assert (await deploy.gate()).answer == "apply"
    run = await deploy.run()
    assert run.status is RunStatus.APPLYING
    assert run.spec["plan"]["plan_sha256"] == "p" * 64
    bound = deploy.policies.book.current(run.spec["policies"])
    assert run.digest == request.digest == plan_digest(run.commit, run.spec, bound, run.spec["plan"])
    assert await deploy.request() == "approved"


async def test_a_policy_that_changed_after_the_vote_voids(deploy: Deploy) -> None:
    await vote(deploy.rows, await deploy.run(), "ada")
    deploy.policies.say(NEEDS_TWO)
    assert (await deploy.gate()).answer == "plan"
    assert await deploy.request() == "void"
    assert (await deploy.run()).status is RunStatus.PLANNING
    assert (await deploy.recorded("q" * 64)).answer == "wait", "the vote was on another digest"


class Remembered(PolicyBook):
    """Mutation: policies as they were when the run was made."""

    def current(self, bound: Sequence[Mapping[str, Any]]) -> list[Policy]:
        return [Policy.from_json(b["policy"]) for b in bound]


async def test_without_reading_policies_anew_the_gate_would_open(deploy: Deploy) -> None:
    """Negative control."""
    deploy.runs = Runs(deploy.rows.transactions, Remembered([]))
    await vote(deploy.rows, await deploy.run(), "ada")
    deploy.policies.say(NEEDS_TWO)
    assert (await deploy.gate()).answer == "apply"


async def test_a_state_that_moved_after_the_vote_is_planned_anew(deploy: Deploy) -> None:
    run = await deploy.run()
    await vote(deploy.rows, run, "ada")
    await deploy.rows.execute("UPDATE stack_states SET serial = 7 WHERE id = :s", s=run.state)
    assert (await deploy.gate()).answer == "plan"
    begun = await deploy.runs.begin(Claim(deploy.id, "first"))
    assert begun.plans == 2, "a workflow that is started anew does not return to the plan that moved"


async def test_a_second_plan_is_another_iteration_of_its_phase(deploy: Deploy) -> None:
    run = await deploy.run()
    rows = deploy.rows

    async def boundary(end: str, start: str) -> None:
        await deploy.runs.boundary(Boundary(run.id, "", clock.iso(run.created_at), end=end, start=start))

    async def phases() -> list[tuple[str, str, int]]:
        async with rows.transactions() as session:
            found = await session.execute(text("SELECT name, status, iterations FROM phases ORDER BY name"))
            return [(r.name, r.status, r.iterations) for r in found]

    await boundary("", "plan")
    await boundary("plan", "approve")
    await vote(rows, run, "ada")
    deploy.policies.say(NEEDS_TWO)
    await deploy.gate()
    await boundary("approve", "plan")
    assert await phases() == [("approve", "succeeded", 1), ("plan", "running", 2)]
    await boundary("plan", "approve")
    await boundary("", "plan")  # started anew from its row
    assert await phases() == [("approve", "running", 2), ("plan", "succeeded", 2)]


async def test_a_cancel_between_vote_and_gate_wins(deploy: Deploy) -> None:
    await vote(deploy.rows, await deploy.run(), "ada")
    async with deploy.rows.transactions() as session:
        await service.cancel(session, deploy.rows.account, deploy.id, actor="bob")
    assert (await deploy.gate()).answer == "stop"
    assert (await deploy.recorded()).answer == "stop"


async def test_a_denial_rejects(deploy: Deploy) -> None:
    await vote(deploy.rows, await deploy.run(), "ada", "deny")
    assert (await deploy.gate()).answer == "stop"
    assert (await deploy.run()).status is RunStatus.REJECTED
    assert await deploy.request() == "denied"


async def test_a_newer_push_frees_the_state_before_the_gate(deploy: Deploy) -> None:
    newer = await deploy.rows.asked(2, RunKind.DEPLOY)
    await deploy.rows.drained()
    assert (await deploy.run()).status is RunStatus.SUPERSEDED
    assert (await deploy.rows.run(newer.id)).status is RunStatus.STARTING
    assert (await deploy.gate()).answer == "stop"


async def test_a_newer_push_waits_behind_the_gate(deploy: Deploy) -> None:
    await vote(deploy.rows, await deploy.run(), "ada")
    assert (await deploy.gate()).answer == "apply"
    newer = await deploy.rows.asked(2, RunKind.DEPLOY)
    await deploy.rows.drained()
    assert (await deploy.run()).status is RunStatus.APPLYING
    assert (await deploy.rows.run(newer.id)).status is RunStatus.QUEUED


async def test_behind_the_gate_a_workflow_started_anew_goes_on(deploy: Deploy) -> None:
    """Rule 19. It was red: the run failed, as an applying run cannot pass its gate again."""
    await vote(deploy.rows, await deploy.run(), "ada")
    assert (await deploy.gate()).answer == "apply"
    deploy.policies.say(NEEDS_TWO)
    assert (await deploy.recorded()).answer == "apply"
    assert (await deploy.run()).status is RunStatus.APPLYING
