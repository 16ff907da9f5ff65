"""Files that are checked without a server: suites, stack files, policies, and their schemas."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stackly.cli.command import Invocation, command
from stackly.cli.exits import CommandFailed, Exit
from stackly.cli.lean import group
from stackly.cli.speech import table
from stackly.cli.suite_file import checked
from stackly.words import counted

if TYPE_CHECKING:
    from stackly.suites.model import ResolvedSuite, ResolvedTest

Json = dict[str, Any]
suite_app = group("suite", "Suite files.")
policy_app = group("policy", "Policy files.")

_EXAMPLE_BLOCKS = {"local": "127.64.0.0/28", "docker": "10.213.0.0/24"}

File = Annotated[Path, typer.Argument(help="The file.")]
Target = Annotated[str | None, typer.Option(help="local or docker; the one in stackly.hcl beside it unless told.")]


@command(suite_app, "validate")
def validate(call: Invocation, file: File, *, target: Target = None) -> None:
    """Check a suite file; every problem is listed with file:line:column."""
    found = checked(file, target=target, commit=None)
    said = {"valid": True, "file": str(file), "name": found.suite.name, "tests": len(found.resolved.tests)}
    said |= {"description": found.suite.description, "warnings": found.warnings}
    for warning in found.warnings if call.say.form == "text" else ():
        call.say.note(f"warning: {warning}")
    count = counted(len(found.resolved.tests), "test")
    call.say.one(said, lambda _: f"{file}: valid, {count} on target {found.target}")


@command(suite_app, "plan")
def plan_(
    call: Invocation,
    file: File,
    *,
    target: Target = None,
    commit: Annotated[str | None, typer.Option(help="For ${commit}; what is checked out unless told.")] = None,
) -> None:
    """What a suite file resolves to, its digest, and the machines it would get."""
    from stackly.suites import jsonform, placement, plan

    found = checked(file, target=target, commit=commit)
    block = _EXAMPLE_BLOCKS[found.target]
    placed = [{"test": t.test, **placement.place(t, block, found.target).to_json()} for t in found.resolved.tests]
    body = {
        "digest": plan.digest(found.resolved),
        "target": found.target,
        "suite": jsonform.to_json(found.resolved),
        "placements": placed,
    }
    call.say.one(body, lambda _: _planned(body["digest"], found.resolved, placed))


def _planned(digest: str, resolved: "ResolvedSuite", placed: list[Json]) -> str:
    machines = [
        [p["test"], m["name"], ",".join(m["roles"]), m["ip"], m["cores"], m["memory_gb"], m["disk_gb"]]
        for p in placed
        for m in p["machines"]
    ]
    heads = ["TEST", "DATABASE", "WORKLOAD", "SCALE", "CLIENTS", "WARM-UP", "SAMPLE", "REPEATS", "LIMITS"]
    return "\n\n".join(
        [
            f"suite   {resolved.name}\ndigest  {digest}",
            table(heads, [_test_row(t) for t in resolved.tests]),
            table(["TEST", "MACHINE", "ROLES", "ADDRESS (EXAMPLE)", "CORES", "GB MEMORY", "GB DISK"], machines),
        ]
    )


def _test_row(test: "ResolvedTest") -> list[object]:
    measure, load = test.measure, test.workload
    limits = [f"{t.metric} >= {t.min:g}" for t in test.thresholds if t.min is not None]
    limits += [f"{t.metric} <= {t.max:g}" for t in test.thresholds if t.max is not None]
    few, many = measure.repeats_min, measure.repeats_max
    return [
        test.test,
        f"{test.database.engine} {test.database.version}",
        f"{load.driver} {load.name}",
        load.scale_factor,
        load.clients,
        f"{measure.warmup_s}s",
        f"{measure.duration_s}s",
        str(few) if few == many else f"{few}-{many}",
        ", ".join(limits),
    ]


@command(suite_app, "run", reports=True)
def run(call: Invocation, file: Annotated[Path, typer.Argument(help="A suite, in its stack's directory.")]) -> int:
    """Push a suite's directory to a local hub repository, and follow its run."""
    from stackly.cli.suite_run import suite_run  # late: the other commands here need no server

    return suite_run(call, file)


@command(policy_app, "lint")
def lint(
    call: Invocation,
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Files, or directories of *.hcl.")],
) -> None:
    """Check policy files; every problem of each is listed with file:line:column."""
    from stackly.cli.policy_lint import policy_lint  # late: the other commands here read no policies

    policy_lint(call, files)


def schema(
    call: Invocation, kind: Annotated[str, typer.Argument(metavar="suite|stack", help="Of which file.")]
) -> None:
    """The JSON Schema of a file."""
    from stackly.cli.speech import dump

    if kind == "suite":
        from stackly.suites.schema import json_schema
    elif kind == "stack":
        from stackly.stacks.config_schema import json_schema
    else:
        raise CommandFailed(Exit.USAGE, "There is no such choice.", f"{kind!r} is none of suite, stack.")
    found = json_schema()
    call.say.one(found, lambda f: dump(f, pretty=True))
