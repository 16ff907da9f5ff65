"""A step is a row before it is a message: who may be asked for what, decided under locks (engine rule 23).

A workflow names a step and gets its row: the newest attempt as it stands, or another one where the last is gone.
"""

from stackly import db
from stackly.agents import store as agents
from stackly.db import Session
from stackly.engine import inputs
from stackly.engine.contracts.control import Asked, Expected
from stackly.errors import Faulty
from stackly.runs import steps, store
from stackly.runs import tests as tests_store
from stackly.runs.expected import SIDES, Side, verb_of
from stackly.runs.holds import Hold, Lock, Refusal, hold_of
from stackly.runs.model import TRANSITIONS, Run, RunEvent
from stackly.runs.steps import Interruption, StepRecord
from stackly.spec.runs import RunKind, RunStatus
from stackly.temporal.steps import StepKey, edge_queue, site_queue, teardown_queue
from stackly.temporal.timings import RECOVERIES

# What a run does after it recovered, by kind: it goes on where its kind works.
_RESUMES = {
    RunKind.BENCHMARK: RunEvent.LOAD,
    RunKind.DEPLOY: RunEvent.PLAN,
    RunKind.PREVIEW: RunEvent.PLAN,
    RunKind.DESTROY: RunEvent.TEAR_DOWN,
}


async def expect(session: Session, asked: Asked) -> Expected:
    """The step's row. Done again, it changes nothing; without a right to it, nothing is written."""
    hold = await hold_of(session, asked.run, asked.test, lock=Lock.MOVE)
    if verb_of(asked.step) not in SIDES:
        return _refused(Refusal.UNEXPECTED, f"there is no step {asked.step}")
    tried = await steps.attempts(session, asked.run, asked.test, asked.step)
    if tried:
        tried[-1] = await steps.without_false_cancel(session, hold, tried[-1])
    if tried and tried[-1].status != "gone":
        return _as_it_is(hold, tried[-1])
    if tried and not SIDES[verb_of(asked.step)].recovers:
        return Expected("gone", reason=_how(tried[-1]))
    objection = hold.objection(asked.run, asked.step, hold.own_epoch)
    if objection is not None:
        return _refused(*objection)
    if sum(1 for t in tried if t.gone_by is not Interruption.STOPPED) >= RECOVERIES:
        return _refused(Refusal.OVER, f"the site agent died {RECOVERIES} times in the same step")
    return await _attempt(session, hold, asked, tried)


async def expect_apply(session: Session, run: Run) -> None:
    """For the gate alone, in the transaction that moves to `applying`: the step names the plan that was let through.

    Raises: Faulty where it cannot be written; nothing is let through then.
    """
    hold = await hold_of(session, run.id, "")
    try:
        refused = await _write(session, hold, StepKey(run.id, "", "apply", 1, hold.own_epoch))
    except inputs.NotDue as e:
        raise Faulty(f"The plan cannot be applied: {e}.") from e
    if refused is not None:
        raise Faulty(f"The plan cannot be applied: {refused.reason}.")


async def let_through_before(session: Session, run_id: str) -> None:
    """An earlier release's gate let a plan through, and wrote no step. The caller locked the run."""
    run = await store.get_run(session, run_id)
    is_applying = run.kind is RunKind.DEPLOY and run.status is RunStatus.APPLYING
    if is_applying and not await steps.attempts(session, run_id, "", "apply"):
        await expect_apply(session, run)


async def _attempt(session: Session, hold: Hold, asked: Asked, tried: list[StepRecord]) -> Expected:
    if not await due_in(session, hold, asked):
        return _refused(Refusal.UNEXPECTED, f"{asked.step} is not due while this is {hold.test_status or hold.status}")
    is_gated = hold.kind == RunKind.DEPLOY and asked.step == "apply"
    if is_gated and not tried:
        return _refused(Refusal.UNEXPECTED, "no plan was let through the gate")
    key = StepKey(asked.run, asked.test, asked.step, len(tried) + 1, hold.own_epoch)
    try:
        refused = await _write(session, hold, key)
    except inputs.NotDue as e:
        return _refused(Refusal.UNEXPECTED, f"{asked.step} is not due: {e}")
    if refused is not None:
        return refused
    if tried and not asked.test:
        await _recover(session, asked.run, _how(tried[-1]))
    written = await steps.get_step(session, key)
    assert written is not None, "it was written a moment ago"
    return _as_it_is(hold, written)


async def due_in(session: Session, hold: Hold, asked: Asked) -> str:
    """The open phase in which the step is due; '' where it is not."""
    for phase in sorted(hold.phases_for(asked.step)):
        if await tests_store.phase_is_open(session, asked.run, asked.test, phase):
            return phase
    return ""


async def _write(session: Session, hold: Hold, key: StepKey) -> Expected | None:
    """Insert the row. A refusal where nobody could carry it out. Raises: NotDue."""
    given = await inputs.build(session, key)
    agent, why = await _agent(session, hold, key)
    if not agent:
        return _refused(Refusal.UNEXPECTED, why)
    await steps.expect(session, key, agent, given)
    return None


async def _agent(session: Session, hold: Hold, key: StepKey) -> tuple[str, str]:
    """Who may execute it, from the agents' own rows; '' and why, where nobody may."""
    nobody = f"there is no agent for {key.step}"
    side = SIDES[verb_of(key.step)]
    if side.recovers:
        return hold.own_agent, nobody
    test = await tests_store.get_test(session, key.run, key.test)
    machine = str((test.placement or {})["database" if side is Side.DATABASE else "load"])
    found = await agents.find_edge(session, key.run, key.test, machine)
    if found is None or found.is_barred:
        return "", (found.reason if found else None) or nobody
    return found.id, ""


async def _recover(session: Session, run_id: str, why: str) -> None:
    """The run passes through `recovering`, and goes on where it was."""
    run = await store.get_run(session, run_id)
    back = RunEvent.APPLY if run.status is RunStatus.APPLYING else _RESUMES[run.kind]
    at = await db.now(session)
    for event, reason in ((RunEvent.RECOVER, why), (back, None)):
        if event in TRANSITIONS[run.status]:
            run = await store.transition(session, run, event, at=at, reason=reason)


def _as_it_is(hold: Hold, found: StepRecord) -> Expected:
    key = StepKey(*found.id, epoch=found.epoch)
    if found.status == "expected":
        objection = hold.objection(key.run, key.step, key.epoch)
        if objection is not None:
            return _refused(*objection)
    queue = _QUEUES[SIDES[verb_of(key.step)]](found.agent)
    outcome = dict(found.outcome) if found.outcome is not None else None
    return Expected(found.status, key=key, queue=queue, outcome=outcome)


_QUEUES = {
    Side.SITE: site_queue,
    Side.TEARDOWN: teardown_queue,
    Side.DATABASE: edge_queue,
    Side.LOAD: edge_queue,
}


def _refused(refusal: Refusal, reason: str) -> Expected:
    return Expected("cancelled" if refusal is Refusal.CANCELLED else "refused", reason=reason)


def _how(gone: StepRecord) -> str:
    return (gone.gone_by or Interruption.DIED).told(gone.id.step)
