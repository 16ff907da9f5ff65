"""Which runs a push asks for, and why there is none where there is none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from stackly.engine.digests import benchmark_digest
from stackly.engine.pushes import Pushed
from stackly.policy.model import Policy
from stackly.runs.model import NewRun, Run
from stackly.spec.runs import RunKind, RunStatus
from stackly.stacks.config import DEFAULT_STATE, StackConfig
from stackly.stacks.model import FoundStack, Repo, StackCode
from stackly.stacks.registry_store import Declared

_UNDONE = frozenset({RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.REJECTED, RunStatus.SUPERSEDED})


@dataclass(frozen=True, slots=True)
class Ask:
    """A run of one state of a stack. The state's id is not known yet. Shape: `pinned`: it stays at its own commit."""

    declared: Declared
    new: NewRun
    pinned: bool = False

    @property
    def code(self) -> StackCode:
        return self.declared.code

    @property
    def state(self) -> str:
        return self.declared.name

    def repeats(self, last: Run | None) -> bool:
        """Whether the state's newest deploy is this very one, so that another push is none of its business."""
        if not self.pinned or last is None or last.status in _UNDONE:
            return False
        parts = ("bundle", "variables", "environment", "policies")
        return last.commit == self.new.commit and all(last.spec.get(p) == self.new.spec[p] for p in parts)


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
    trigger, cause = pushed.trigger(paths), f"push:{pushed.change.ref}"
    out = []
    for name in names:
        new = new_run(repo, pushed.branch, code, found, config, trigger=trigger, state=name)
        new = replace(new, slot=pushed.change.ref, cause=cause, generation=generation)
        declared = Declared(code, name, config.state_variables(name), config.metadata(name))
        out.append(Ask(declared, new, pinned=name in found.pins))
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
    pin = found.pins.get(state)
    spec: dict[str, Any] = {
        "stack": code.name,
        "repo": repo.full_name,
        "default_branch": repo.default_branch,
        "path": found.path,
        "tree": pin.tree_key if pin else found.tree_key,
        "bundle": pin.bundle if pin else found.bundle,
        "lock_sha256": pin.lock_sha256 if pin else found.lock_sha256,
        # A plain stack's module makes its own resources: no machines are booted for it, whatever the target is.
        "target": config.target if found.suite else "module",
        "variables": config.module_variables(state),
        "environment": config.environment(state) or "",
        "policies": [dict(p) for p in found.policies],
        "suite": found.suite,
        "budget": {"max_duration_s": config.budget.max_duration_s},
        "warnings": list(config.warnings()),
    }
    kind = RunKind.BENCHMARK if found.suite else RunKind.DEPLOY
    return NewRun(
        account=repo.account,
        code=code.id,
        state="",
        kind=kind,
        cause="",
        generation=0,
        branch=branch,
        commit=pin.commit if pin else code.commit,
        trigger=trigger,
        spec=spec,
        digest=_digest(code.commit, spec) if found.suite else None,
    )


def _digest(commit: str, spec: Mapping[str, Any]) -> str:
    return benchmark_digest(commit, spec, [Policy.from_json(p["policy"]) for p in spec["policies"]])
