"""Which runs a push asks for, and why there is none where there is none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from stackly.engine.digests import benchmark_digest
from stackly.engine.pushes import Pushed
from stackly.policy.model import Policy
from stackly.runs.model import NewRun, RunKind
from stackly.stacks.config import DEFAULT_STATE, StackConfig
from stackly.stacks.model import FoundStack, Repo, StackCode


@dataclass(frozen=True, slots=True)
class Ask:
    """A run of one state of a stack. The state's id is not known yet."""

    code: StackCode
    state: str
    new: NewRun


def refusal(repo: Repo, pushed: Pushed, code: StackCode, found: FoundStack) -> str:
    """Why this push makes no run of that stack; '' when it does."""
    if found.errors:
        return "the stack is not valid; correct the errors and push again"
    branches = found.config["trigger"]["branches"]
    if branches and not any(fnmatchcase(pushed.branch, b) for b in branches):
        return f"trigger.branches names {', '.join(branches)}, and this is {pushed.branch}"
    if code.kind == "plain" and not pushed.on_default:
        return f"a plain stack deploys from {repo.default_branch}, and this is {pushed.branch}"
    if code.kind == "standing":
        return 'standing infrastructure is not carried out by this release; remove infrastructure = "standing"'
    return ""


def asks(
    repo: Repo, pushed: Pushed, code: StackCode, found: FoundStack, *, generation: int, paths: Sequence[str]
) -> list[Ask]:
    """One run for a stack that is measured, one for each state of a plain one."""
    config = StackConfig.from_json(found.config)
    names = [DEFAULT_STATE, *(s.name for s in config.states)] if code.kind == "plain" else [DEFAULT_STATE]
    cause = f"push:{pushed.change.ref}"
    out = []
    for name in names:
        new = new_run(repo, pushed.branch, code, found, config, trigger=pushed.trigger(paths), state=name)
        out.append(Ask(code, name, replace(new, slot=pushed.change.ref, cause=cause, generation=generation)))
    return out


def new_run(
    repo: Repo,
    branch: str,
    code: StackCode,
    found: FoundStack,
    config: StackConfig,
    *,
    trigger: Mapping[str, Any],
    state: str = DEFAULT_STATE,
) -> NewRun:
    """What a stack asks for: a benchmark with a suite, a deploy without. State and cause are the caller's."""
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
        "variables": config.module_variables(state),
        "environment": config.environment(state) or "",
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
