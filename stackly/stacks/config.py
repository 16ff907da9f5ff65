"""stackly.hcl: the text a person wrote, as a frozen value, and back from storage."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from stackly import hcl
from stackly.errors import FileInvalid, FileProblem
from stackly.hcl_shape import Read, read_all
from stackly.policy import canonical
from stackly.stacks.config_schema import (
    DEFAULT_DURATION_S,
    DEFAULT_LOOSE_S,
    MARK_LOOSE,
    STACK,
)

# A stack file is a page. Reading costs about 4 s of CPU a megabyte, and a push may bring hundreds of them.
MAX_BYTES = 64 * 1024

DEFAULT_STATE = "default"


@dataclass(frozen=True, slots=True)
class PolicyName:
    """A policy the file asks for, and where it asks."""

    name: str
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Trigger:
    """Shape: no `branches` means all branches; `paths` are added to the stack's own directory."""

    branches: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Budget:
    max_duration_s: int = DEFAULT_DURATION_S


@dataclass(frozen=True, slots=True)
class Deregister:
    """What becomes of resources when the code goes. Units: `after_s` counts for auto_destroy only."""

    action: str = MARK_LOOSE
    after_s: int = DEFAULT_LOOSE_S


@dataclass(frozen=True, slots=True)
class State:
    """One more state, and where it stands. Shape: `commit` None: the pushed one."""

    name: str
    variables: Mapping[str, Any] = field(default_factory=dict)
    commit: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    line: int = field(default=0, compare=False)
    column: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class StackConfig:
    """Shape: `suite` is None when the file names none; `hooks` holds only points that were given."""

    name: str
    version: str | None = None
    variables: Mapping[str, Any] = field(default_factory=dict)
    policies: tuple[PolicyName, ...] = ()
    hooks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    suite: str | None = None
    target: str = "local"
    infrastructure: str = "ephemeral"
    trigger: Trigger = Trigger()
    budget: Budget = Budget()
    deregister: Deregister = Deregister()
    states: tuple[State, ...] = ()

    def state_variables(self, state: str = DEFAULT_STATE) -> dict[str, Any]:
        """A state's own variables over the stack's. Raises: KeyError for a state the file does not name."""
        if state == DEFAULT_STATE:
            return dict(self.variables)
        own = {named.name: named.variables for named in self.states}
        return {**self.variables, **own[state]}

    def module_variables(self, state: str = DEFAULT_STATE) -> dict[str, Any]:
        """What the module is given; the environment comes beside it. Raises: KeyError as `state_variables`."""
        return {name: value for name, value in self.state_variables(state).items() if name != "environment"}

    def metadata(self, state: str = DEFAULT_STATE) -> dict[str, Any]:
        """What the file notes about a state; nothing for the default one."""
        return {k: v for named in self.states if named.name == state for k, v in named.metadata.items()}

    def environment(self, state: str = DEFAULT_STATE) -> str | None:
        """What policies compare with; only text counts."""
        value = self.state_variables(state).get("environment")
        return value if isinstance(value, str) else None

    def warnings(self) -> tuple[str, ...]:
        """What the file asks for and does not get yet, a sentence each."""
        named = [(point, name) for point, names in sorted(self.hooks.items()) for name in names]
        return tuple(f"hook {name} at {point} is not run yet" for point, name in named)

    def as_json(self) -> dict[str, Any]:
        """Shape: plain JSON; `from_json` gives an equal value back, places of policies included."""
        return dict(canonical.as_json(self))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return canonical.from_json(cls, data)


def parse(text: str, file: str, *, read: hcl.Read = hcl.read) -> StackConfig:
    """Raises: FileInvalid with all problems of the file, in the order of its lines.

    A stranger's file is read with `hcl_worker.read`.
    """
    body, problems = read(text, file, max_bytes=MAX_BYTES)
    reads = read_all(body, (STACK,), file, problems)["stack"]
    for found in reads:
        problems += _contradictions(found, file)
    if problems:
        raise FileInvalid(sorted(problems, key=lambda p: (p.line, p.column)))
    return _config(reads[0])


def kind(config: StackConfig, has_suite: bool) -> str:
    """Shape: plain, ephemeral or standing. Without a suite there is nothing to measure, so it is plain."""
    if not has_suite:
        return "plain"
    return "standing" if config.infrastructure == "standing" else "ephemeral"


def unknown_policies(config: StackConfig, known: Iterable[str], file: str) -> list[FileProblem]:
    """One problem for each policy the account does not have."""
    names = sorted(set(known))
    near = f"; known: {', '.join(names)}" if names else "; the account has none"
    return [
        FileProblem(file, policy.line, policy.column, f'there is no policy "{policy.name}"{near}')
        for policy in config.policies
        if policy.name not in names
    ]


def _contradictions(read: Read, file: str) -> list[FileProblem]:
    """What is wrong only in company."""
    return [
        FileProblem(file, state.line, state.column, '"default" is the stack itself; put its variables beside it')
        for state in read.blocks["state"]
        if state.label == DEFAULT_STATE
    ]


def _config(read: Read) -> StackConfig:
    fields = read.fields
    return StackConfig(
        name=read.label,
        version=fields["version"],
        variables=_variables(read),
        policies=_policies(read),
        hooks=_hooks(read),
        suite=fields["suite"],
        target=fields["target"],
        infrastructure=fields["infrastructure"],
        trigger=_trigger(read.block("trigger")),
        budget=_budget(read.block("budget")),
        deregister=_deregister(read.block("deregister")),
        states=tuple(_state(state) for state in read.blocks["state"]),
    )


def _state(read: Read) -> State:
    metadata = read.block("metadata")
    noted = dict(metadata.fields) if metadata else {}
    return State(read.label, _variables(read), read.fields["commit"], noted, read.line, read.column)


def _variables(read: Read) -> dict[str, Any]:
    block = read.block("variables")
    return dict(block.fields) if block else {}


def _policies(read: Read) -> tuple[PolicyName, ...]:
    value = read.given.get("policies")
    return tuple(PolicyName(str(item.scalar), item.line, item.column) for item in value.items) if value else ()


def _hooks(read: Read) -> dict[str, tuple[str, ...]]:
    block = read.block("hooks")
    return {point: tuple(block.fields[point]) for point in block.fields if block.fields[point]} if block else {}


def _trigger(read: Read | None) -> Trigger:
    return Trigger(read.fields["branches"], read.fields["paths"]) if read else Trigger()


def _budget(read: Read | None) -> Budget:
    return Budget() if read is None else Budget(int(read.fields["max_duration"]))


def _deregister(read: Read | None) -> Deregister:
    return Deregister() if read is None else Deregister(str(read.fields["action"]), int(read.fields["after"]))
