"""What stackly.hcl may say: the one definition behind the reader, the JSON Schema and the documentation."""

import re
from typing import Any

from stackly.hcl_shape import Field, Shape, Unbuilt, lasting, matching, one_of
from stackly.hcl_shape import json_schema as schema_of

TARGETS = ("local", "docker", "module")
EXECUTIONS = ("stack",)
INFRASTRUCTURES = ("ephemeral",)
# Names that a file may hold although no hook is run yet; a run says so.
HOOKS = ("validate_quotas", "notify_slack")
MARK_LOOSE, AUTO_DESTROY = "mark_loose", "auto_destroy"
NAME = r"[a-z][a-z0-9_-]{0,62}"
COMMIT = r"[0-9a-f]{40}([0-9a-f]{24})?"

DEFAULT_DURATION_S = 4 * 3600
DEFAULT_LOOSE_S = 24 * 3600


def json_schema() -> dict[str, Any]:
    """Shape: JSON Schema 2020-12 of the file in HCL's JSON form, `{"stack": {"name": {...}}}`."""
    return schema_of(STACK, "stackly.hcl")


# No branch of git has these in its name. Every other character is one like another, and a blank is one in a path.
_NO_BRANCH = re.compile(r"[\x00-\x20\x7f\\]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_LONGEST_BRANCHES, _LONGEST_PATHS = 250, 1024


def _path(text: str) -> str:
    """A file inside the stack's directory."""
    parts = text.split("/")
    if _CONTROL.search(text) or text.startswith("/") or any(p in ("", ".", "..") for p in parts):
        raise ValueError(f"`{text}` is no path inside the stack's directory")
    return text


def _branches(text: str) -> str:
    """A pattern over names of branches."""
    if not text or len(text) > _LONGEST_BRANCHES or _NO_BRANCH.search(text):
        raise ValueError(f"`{text}` fits no branch; write for example release/*")
    return _relative(text)


def _paths(text: str) -> str:
    """A pattern over the repository's paths; it never leaves the repository."""
    if not text or len(text) > _LONGEST_PATHS or _CONTROL.search(text):
        raise ValueError(f"`{text}` is no pattern; write for example src or src/**")
    return _relative(text)


def _relative(text: str) -> str:
    if text.startswith("/") or ".." in text.split("/"):
        raise ValueError(f"`{text}` must be relative to the repository, without ..")
    return text


_POLICY = matching(NAME, "a policy's name")


def _hook(text: str) -> str:
    if text not in HOOKS:
        raise ValueError(
            f"hooks are not carried out by this release, and `{text}` is none of {', '.join(HOOKS)}; delete it"
        )
    return text


def _choice(name: str, about: str, choices: tuple[str, ...], default: str) -> Field:
    return Field(name, "string", about, default, check=one_of(*choices), schema=(("enum", list(choices)),))


def _texts(name: str, about: str, check: Any, schema: tuple[tuple[str, Any], ...] = ()) -> Field:
    return Field(name, "list", about, (), check=check, schema=schema)


_VARIABLES = Shape("variables", "Terraform variables of the module; literals only.", free=True)
_HOOKS = Shape(
    "hooks",
    "Hooks by name. None is run yet: a run that has some says so in its warnings.",
    fields=tuple(
        _texts(f"{when}_{what}", f"For {when}-{what}; not run yet.", _hook, (("enum", list(HOOKS)),))
        for what in ("plan", "apply", "benchmark", "destroy")
        for when in ("pre", "post")
    ),
)
_TRIGGER = Shape(
    "trigger",
    "Which changes start a run.",
    fields=(
        _texts("branches", "Branch patterns; all branches if left out.", _branches),
        Field(
            "pull_requests",
            "bool",
            "Runs of a pull request are those of its branch.",
            default=True,
            schema=(("enum", [True]),),
        ),
        _texts("paths", "Repository patterns added to the stack's own directory and local modules.", _paths),
    ),
    unbuilt=(Unbuilt("pull_requests", "name the branches that start runs in `branches`", (False,)),),
)
_BUDGET = Shape(
    "budget",
    "How long a run may last.",
    fields=(
        Field("max_duration", "string", "Longest run, for example 3h.", DEFAULT_DURATION_S, check=lasting("1m", "48h")),
    ),
    unbuilt=(Unbuilt("max_machine_hours", "delete it: nothing counts machine-hours yet; use `max_duration`"),),
)
_DEREGISTER = Shape(
    "deregister",
    "What becomes of resources whose code went away: they stay and wait, or are destroyed after a delay.",
    fields=(
        _choice("action", "Wait for a person, or destroy.", (MARK_LOOSE, AUTO_DESTROY), MARK_LOOSE),
        Field("after", "string", "How long before auto_destroy.", DEFAULT_LOOSE_S, check=lasting("1m", "90d")),
    ),
)
_METADATA = Shape("metadata", "Notes about this state for people and hooks; never given to the module.", free=True)
_STATE = Shape(
    "state",
    "One more long-lived state of this code, with its own variables.",
    fields=(
        Field(
            "commit",
            "string",
            "The commit of this branch's history that the state stays at; without it, what was pushed.",
            check=matching(COMMIT, "a full commit id"),
        ),
    ),
    blocks=(_VARIABLES, _METADATA),
    label=NAME,
    many=True,
)
STACK = Shape(
    "stack",
    "A stack: a Terraform module, its policies and its benchmark.",
    fields=(
        Field("version", "string", "Version of the stack, free text.", check=matching(r"\S{1,64}", "a version")),
        _texts("policies", "Policies that judge every run of this stack.", _POLICY),
        Field("suite", "string", "Suite file; suite.yaml if there is one.", check=_path),
        _choice("target", "Where machines come from.", TARGETS, "local"),
        _choice("execution", "One Terraform run.", EXECUTIONS, "stack"),
        _choice("infrastructure", "Machines are made for each test.", INFRASTRUCTURES, "ephemeral"),
    ),
    blocks=(_VARIABLES, _HOOKS, _TRIGGER, _BUDGET, _DEREGISTER, _STATE),
    unbuilt=(
        Unbuilt("schedule", "delete it, and start runs by `git push` or `stackly run start`"),
        Unbuilt("execution", "delete it: a stack is one Terraform run", ("modules",)),
        Unbuilt("infrastructure", "delete it: machines are made for each test", ("standing",)),
        Unbuilt("target", "write local or docker", ("yandex",)),
    ),
    label=NAME,
    required=True,
)
