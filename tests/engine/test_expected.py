"""engine rule 23: what the table does not hold, or the gate did not let through, is executed by nobody."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from agent.worker import edge_hands, site_hands
from stackly import db
from stackly.engine import expecting, inputs
from stackly.engine.activities.runs import Runs
from stackly.engine.contracts.control import Asked, Claim, Expected
from stackly.runs import service, steps
from stackly.runs import tests as tests_store
from stackly.runs.expected import EXPECTED, SIDES, TEST
from stackly.runs.holds import Hold, Refusal
from stackly.runs.model import Run
from stackly.runs.steps import Begun, Verdict
from stackly.spec.runs import RunKind, RunStatus
from stackly.temporal.steps import StepKey, site_queue
from tests.engine import imaging
from tests.engine.deploying import NEEDS_ONE, Deploy, Policies, vote
from tests.engine.moving import Moving
from tests.engine.pretending import AGENT
from tests.engine.rows import Rows
from tests.engine.world import World, agents, control, dispatching, spec_of

Asks = set[tuple[str, str, str, str]]


@pytest.fixture
def asked_for(monkeypatch: pytest.MonkeyPatch) -> Asks:
    """Every (kind, status, phase, verb) in which a row was written."""
    seen: Asks = set()
    due = expecting.due_in

    async def watched(session: Any, hold: Hold, asked: Asked) -> str:
        phase = await due(session, hold, asked)
        kind, status = (hold.kind, hold.status) if hold.test_status is None else (TEST, hold.test_status)
        seen.add((kind, status, phase, asked.step.partition(" ")[0]))
        return phase

    monkeypatch.setattr(expecting, "due_in", watched)
    return seen


async def _everything(world: World) -> None:
    """Runs of every kind, each with every step that it may have."""
    spec = spec_of(world, RunKind.BENCHMARK)
    spec["suite"]["tests"][0]["measure"]["repeats_min"] = 2
    run = await world.asked(1, RunKind.BENCHMARK, spec=spec)
    assert (await world.ended(run.id)).status is RunStatus.SUCCEEDED
    world.agent.faults.gone["apply"] = 1
    moving = Moving(world)
    await moving.deployed("a", 1)
    await moving.moved("b", 2)
    assert (await moving.carried_out(await moving.preview())).status is RunStatus.SUCCEEDED
    await imaging.can_docker(world)
    run = await imaging.ask(world, [imaging.THERE], generation=9)
    assert (await world.ended(run.id)).status is RunStatus.SUCCEEDED


async def test_what_workflows_ask_for_is_the_table(world: World, asked_for: Asks) -> None:
    async with control(world), agents(world), dispatching(world):
        await _everything(world)
    assert asked_for == {(*where, verb) for where, verbs in EXPECTED.items() for verb in verbs}


class Idle:
    """Hands that exist."""

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def nothing(*_: Any) -> None:
            return

        return nothing


def test_each_step_of_the_table_has_a_side_an_input_and_a_hand() -> None:
    idle: Any = Idle()
    verbs = {verb for verbs in EXPECTED.values() for verb in verbs}
    assert verbs == set(SIDES) == set(inputs.BUILDERS)
    assert {v for v in verbs if SIDES[v].recovers} == set(site_hands(idle))
    assert {v for v in verbs if not SIDES[v].recovers} == set(edge_hands(idle))


@pytest.fixture
async def deploy(rows: Rows, tmp_path: Path) -> Deploy:
    """A deploy that waits at its gate for one approval."""
    made = Deploy(rows, Policies(tmp_path).say(NEEDS_ONE))
    assert (await made.planned()).answer == "wait"
    return made


async def ask(deploy: Deploy, step: str, test: str = "") -> Expected:
    return await deploy.runs.expect(Asked(deploy.id, test, step))


async def begin(deploy: Deploy, attempt: int = 1, process: str = "p", agent: str = AGENT) -> Begun:
    run = await deploy.run()
    async with deploy.rows.transactions() as session:
        return await steps.begin(session, StepKey(run.id, "", "apply", attempt, run.epoch or 0), agent, process)


async def open_phase(rows: Rows, run: str, phase: str) -> None:
    async with rows.transactions() as session:
        await tests_store.start_phase(session, run, "", phase, await db.now(session))


async def let_through(deploy: Deploy) -> Run:
    await vote(deploy.rows, await deploy.run(), "ada")
    assert (await deploy.gate()).answer == "apply"
    return await deploy.run()


@pytest.mark.parametrize("step", ["apply", "plan 1", "plan 2", "destroy", "remove", "inventory 1", "boot", "x", ""])
async def test_a_run_that_awaits_approval_gets_no_step(deploy: Deploy, step: str) -> None:
    found = await ask(deploy, step)
    assert (found.status, found.key) == ("refused", None)
    assert await deploy.rows.scalar("SELECT count(*) FROM steps") == 0
    assert (await begin(deploy)).refusal is Refusal.UNEXPECTED


async def test_the_gate_alone_writes_an_apply_and_it_names_the_plan(deploy: Deploy) -> None:
    run = await let_through(deploy)
    found = await ask(deploy, "apply")
    assert (found.status, found.queue) == ("expected", site_queue(AGENT))
    assert (await begin(deploy, agent="another")).refusal is Refusal.UNEXPECTED
    begun = await begin(deploy)
    assert begun.verdict is Verdict.GRANTED
    assert begun.given is not None
    assert (begun.given["plan_sha256"], begun.given["digest"]) == ("p" * 64, run.digest)


async def test_a_status_that_was_moved_past_the_gate_gets_no_apply(deploy: Deploy) -> None:
    await deploy.rows.execute("UPDATE operations SET status = 'applying'")
    await open_phase(deploy.rows, deploy.id, "apply")
    assert (await ask(deploy, "apply")).reason == "no plan was let through the gate"


async def test_another_plan_after_the_gate_changes_nothing(deploy: Deploy) -> None:
    await let_through(deploy)
    begun = await begin(deploy)
    assert (await deploy.recorded("q" * 64)).answer == "apply"
    assert (await deploy.gate()).answer == "apply"
    again = await begin(deploy)
    assert (again.verdict, again.given) == (Verdict.ATTACH, begun.given)
    assert (await begin(deploy, process="another life")).verdict is Verdict.GONE
    assert (await begin(deploy, attempt=2)).refusal is Refusal.UNEXPECTED
    assert await deploy.rows.scalar("SELECT count(*) FROM steps WHERE step = 'apply'") == 1


async def test_after_the_agent_was_lost_the_rest_is_planned_anew_within_what_was_approved(deploy: Deploy) -> None:
    await let_through(deploy)
    await begin(deploy)
    async with deploy.rows.transactions() as session:
        await steps.report_gone(session, AGENT, "the next life")
    await open_phase(deploy.rows, deploy.id, "apply")
    found = await ask(deploy, "apply")
    assert found.key is not None
    assert (found.status, found.key.attempt) == ("expected", 2)
    begun = await begin(deploy, attempt=2)
    assert begun.given is not None
    assert (begun.given["plan_sha256"], begun.given["approved"]) == ("", ["terraform_data.x create"])


async def test_a_cancel_after_the_gate_refuses_the_apply(deploy: Deploy) -> None:
    await let_through(deploy)
    async with deploy.rows.transactions() as session:
        await service.cancel(session, deploy.rows.account, deploy.id, actor="ada")
    assert (await ask(deploy, "apply")).status == "cancelled"
    assert (await begin(deploy)).refusal is Refusal.CANCELLED


@pytest.mark.parametrize("cancels", [False, True])
async def test_a_stored_cancelled_is_one_only_where_somebody_cancelled(deploy: Deploy, cancels: bool) -> None:
    """Whoever stored it, in whatever release: the cancel column alone is a cancel."""
    await let_through(deploy)
    await begin(deploy)
    await open_phase(deploy.rows, deploy.id, "apply")
    stored = """'{"ok": false, "kind": "Conflict", "slug": "cancelled", "detail": "cancelled"}'"""
    await deploy.rows.execute(f"UPDATE steps SET status = 'done', outcome = {stored} WHERE step = 'apply'")
    if cancels:
        await deploy.rows.execute("UPDATE operations SET cancel_requested = true")
    found = await ask(deploy, "apply")
    assert found.key is not None
    assert (found.status, found.key.attempt) == (("done", 1) if cancels else ("expected", 2))
    if not cancels:
        assert (await deploy.run()).status is RunStatus.APPLYING
        assert await deploy.rows.scalar("SELECT gone_by FROM steps WHERE attempt = 1") == "stopped"


async def test_asking_again_writes_nothing_more(rows: Rows) -> None:
    run = await rows.asked(1, RunKind.DEPLOY)
    await rows.drained()
    runs = Runs(rows.transactions, rows.dispatch.book)
    await runs.begin(Claim(run.id, "w"))
    assert (await runs.expect(Asked(run.id, "", "plan 1"))).status == "refused", "its phase is not open"
    await open_phase(rows, run.id, "plan")
    first = await runs.expect(Asked(run.id, "", "plan 1"))
    assert first.status == "expected"
    assert await runs.expect(Asked(run.id, "", "plan 1")) == first
    assert (await runs.expect(Asked(run.id, "", "plan 2"))).status == "refused", "one plan counts"
    assert await rows.scalar("SELECT count(*) FROM steps") == 1


async def test_a_test_begins_with_an_empty_state_and_creates_only(world: World) -> None:
    async with control(world), agents(world), dispatching(world):
        world.agent.faults.hold["apply"] = gate = asyncio.Event()
        run = await world.asked(1)

        async def began() -> bool:
            return await world.begun("apply")

        await world.until(began)
        async with world.transactions() as session:
            given = (await session.execute(text("SELECT input FROM steps WHERE step = 'apply'"))).scalar_one()
        gate.set()
        ended = await world.ended(run.id)
    assert (given["module"]["creates_only"], given["digest"]) == (True, ended.digest)
