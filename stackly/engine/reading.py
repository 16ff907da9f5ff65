"""From a commit's files to stacks: what each directory says it is, or everything that is wrong with it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from stackly import hcl_worker
from stackly.engine.policies import PolicyBook
from stackly.errors import FileInvalid, FileProblem
from stackly.git.closures import Closure
from stackly.policy.model import Policy
from stackly.stacks import config as configs
from stackly.stacks.config import StackConfig
from stackly.stacks.model import FoundStack
from stackly.suites import jsonform, plan, release, schema
from stackly.suites.release import Offer

CONFIG = "stackly.hcl"
CONTRACT_VARIABLES = frozenset({"stackly", "stackly_user_data"})


@dataclass(frozen=True, slots=True)
class Sources:
    """The texts of one stack directory. Shape: `files` name -> text, of files directly in it."""

    path: str
    closure: Closure
    files: Mapping[str, str]
    lock_sha256: str


@dataclass(frozen=True, slots=True)
class Platform:
    """What this platform offers, and the policies a stack may name."""

    majors: tuple[str, ...]
    book: PolicyBook
    repository: Mapping[str, Policy]


def read_stack(sources: Sources, platform: Platform, commit: str) -> FoundStack:
    """Syntax, then policy, then contract: all problems of a stage at once, none hides another stack's."""
    file = _in(sources.path, CONFIG)
    if sources.closure.problems:
        return _found(sources, None, None, platform, sources.closure.problems)
    try:
        config = configs.parse(sources.files[CONFIG], file, read=hcl_worker.read)
        suite = _suite(sources, platform, config, commit)
        _bound(config, platform, file)
    except FileInvalid as e:
        return _found(sources, None, None, platform, e.problems)
    problems, required = _module_problems(sources, has_suite=suite is not None)
    return replace(_found(sources, config, suite, platform, problems), requires=required)


def _in(path: str, name: str) -> str:
    return name if path in {"", "."} else f"{path}/{name}"


def _suite(sources: Sources, platform: Platform, config: StackConfig, commit: str) -> dict[str, Any] | None:
    name = config.suite or ("suite.yaml" if "suite.yaml" in sources.files else None)
    if name is None:
        return None
    file = _in(sources.path, name)
    if name not in sources.files:
        raise FileInvalid([FileProblem(_in(sources.path, CONFIG), 1, 1, f"The suite {name} is not in this directory.")])
    suite = schema.parse(sources.files[name], file)
    resolved = plan.resolve(suite, commit)
    offer = Offer(target=config.target, majors=platform.majors)
    release.check(suite, resolved, offer)
    warned = release.warnings(suite, resolved, offer)
    tests = [{**jsonform.to_json(t), "ruler": plan.ruler(t), "warnings": warned[t.test]} for t in resolved.tests]
    return {
        "name": resolved.name,
        "digest": plan.digest(resolved),
        "parallel": resolved.parallel,
        "timeout_s": min(resolved.timeout_s, config.budget.max_duration_s),
        "tests": tests,
    }


def _bound(config: StackConfig, platform: Platform, file: str) -> None:
    known = {*platform.book.all(), *platform.repository}
    problems = configs.unknown_policies(config, known, file)
    if problems:
        raise FileInvalid(problems)


def _module_problems(sources: Sources, *, has_suite: bool) -> tuple[list[FileProblem], tuple[str, ...]]:
    """Syntax of the module's files; and a suite needs a module that takes part in the contract (DESIGN section 7).

    Shape: the problems, and the variables that have no default and are not the contract's.
    """
    problems: list[FileProblem] = []
    declared: set[str] = set()
    required: set[str] = set()
    for name, text in sorted(sources.files.items()):
        if name.endswith(".tf"):
            try:
                body = hcl_worker.parse(text, _in(sources.path, name))
            except FileInvalid as e:
                problems.extend(e.problems)
                continue
            variables = {b.labels[0]: b.body for b in body.of_type("variable") if b.labels}
            declared |= variables.keys()
            required |= {name for name, inside in variables.items() if inside.attribute("default") is None}
    missing = sorted(CONTRACT_VARIABLES - declared) if has_suite and not problems else []
    if missing:
        names = ", ".join(f'variable "{m}"' for m in missing)
        message = f"A benchmark suite needs a module that takes part in the contract: declare {names}."
        problems.append(FileProblem(_in(sources.path, CONFIG), 1, 1, message))
    return problems, tuple(sorted(required - CONTRACT_VARIABLES))


def _found(
    sources: Sources,
    config: StackConfig | None,
    suite: Mapping[str, Any] | None,
    platform: Platform,
    problems: Sequence[FileProblem],
) -> FoundStack:
    name = config.name if config else sources.path.rstrip("/").rpartition("/")[2] or "stack"
    bound = [] if config is None else platform.book.bind([p.name for p in config.policies], platform.repository)
    return FoundStack(
        path=sources.path,
        name=name,
        tree=sources.closure.tree,
        tree_key=sources.closure.key,
        kind=configs.kind(config, suite is not None) if config else "plain",
        config={} if config is None else config.as_json(),
        bundle=None,
        suite=suite,
        lock_sha256=sources.lock_sha256,
        policies=tuple(bound),
        errors=tuple(p.as_dict() for p in problems),
    )
