"""What people may start: the same rows that a push makes, with a person as their cause."""

from typing import Any

from stackly import ids
from stackly.accounts.model import Actor
from stackly.db import Json, Session
from stackly.errors import Conflict, Invalid
from stackly.runs import reads, service, store
from stackly.runs.model import NewRun, Run, RunKind
from stackly.stacks import lifecycle
from stackly.stacks import store as stacks
from stackly.stacks.model import HOLDS_RESOURCES, StackState
from stackly.stacks.transitions import StateEvent
from stackly.teardown import service as teardown
from stackly.teardown import store as obligations


class StackUnusable(Conflict):
    title = "This stack cannot be run as it is."


class KindUnsuitable(Invalid):
    title = "This stack has no runs of that kind."


def _trigger(actor: Actor, ref: str, kind: str) -> Json:
    return {"kind": kind, "actor": actor.login, "ref": ref, "pull_request": None, "paths": []}


def _cause(actor: Actor) -> str:
    # A person's run is never superseded, and asking twice means two.
    return f"person:{actor.identity}:{ids.new_id()}"


async def resolved(session: Session, actor: Actor, stack: Json, kind: str | None) -> Json:
    """The row of the newest run that a sync resolved for this stack at its present commit.

    Raises: StackUnusable, with why; KindUnsuitable.
    """
    if stack["status"] != "active":
        why = stack["reason"] or "its code is gone"
        raise StackUnusable(f"Stack {stack['name']} is {stack['status']}: {why}", stack=stack["id"])
    usual = RunKind.DEPLOY if stack["kind"] == "plain" else RunKind.BENCHMARK
    if kind is not None and kind != usual:
        raise KindUnsuitable(f"A {stack['kind']} stack is run by `{usual}`, not by `{kind}`.", kind=kind)
    found = await reads.find_resolved(session, actor.account, stack["id"], stack["commit"], usual)
    if found is None:
        raise StackUnusable(
            f"Nothing was resolved for {stack['name']} at {stack['commit'][:7]} yet; "
            f"`stackly explain stack {stack['name']}` says why.",
            stack=stack["id"],
        )
    return found


async def start(session: Session, actor: Actor, base: Json, *, state: str, kind: str = "person") -> str:
    """Ask for a run like `base` again, on that state. Returns its id."""
    code = await stacks.get_code(session, base["code"], account=actor.account)
    target = await stacks.ensure_state(session, code, state)
    new = NewRun(
        account=actor.account,
        code=base["code"],
        state=target.id,
        kind=RunKind(base["kind"]),
        cause=_cause(actor),
        generation=base["generation"],
        branch=base["branch"],
        commit=base["commit"],
        trigger=_trigger(actor, f"refs/heads/{base['branch']}", kind),
        spec=_fresh(base["spec"]),
        digest=base["digest"] if base["kind"] == RunKind.BENCHMARK else None,
    )
    run = await service.create_run(session, new)
    assert run is not None  # the cause is new: nothing can have been there before
    return run.id


def _fresh(spec: Json) -> dict[str, Any]:
    """The resolved config, identical; what the first run learnt while it ran stays with it."""
    return dict(spec)


async def rerun(session: Session, actor: Actor, run_id: str) -> str:
    """The same commit, suite, variables and policies once more."""
    base = await reads.get_run(session, actor.account, run_id)
    if base["kind"] not in {RunKind.BENCHMARK, RunKind.DEPLOY}:
        raise KindUnsuitable(f"A {base['kind']} is not rerun; ask for a new one.", kind=base["kind"])
    run = await store.get_run(session, run_id, account=actor.account)
    if not run.is_terminal:
        raise StackUnusable(f"Run {run_id} is {run.status}; wait for it, or cancel it first.", run=run_id)
    return await start(session, actor, base, state=base["state_name"], kind="rerun")


async def destroy(session: Session, actor: Actor, stack: Json, *, state: str, reason: str | None) -> str:
    """Ask for the destroy of a long-lived state; one that is under way is returned. Raises: StackUnusable."""
    named = [s for s in await stacks.states_of(session, stack["id"]) if s.name == state]
    if not named:
        raise StackUnusable(f"Stack {stack['name']} has no state {state}.", stack=stack["id"])
    under_way = await store.open_destroy(session, named[0].id)
    if under_way is not None:
        return under_way.id
    if named[0].status not in HOLDS_RESOURCES:
        raise StackUnusable(
            f"State {state} of {stack['name']} is {named[0].status}: there is nothing to destroy.", stack=stack["id"]
        )
    why = reason or f"asked for by {actor.login}"
    obligation = await obligations.find_open(session, named[0].id)
    if obligation is not None:
        run = await teardown.request_destroy(session, obligation, cause=_cause(actor), reason=why)
    else:
        run = await _destroy_as_deployed(session, actor, stack, named[0], why)
    assert run is not None  # the cause is new
    return run.id


async def _destroy_as_deployed(session: Session, actor: Actor, stack: Json, state: StackState, why: str) -> Run | None:
    """Without a kit of its own the state is destroyed by the code and variables that it was deployed with."""
    last = await reads.find_deployed(session, actor.account, state.id)
    if last is None:
        raise StackUnusable(f"No run of state {state.name} says how it was made.", stack=stack["id"])
    new = NewRun(
        account=actor.account,
        code=stack["id"],
        state=state.id,
        kind=RunKind.DESTROY,
        cause=_cause(actor),
        generation=last["generation"],
        branch=last["branch"],
        commit=last["commit"],
        trigger=_trigger(actor, f"refs/heads/{last['branch']}", "person"),
        spec=last["spec"],
        agent=state.agent,
        reason=why,
    )
    await lifecycle.move_state(session, state.id, StateEvent.DESTROY_ASKED)
    return await service.create_run(session, new)
