"""Which runs a push asks for, and why there is none where there is none."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from stackly.engine.digests import benchmark_digest
from stackly.engine.pushes import MAX_NAMED, Pushed
from stackly.git.differences import Changed
from stackly.git.paths import matches
from stackly.policy.model import Policy
from stackly.runs.model import NewRun, RunKind
from stackly.stacks.config import DEFAULT_STATE, StackConfig
from stackly.stacks.model import FoundStack, Repo, StackCode
from stackly.stacks.registry_store import Watching

_SHOWN = 5


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
    branches = StackConfig.from_json(found.config).trigger.branches
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


def started_by(changed: Changed | None, watching: Sequence[Watching]) -> dict[str, tuple[str, ...]]:
    """The stacks whose `trigger.paths` fit what a push changed, with the files that did, a few of each.

    When git could not say what changed, any of them may have: all are started, and none is named.
    """
    if changed is None or not changed.complete:
        return {w.path: () for w in watching}
    known: dict[str, tuple[str, ...]] = {}
    found = {}
    for stack in watching:
        for pattern in stack.patterns:
            if pattern not in known:
                known[pattern] = _fitting(pattern, changed.paths)
        named = sorted({path for pattern in stack.patterns for path in known[pattern]})
        if named:
            found[stack.path] = tuple(named[:MAX_NAMED])
    return found


def _fitting(pattern: str, paths: Sequence[str]) -> tuple[str, ...]:
    """Of sorted paths, those that fit, a few at most: only paths that begin as the pattern does are compared."""
    start = _literal_start(pattern)
    out: list[str] = []
    for i in range(bisect_left(paths, start), len(paths)):
        if not paths[i].startswith(start) or len(out) == MAX_NAMED:
            break
        if matches(pattern, paths[i]):
            out.append(paths[i])
    return tuple(out)


def _literal_start(pattern: str) -> str:
    parts = [part for part in pattern.split("/") if part not in ("", ".")]
    literal = "/".join(parts)
    ends = [literal.index(c) for c in "*?" if c in literal]
    return literal[: min(ends)] if ends else literal


def would_start(changed: Changed | None, directories: Iterable[str], watching: Sequence[Watching]) -> str:
    """For a push without a run: what it changed, and what would have started one."""
    places = _few([f"{d}/" if d != "." else "the repository" for d in sorted(directories)])
    patterns = _few(sorted({p for w in watching for p in w.patterns}))
    would = f"a change below {places}, or in a local module called there, would start one" if places else ""
    if patterns:
        would += f"{', and so would one' if would else 'a change'} in trigger.paths {patterns}"
        would += "" if places else " would start one"
    files = (
        "" if changed is None else f" ({len(changed.paths)} changed: {_few(changed.paths)})" if changed.paths else ""
    )
    none = "no stack directory, and no local module that one calls, differs from the commit processed before"
    return f"{none}{files}; {would or 'there is no stack: add a directory with *.tf and stackly.hcl'}"


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
