"""What people may start: the same rows that a push makes, with a person as their cause."""

from typing import Any

from stackly import ids
from stackly.accounts.model import Actor
from stackly.db import Json, Session
from stackly.engine import loose
from stackly.errors import Conflict, Invalid
from stackly.runs import reads, service, store
from stackly.runs.model import NewRun
from stackly.spec.runs import RunKind
from stackly.stacks import association, lifecycle, refs_store
from stackly.stacks import store as stacks
from stackly.stacks.config import DEFAULT_STATE, StackConfig
from stackly.stacks.model import StackCode, StackState, branch_of
from stackly.stacks.transitions import holds
from stackly.teardown import service as teardown
from stackly.teardown import store as obligations


class StackUnusable(Conflict):
    title = "This stack cannot be run as it is."


class CommitLost(Conflict):
    """The branch was rewritten or set back since. Start what it is at now, or push the commit again."""

    title = "The commit is in the branch's history no more."


class KindUnsuitable(Invalid):
    title = "This stack has no runs of that kind."


def _trigger(actor: Actor, ref: str, kind: str, why: str | None = None) -> Json:
    said: Json = {"kind": kind, "actor": actor.login, "ref": ref, "pull_request": None, "paths": []}
    return said if why is None else {**said, "why": why}


def _cause(actor: Actor) -> str:
    # A person's run is never superseded, and asking twice means two.
    return f"person:{actor.identity}:{ids.new_id()}"


async def resolved(
    session: Session, actor: Actor, stack: Json, kind: str | None, *, state: str = DEFAULT_STATE
) -> Json:
    """The row of the newest run that a sync resolved for this stack at its present commit, or at the state's own.

    Raises: StackUnusable, with why; KindUnsuitable.
    """
    if stack["status"] != "active":
        why = stack["reason"] or "its code is gone"
        raise StackUnusable(f"Stack {stack['name']} is {stack['status']}: {why}", stack=stack["id"])
    usual = RunKind.DEPLOY if stack["kind"] == "plain" else RunKind.BENCHMARK
    if kind is not None and kind != usual:
        raise KindUnsuitable(f"A {stack['kind']} stack is run by `{usual}`, not by `{kind}`.", kind=kind)
    # A stack that followed its code has not been deployed there: the plan was resolved like a deploy.
    kinds = (usual, RunKind.PREVIEW) if usual is RunKind.DEPLOY else (usual,)
    declared = [s for s in stack["config"].get("states", []) if s["name"] == state]
    commit = next((s["commit"] for s in declared if s.get("commit")), stack["commit"])
    found = await reads.find_resolved(session, actor.account, stack["id"], commit, kinds)
    if found is None:
        raise StackUnusable(
            f"Nothing was resolved for {stack['name']} at {commit[:7]} yet; "
            f"`stackly explain stack {stack['id']}` says why.",
            stack=stack["id"],
        )
    return found


async def start(
    session: Session, actor: Actor, base: Json, *, state: str, kind: str = "person", why: str | None = None
) -> str:
    """Ask for a run like `base` again, on that state. Returns its id.

    A commit comes from a run that a sync made of a branch of this repository, never from a request; one that the
    branch's history holds no more is not started again (G11). Raises: CommitLost, StackUnusable.
    """
    code = await stacks.get_code(session, base["code"], account=actor.account)
    if await refs_store.is_lost(session, code.repo, code.ref, base["commit"]):
        branch = branch_of(code.ref)
        why = f"{base['commit'][:7]} is in the history of {branch} no more; start what {branch} is now, without it."
        raise CommitLost(why, commit=base["commit"], ref=code.ref)
    target = await stacks.ensure_state(session, code, state)
    run_kind = RunKind.DEPLOY if base["kind"] == RunKind.PREVIEW else RunKind(base["kind"])
    new = NewRun(
        account=actor.account,
        code=base["code"],
        state=target.id,
        kind=run_kind,
        cause=_cause(actor),
        generation=base["generation"],
        branch=base["branch"],
        commit=base["commit"],
        trigger=_trigger(actor, f"refs/heads/{base['branch']}", kind, why),
        spec=_fresh(base, code, state) if run_kind is RunKind.DEPLOY else _measured(base, again=kind == "rerun"),
        digest=base["digest"] if run_kind is RunKind.BENCHMARK else None,
    )
    run = await service.create_run(session, new)
    assert run is not None  # the cause is new: nothing can have been there before
    return run.id


def _measured(base: Json, *, again: bool) -> dict[str, Any]:
    """A benchmark's. A rerun starts the very images of its run; a new start asks what their names mean now."""
    return dict(base["spec"]) if again else loose.unlearnt(base["spec"])


def _fresh(base: Json, code: StackCode, state: str) -> dict[str, Any]:
    """The resolved config, identical for the same state; another state has its own variables. Raises: StackUnusable."""
    if base["state_name"] == state and base["kind"] == RunKind.DEPLOY:
        return loose.unlearnt(base["spec"])
    try:
        return loose.for_state(base["spec"], StackConfig.from_json(code.config), state)
    except KeyError:
        raise StackUnusable(
            f'The stackly.hcl of {code.name} has no state "{state}": add it and push, or name one that it has.',
            stack=code.id,
        ) from None


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
    found = await _state(session, stack, state)
    under_way = await store.open_destroy(session, found.id)
    if under_way is not None:
        return under_way.id
    if not holds(found.status):
        raise StackUnusable(
            f"State {state} of {stack['name']} is {found.status}: there is nothing to destroy. "
            "`stackly stack list --status loose` shows stacks whose code is gone.",
            stack=stack["id"],
        )
    why = reason or f"asked for by {actor.login}"
    obligation = await obligations.find_open(session, found.id)
    if obligation is not None:
        run = await teardown.request_destroy(session, obligation, cause=_cause(actor), reason=why)
        if run is None:  # the cause is new, so it was closed a moment ago
            raise StackUnusable(f"What state {state} of {stack['name']} owed is over already.", stack=stack["id"])
        return run.id
    trigger = _trigger(actor, stack["ref"], "person")
    return (await loose.request_destroy(session, found, cause=_cause(actor), trigger=trigger, reason=why)).id


async def _state(session: Session, stack: Json, state: str) -> StackState:
    """Raises: StackUnusable."""
    for found in await stacks.states_of(session, stack["id"]):
        if found.name == state:
            return found
    raise StackUnusable(f"Stack {stack['name']} has no state {state}.", stack=stack["id"])


async def associate(
    session: Session, actor: Actor, loose_: Json, target: Json, *, state: str, name: str | None, reason: str | None
) -> str:
    """Give a loose state other code, then ask for a deploy of it, which policies judge like any other.

    Returns the deploy's id. Raises: AssociationRefused with all problems at once, and nothing was changed.
    """
    for code in sorted({loose_["id"], target["id"]}):
        await stacks.get_code(session, code, lock=True)
    found, to = await _state(session, loose_, state), await stacks.get_code(session, target["id"])
    there = await stacks.states_of(session, to.id)
    problems = association.objections(found, to, name or state, there)
    base = await reads.find_resolved(session, actor.account, to.id, to.commit)
    if base is None and not problems:
        problems = [f"nothing was resolved for {to.path} at {to.commit[:7]} yet; push it again"]
    if problems or base is None:
        raise association.refused(found, to, problems)
    how = reason or f"asked for by {actor.login}"
    await association.associate(session, found, to, name=name or state, how=how, actor=actor.login)
    return await start(session, actor, base, state=name or state, kind="associate", why=how)


async def keep(session: Session, actor: Actor, stack: Json, *, state: str) -> None:
    """Call a destroy off: one that is due later by policy, or one that has not started. Raises: StackUnusable."""
    found = await _state(session, stack, state)
    under_way = await store.open_destroy(session, found.id)
    if under_way is not None and not under_way.is_admitted:
        await service.cancel(session, actor.account, under_way.id, actor=actor.login)
        return
    if under_way is not None:
        raise StackUnusable(f"Run {under_way.id} destroys state {state} already; it goes on.", stack=stack["id"])
    if not await lifecycle.call_off(session, found, actor=actor.login):
        raise StackUnusable(f"No destroy of state {state} of {stack['name']} is due.", stack=stack["id"])


async def waive(session: Session, actor: Actor, stack: Json, *, state: str, reason: str) -> None:
    """A named person answers for what a state holds: Stackly keeps no hand on it any more. Raises: StateMoveRefused."""
    found = await _state(session, stack, state)
    await teardown.waive(session, found.id, person=actor.identity, reason=reason)
