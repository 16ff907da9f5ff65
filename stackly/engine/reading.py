"""From a commit's files to stacks: what each directory says it is, or everything that is wrong with it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
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
from stackly.terraform_facts import declares, is_module_file, json_variables, prevented

CONFIG = "stackly.hcl"
_JUDGED = "Terraform judges it at the run's plan"
CONTRACT_VARIABLES = frozenset({"stackly", "stackly_user_data"})


@dataclass(frozen=True, slots=True)
class Sources:
    """The texts of one stack directory. Shape: `files` name -> text, of files directly in it."""

    path: str
    closure: Closure
    files: Mapping[str, str]
    lock_sha256: str
    unread: tuple[FileProblem, ...] = ()  # Terraform files that are too large to be read here


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
    module = _module(sources, has_suite=suite is not None)
    warnings = tuple(w.as_dict() for w in module.warnings)
    found = _found(sources, config, suite, platform, module.problems)
    return replace(found, requires=module.requires, warnings=warnings)


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


@dataclass(slots=True)
class _Module:
    """What a stack's own Terraform files say. `unread`: not all of them could be read, so the contract is unknown."""

    problems: list[FileProblem] = field(default_factory=list)
    warnings: list[FileProblem] = field(default_factory=list)
    declared: set[str] = field(default_factory=set)
    required: set[str] = field(default_factory=set)
    unread: bool = False

    @property
    def requires(self) -> tuple[str, ...] | None:
        """Variables that have no default and are not the contract's."""
        return None if self.unread else tuple(sorted(self.required - CONTRACT_VARIABLES))


def _module(sources: Sources, *, has_suite: bool) -> _Module:
    """What Terraform alone can judge is a warning here. A suite needs a module that takes part in the contract."""
    found = _Module(warnings=[*sources.closure.warnings, *sources.unread], unread=bool(sources.unread))
    for name, text in sorted(sources.files.items()):
        if is_module_file(name):
            _read_module_file(found, _in(sources.path, name), text)
            if has_suite:
                found.problems += _unfit_for_tests(_in(sources.path, name), text)
    missing = sorted(CONTRACT_VARIABLES - found.declared) if has_suite and not found.unread else []
    if missing:
        names = ", ".join(f'variable "{m}"' for m in missing)
        message = f"A benchmark suite needs a module that takes part in the contract: declare {names}."
        found.problems.append(FileProblem(_in(sources.path, CONFIG), 1, 1, message))
    return found


def _read_module_file(found: _Module, file: str, text: str) -> None:
    if file.endswith(".json"):
        variables = json_variables(text)
        if variables is None:
            found.warnings.append(FileProblem(file, 0, 0, f"The file is not readable as JSON; {_JUDGED}"))
    else:
        variables = _hcl_variables(found, file, text)
    if variables is None:
        found.unread = True
        return
    found.declared |= variables.keys()
    found.required |= {name for name, has_default in variables.items() if not has_default}


def _hcl_variables(found: _Module, file: str, text: str) -> dict[str, bool] | None:
    """Variables, and whether they have a default. None: our parser reads less than Terraform does."""
    try:
        body, problems = hcl_worker.read(text, file)
    except FileInvalid as e:
        problems, body = e.problems, None
    found.warnings += [FileProblem(p.file, p.line, p.column, f"{p.message}; {_JUDGED}") for p in problems]
    if body is None:
        return None
    return {b.labels[0]: b.body.attribute("default") is not None for b in body.of_type("variable") if b.labels}


def _unfit_for_tests(file: str, text: str) -> list[FileProblem]:
    """A test makes everything anew, and takes everything down."""
    is_json = file.endswith(".json")
    takes = "A benchmark's module may not import: a test makes what it uses, and takes it down."
    keeps = "{} sets prevent_destroy, and a test is always torn down: remove it from what a benchmark uses."
    problems = [FileProblem(file, *at, takes) for at in declares(text, "import", is_json=is_json)]
    return problems + [
        FileProblem(file, line, column, keeps.format(address))
        for address, line, column in prevented(text, is_json=is_json)
    ]


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
