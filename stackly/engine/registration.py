"""One sync of one ref, in one transaction: register, update, move, deregister; ask for runs; say why there are none."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from stackly import db
from stackly.db import Session
from stackly.engine import declared, history, loose, renaming, triggers
from stackly.engine.contracts.control import SyncOutcome
from stackly.engine.notes import Notes
from stackly.engine.pushes import Intake, Pushed
from stackly.engine.triggers import Ask
from stackly.events.model import EventName
from stackly.runs import creating
from stackly.runs import service as runs
from stackly.stacks import lifecycle, registry_store, store
from stackly.stacks.config import DEFAULT_STATE
from stackly.stacks.model import CodeStatus, FoundStack, Repo, StackCode
from stackly.stacks.registry_store import Standing

MAX_LEFT_OUT = 50
# So many stacks a statement: their specs are a few kilobytes each.
BATCH = 500


@dataclass(slots=True)
class _Count:
    registered: int = 0
    updated: int = 0
    removed: int = 0
    rejected: int = 0
    runs: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Sync:
    """One sync on its way. Shape: `live` and `loose` are the stacks of before that take part, by path."""

    session: Session
    repo: Repo
    pushed: Pushed
    intake: Intake
    notes: Notes
    count: _Count
    live: Mapping[str, StackCode]
    loose: Mapping[str, StackCode]


async def register(session: Session, pushed: Pushed, intake: Intake) -> SyncOutcome:
    """Carry a ref from the commit processed last to this one.

    Raises: RefMoved when another attempt of this sync was first (engine rule 5).
    """
    sync = await _opened(session, pushed, intake)
    way = intake.passage
    await registry_store.leave_places(session, [sync.live[p].id for p in [*way.gone, *way.moved.values()]])
    if intake.lost is not None:
        await history.account_for(session, pushed, sync.notes, intake.lost, intake.rewritten)
    for batch in _batches(intake.arriving):
        written = await _arrive(sync, batch)
        await _run(sync, written, await _followed(sync, written))
    for path in way.gone:
        await _deregister(sync, sync.live[path])
    if pushed.change.moved_from:
        await renaming.settled(session, pushed.change)
    await _processed(sync)
    await sync.notes.write(session)
    count = sync.count
    return SyncOutcome(count.registered, count.updated, count.removed, count.rejected, count.runs)


async def _opened(session: Session, pushed: Pushed, intake: Intake) -> _Sync:
    """The first statement decides whether this attempt is the one; then what takes part is locked, in order."""
    change, way = pushed.change, intake.passage
    seen = (change.seen or None, change.generation)
    generation = await store.advance_ref(session, change.repo, change.ref, seen=seen, commit=change.commit or None)
    repo = await store.get_repo(session, change.repo, lock=True)
    before = [*way.stays, *way.gone, *way.moved.values()]
    live = await registry_store.codes_at(session, repo.id, change.ref, before)
    coming = [*way.new, *way.moved]
    loose_there = await registry_store.loose_at(
        session, repo.id, change.ref, coming, leaving=[live[p].id for p in way.moved.values()]
    )
    notes = Notes(repo.account, generation, await db.now(session))
    return _Sync(session, repo, replace(pushed, repo=repo), intake, notes, _Count(), live, loose_there)


def _batches(paths: Sequence[str]) -> list[Sequence[str]]:
    return [paths[i : i + BATCH] for i in range(0, len(paths), BATCH)]


async def _arrive(sync: _Sync, paths: Sequence[str]) -> dict[str, StackCode]:
    """Write what stands at these paths now, and let the states of what was elsewhere before follow it."""
    change = sync.pushed.change
    standing = [_standing(sync, path) for path in paths]
    written = await registry_store.write_codes(sync.session, sync.repo, change.ref, change.commit, standing)
    for path, code in sorted(written.items()):
        await _settle(sync, path, code)
        _tell(sync, path, code)
    return written


def _standing(sync: _Sync, path: str) -> Standing:
    """Which row a stack is: the one of its place, one that was there before and is loose, or a new one."""
    way, found = sync.intake.passage, sync.intake.found[path]
    former = sync.loose.get(path)
    if path in way.moved:
        origin = sync.live[way.moved[path]]
        if former is not None and origin.moved_from == former.id:  # it came back from where it went
            return Standing(found, former.id, None)
        return Standing(found, None, origin.id)
    if path in way.new:
        return Standing(found, former.id if former else None, None)
    return Standing(found, sync.live[path].id, None)


async def _settle(sync: _Sync, path: str, code: StackCode) -> None:
    way = sync.intake.passage
    before = sync.live.get(path) if path in way.stays else sync.loose.get(path)
    was_away = before is not None and before.id == code.id and before.status != CodeStatus.ACTIVE
    if was_away and code.status == CodeStatus.ACTIVE:
        await lifecycle.code_back(sync.session, code)
    if path in way.moved:
        await _moved(sync, sync.live[way.moved[path]], code)


async def _moved(sync: _Sync, origin: StackCode, code: StackCode) -> None:
    """The stack of before is told as gone, that of now as where it went; states wait to follow."""
    same = origin.tree == code.tree
    waiting = await lifecycle.code_moved(sync.session, origin, code, same_tree=same)
    reason = f"{origin.path} moved to {code.path} in {code.commit[:7]}"
    await history.end_waiting(sync.session, [origin.id], reason)
    more = {"moved_to": code.id, "states": [s.name for s in waiting], "reason": reason}
    sync.notes.fact(f"stack/{origin.id}", EventName.MODULE_DEREGISTERED, _about(sync, origin) | more)
    if waiting:
        sync.notes.fact(f"stack/{origin.id}", EventName.STACK_LOOSENED, _about(sync, origin) | more)
    sync.count.removed += 1


async def _followed(sync: _Sync, written: Mapping[str, StackCode]) -> set[str]:
    """Let states of the branch that was the default before follow. Returns the paths of stacks to ask runs for."""
    asking = set[str]()
    for path, origin in sorted((await renaming.origins(sync.session, sync.pushed.change, written)).items()):
        code, why = written[path], renaming.reason(origin, written[path])
        if code.moved_from is None:
            await registry_store.set_moved_from(sync.session, code.id, origin.id)
        waiting = await lifecycle.code_moved(sync.session, origin, code, same_tree=origin.tree == code.tree)
        ended = await history.end_waiting(sync.session, [origin.id], why)
        more = {"moved_to": code.id, "states": [s.name for s in waiting], "reason": why}
        sync.notes.fact(f"stack/{origin.id}", EventName.MODULE_DEREGISTERED, _about(sync, origin) | more)
        if waiting:
            sync.notes.fact(f"stack/{origin.id}", EventName.STACK_LOOSENED, _about(sync, origin) | more)
        if waiting or ended:
            asking.add(path)
    return asking


def _tell(sync: _Sync, path: str, code: StackCode) -> None:
    intake, count = sync.intake, sync.count
    found = intake.found[path]
    is_new = path not in intake.passage.stays
    if found.errors:
        count.rejected += 1
        name = EventName.MODULE_REJECTED
    elif path in intake.programs and not is_new:
        return  # the stack is as it was: only the program it measures changed
    else:
        name = EventName.MODULE_REGISTERED if is_new else EventName.MODULE_UPDATED
        count.registered += is_new
        count.updated += not is_new
    payload = {
        **_about(sync, code),
        "repo": sync.repo.full_name,
        "commit": code.commit,
        "moved_from": code.moved_from,
        "errors": [dict(e) for e in found.errors],
        "stack_id": code.id,
        "context": {
            "kind": code.kind,
            "branch": sync.pushed.branch,
            "commit": code.commit,
            "trigger": "push",
            "actor": sync.pushed.pusher,
        },
    }
    sync.notes.fact(f"stack/{code.id}", name, payload)
    _left_out(sync, code, found)


def _left_out(sync: _Sync, code: StackCode, found: FoundStack) -> None:
    """Files that are no part of the code, each once; of very many, how many more."""
    subject, listed = f"stack/{code.id}", sorted(found.left_out.items())
    for file, why in listed[:MAX_LEFT_OUT]:
        payload = {**_about(sync, code), "file": file, "reason": f"{file} is left out: {why}"}
        sync.notes.fact(subject, EventName.FILE_LEFT_OUT, payload, part=file)
    if len(listed) > MAX_LEFT_OUT:
        more = {**_about(sync, code), "reason": f"{len(listed) - MAX_LEFT_OUT} more files are left out"}
        sync.notes.fact(subject, EventName.FILE_LEFT_OUT, more, part="more")


def _about(sync: _Sync, code: StackCode) -> dict[str, Any]:
    return {"stack": code.name, "path": code.path, "ref": code.ref, "commit": sync.pushed.change.commit}


async def _run(sync: _Sync, written: Mapping[str, StackCode], followed: Collection[str]) -> None:
    """Ask for the runs of these stacks, all at once."""
    await declared.reconcile(sync.session, sync.notes, written, sync.intake.found)
    wanted: list[Ask] = []
    for path, code in sorted(written.items()):
        found = sync.intake.found[path]
        why = triggers.refusal(sync.repo, sync.pushed, code, found)
        if why:
            _no_run(sync, code, why)
        elif path in sync.intake.untouched and path not in followed:
            _no_run(sync, code, sync.intake.would)
        else:
            wanted += _asks(sync, path, code, found)
    held = await loose.follow(sync.session, [(a.code, a.state, a.new) for a in wanted])
    for ask in [a for a in wanted if a.state in held.get(a.code.id, {})]:
        _no_run(sync, ask.code, held[ask.code.id][ask.state], state=ask.state)
    wanted_still = await _create(sync, [a for a in wanted if a.state not in held.get(a.code.id, {})])
    await _end_older(sync, [c.id for c in written.values()], wanted_still)


async def _end_older(sync: _Sync, codes: Sequence[str], wanted_still: Collection[str]) -> None:
    """What an earlier push asked for, and this one does not: carried out, it would be what the branch is no more."""
    change, generation = sync.pushed.change, sync.notes.generation
    waiting = await creating.waiting_before(sync.session, codes, change.ref, generation)
    older = [run for run in waiting if run not in wanted_still]
    reason = f"{sync.pushed.branch} is at {change.commit[:7]} now, which asks for no such run"
    await history.void(sync.session, older, reason)


def _asks(sync: _Sync, path: str, code: StackCode, found: FoundStack) -> list[Ask]:
    paths = sync.intake.programs.get(path, [path])
    return triggers.asks(sync.repo, sync.pushed, code, found, generation=sync.notes.generation, paths=paths)


async def _create(sync: _Sync, wanted: Sequence[Ask]) -> set[str]:
    """Returns the runs of before that are wanted still: those of states that stay at a commit of their own."""
    if not wanted:
        return set()
    states = await registry_store.ensure_states(sync.session, [a.declared for a in wanted])
    by_state = {states[a.code.id, a.state].id: a for a in wanted}
    last = await creating.newest_deploys(sync.session, [s for s, a in by_state.items() if a.pinned])
    anew = {state: ask for state, ask in by_state.items() if not ask.repeats(last.get(state))}
    staying = {state: ask for state, ask in by_state.items() if state not in anew}
    for ask in staying.values():
        _no_run(sync, ask.code, f"state {ask.state} stays at {ask.new.commit[:7]}", state=ask.state)
    asked = [replace(ask.new, state=state) for state, ask in anew.items()]
    made = await runs.create_runs(sync.session, asked)
    for ask, new in zip(anew.values(), asked, strict=True):
        if new.state in made:
            sync.count.runs.append(made[new.state].id)
        else:
            _no_run(sync, ask.code, "a newer push of this ref has its run already", state=ask.state)
    return {last[state].id for state in staying}


def _no_run(sync: _Sync, code: StackCode, why: str, *, state: str = DEFAULT_STATE) -> None:
    inputs = {"stack": code.name, "path": code.path} | ({} if state == DEFAULT_STATE else {"state": state})
    sync.notes.no_run(f"stack/{code.id}", why, inputs, part="" if state == DEFAULT_STATE else state)


async def _deregister(sync: _Sync, code: StackCode) -> None:
    """The code is gone; states that hold resources are loose, and are never destroyed by a push."""
    change = sync.pushed.change
    twin = await registry_store.twin(sync.session, code) if change.commit else None
    if twin is not None:  # it was copied before it went: the copy is where it is now
        await registry_store.set_moved_from(sync.session, twin.id, code.id)
        await _moved(sync, code, twin)
        return
    where = f"in {change.commit[:7]}" if change.commit else f"with {sync.pushed.branch}"
    reason = f"{code.path} went away {where}"
    holding = await lifecycle.code_gone(sync.session, code, reason=reason)
    ended = await history.end_waiting(sync.session, [code.id], reason)
    subject, about = f"stack/{code.id}", _about(sync, code)
    sync.notes.fact(subject, EventName.MODULE_DEREGISTERED, about | {"runs_ended": ended})
    if holding:
        loosened = about | {"states": [s.name for s in holding], "reason": reason}
        sync.notes.fact(subject, EventName.STACK_LOOSENED, loosened)
    sync.notes.no_run(subject, f"the stack's code went away; nothing is destroyed by that ({reason})", about)
    sync.count.removed += 1


async def _processed(sync: _Sync) -> None:
    change, count = sync.pushed.change, sync.count
    subject = f"push/{change.repo}/{change.ref}"
    payload = {
        "repo": sync.repo.full_name,
        "ref": change.ref,
        "before": change.seen or None,
        "commit": change.commit or None,
        "registered": count.registered,
        "updated": count.updated,
        "removed": count.removed,
        "rejected": count.rejected,
        "runs": count.runs,
    }
    sync.notes.fact(subject, EventName.PUSH_PROCESSED, payload)
    for path, why in sorted(sync.intake.unnamed.items()):
        refused = {"repo": sync.repo.full_name, "ref": change.ref, "commit": change.commit, "path": path, "reason": why}
        sync.notes.fact(subject, EventName.MODULE_REJECTED, refused, part=path)
    if not count.runs:
        sync.notes.no_run(subject, _why_none(sync), payload)


def _why_none(sync: _Sync) -> str:
    change, intake = sync.pushed.change, sync.intake
    if not change.commit:
        return f"{sync.pushed.branch} is gone; nothing is destroyed by that"
    if intake.arriving or intake.passage.gone:
        return (
            f"each stack that changed says why it has none: {', '.join([*intake.arriving, *intake.passage.gone][:5])}"
        )
    return intake.would
