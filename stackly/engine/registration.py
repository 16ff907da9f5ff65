"""One sync of one ref, in one transaction: register, update, move, deregister; ask for runs; say why there are none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

from stackly import db
from stackly.db import Session
from stackly.engine.contracts.control import RefChange, SyncOutcome
from stackly.engine.digests import benchmark_digest
from stackly.events import store as events
from stackly.events.model import DecisionRecord, EventName
from stackly.git.changes import Change
from stackly.policy.model import Policy
from stackly.runs import service as runs
from stackly.runs.model import NewRun, RunKind
from stackly.stacks import lifecycle, store
from stackly.stacks.config import StackConfig
from stackly.stacks.model import FoundStack, Repo, StackCode, branch_of


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a sync knows of the commit it brings in."""

    repo: Repo
    change: RefChange
    author: str
    committer: str
    pusher: str | None
    subject: str

    @property
    def branch(self) -> str:
        return branch_of(self.change.ref)

    @property
    def on_default(self) -> bool:
        return self.branch == self.repo.default_branch

    def trigger(self, paths: Sequence[str]) -> dict[str, Any]:
        return {
            "kind": "push",
            "actor": self.pusher or self.author,
            "pusher": self.pusher,
            "author": self.author,
            "committer": self.committer,
            "ref": self.change.ref,
            "pull_request": None,
            "paths": list(paths),
            "subject": self.subject,
        }


@dataclass(slots=True)
class _Count:
    registered: int = 0
    updated: int = 0
    removed: int = 0
    rejected: int = 0
    runs: list[str] = field(default_factory=list)


async def register(
    session: Session, pushed: Pushed, changes: Sequence[Change], found: Mapping[str, FoundStack]
) -> SyncOutcome:
    """Carry a ref from the commit processed last to this one.

    Raises: RefMoved when another attempt of this sync was first (ENGINE rule 5).
    """
    change = pushed.change
    seen = (change.seen or None, change.generation)
    generation = await store.advance_ref(session, change.repo, change.ref, seen=seen, commit=change.commit or None)
    repo = await store.get_repo(session, change.repo, lock=True)
    codes = {c.path: c for c in await store.list_codes(session, change.repo, change.ref)}
    count = _Count()
    gone = {c.path: codes[c.path] for c in changes if c.verb == "removed" and c.path in codes}
    for path in sorted(gone):
        await _deregister(session, gone[path], pushed, generation)
        count.removed += 1
    for item in changes:
        if item.verb != "removed":
            moved = gone.get(item.moved_from or "")
            await _bring_in(session, repo, pushed, found[item.path], moved, generation, count, known=codes)
    await _processed(session, pushed, generation, count)
    return SyncOutcome(count.registered, count.updated, count.removed, count.rejected, count.runs)


async def _bring_in(
    session: Session,
    repo: Repo,
    pushed: Pushed,
    found: FoundStack,
    moved: StackCode | None,
    generation: int,
    count: _Count,
    *,
    known: Mapping[str, StackCode],
) -> None:
    is_new = found.path not in known
    code = await store.upsert_code(
        session, repo, pushed.change.ref, pushed.change.commit, found, moved_from=moved.id if moved else None
    )
    if found.errors:
        count.rejected += 1
        name = EventName.MODULE_REJECTED
    else:
        name = EventName.MODULE_REGISTERED if is_new else EventName.MODULE_UPDATED
        count.registered += is_new
        count.updated += not is_new
    payload = {
        "stack": code.name,
        "repo": repo.full_name,
        "path": code.path,
        "ref": code.ref,
        "commit": code.commit,
        "moved_from": code.moved_from,
        "errors": [dict(e) for e in found.errors],
    }
    await events.record(session, repo.account, f"stack/{code.id}", name, f"{generation}", payload)
    why = await _ask_for_run(session, repo, pushed, code, found, generation, count)
    if why:
        await _no_run(session, repo, f"stack/{code.id}", generation, why, {"stack": code.name, "path": code.path})


async def _ask_for_run(
    session: Session,
    repo: Repo,
    pushed: Pushed,
    code: StackCode,
    found: FoundStack,
    generation: int,
    count: _Count,
) -> str:
    """'' when a run was made, else why there is none."""
    if found.errors:
        return "the stack is not valid; correct the errors and push again"
    config = StackConfig.from_json(found.config)
    branches = config.trigger.branches
    if branches and not any(fnmatchcase(pushed.branch, b) for b in branches):
        return f"trigger.branches names {', '.join(branches)}, and this is {pushed.branch}"
    if code.kind == "plain" and not pushed.on_default:
        return f"a plain stack deploys from {repo.default_branch}, and this is {pushed.branch}"
    if code.kind == "standing":
        return 'standing infrastructure is not carried out by this release; remove infrastructure = "standing"'
    state = await store.ensure_state(session, code)
    new = new_run(repo, pushed.branch, code, found, config, trigger=pushed.trigger([found.path]))
    run = await runs.create_run(
        session,
        replace(new, state=state.id, slot=pushed.change.ref, cause=f"push:{pushed.change.ref}", generation=generation),
    )
    if run is None:
        return "a newer push of this ref has its run already"
    count.runs.append(run.id)
    return ""


def new_run(
    repo: Repo,
    branch: str,
    code: StackCode,
    found: FoundStack,
    config: StackConfig,
    *,
    trigger: Mapping[str, Any],
) -> NewRun:
    """What a stack asks for: a benchmark with a suite, a deploy without. State and cause are the caller's."""
    environment = config.environment() or ""
    spec: dict[str, Any] = {
        "stack": code.name,
        "repo": repo.full_name,
        "default_branch": repo.default_branch,
        "path": found.path,
        "tree": found.tree_key,
        "bundle": found.bundle,
        "lock_sha256": found.lock_sha256,
        # A plain stack's module makes its own resources: no machines are booted for it, whatever the target is.
        "target": config.target if found.suite else "module",
        "variables": {k: v for k, v in config.variables.items() if k != "environment"},
        "environment": environment,
        "policies": [dict(p) for p in found.policies],
        "suite": found.suite,
        "budget": {
            "max_duration_s": config.budget.max_duration_s,
            "max_machine_hours": config.budget.max_machine_hours,
        },
    }
    kind = RunKind.BENCHMARK if found.suite else RunKind.DEPLOY
    policies = [Policy.from_json(p["policy"]) for p in spec["policies"]]
    return NewRun(
        account=repo.account,
        code=code.id,
        state="",
        kind=kind,
        cause="",
        generation=0,
        branch=branch,
        commit=code.commit,
        trigger=trigger,
        spec=spec,
        digest=benchmark_digest(code.commit, spec, policies) if found.suite else None,
    )


async def _deregister(session: Session, code: StackCode, pushed: Pushed, generation: int) -> None:
    """The code is gone; states that hold resources are loose, and are never destroyed by a push."""
    where = f"in {pushed.change.commit[:7]}" if pushed.change.commit else f"with {pushed.branch}"
    reason = f"{code.path} went away {where}"
    holding = await lifecycle.code_gone(session, code, reason=reason)
    payload = {"stack": code.name, "path": code.path, "ref": code.ref, "commit": pushed.change.commit}
    subject = f"stack/{code.id}"
    await events.record(session, code.account, subject, EventName.MODULE_DEREGISTERED, f"{generation}", payload)
    if holding:
        loosened = payload | {"states": [s.name for s in holding], "reason": reason}
        await events.record(session, code.account, subject, EventName.STACK_LOOSENED, f"{generation}", loosened)
    why = f"the stack's code went away; nothing is destroyed by that ({reason})"
    await _no_run(session, pushed.repo, subject, generation, why, payload)


async def _processed(session: Session, pushed: Pushed, generation: int, count: _Count) -> None:
    change = pushed.change
    subject = f"push/{change.repo}/{change.ref}"
    payload = {
        "repo": pushed.repo.full_name,
        "ref": change.ref,
        "before": change.seen or None,
        "commit": change.commit or None,
        "registered": count.registered,
        "updated": count.updated,
        "removed": count.removed,
        "rejected": count.rejected,
        "runs": count.runs,
    }
    await events.record(session, pushed.repo.account, subject, EventName.PUSH_PROCESSED, f"{generation}", payload)
    if not (count.registered or count.updated or count.removed or count.rejected):
        why = "no stack directory, and no local module that one calls, differs from the commit processed before"
        await _no_run(session, pushed.repo, subject, generation, why, payload)


async def _no_run(
    session: Session, repo: Repo, subject: str, generation: int, why: str, inputs: Mapping[str, Any]
) -> None:
    """A decision as well: "no run, because"."""
    record = DecisionRecord(
        account=repo.account,
        subject=subject,
        generation=generation,
        question="push",
        operation=None,
        inputs=dict(inputs),
        tzdata="",
        at=await db.now(session),
        decision="no_run",
        tree=[{"policy": "", "outcome": "no_run", "rule": "push", "text": why}],
        next_check=None,
    )
    await events.record_decision(session, record)
    await events.record(
        session, repo.account, subject, EventName.RUN_NOT_CREATED, f"{generation}", {**inputs, "reason": why}
    )
