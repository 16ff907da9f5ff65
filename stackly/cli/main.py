"""The console entry: `stackly`."""

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from stackly.cli import about, agents, approvals, demo, events, files, local, repos, runs, stacks, suite_run
from stackly.cli.command import command
from stackly.cli.exits import Exit
from stackly.cli.place import Place, default_home
from stackly.cli.speech import Format, Speech

app = typer.Typer(name="stackly", add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def root(
    ctx: typer.Context,
    server: Annotated[
        str | None, typer.Option(envvar="STACKLY_SERVER", help="The server's address; this machine's own unless told.")
    ] = None,
) -> None:
    """Stackly: a git push becomes a benchmark verdict, and nothing is left behind."""
    ctx.obj = Place(default_home(), server)


for _verb, _work in (
    ("up", local.up),
    ("down", local.down),
    ("status", local.status),
    ("logs", local.logs),
    ("doctor", local.doctor),
    ("version", about.version),
    ("completion", about.completion),
    ("login", about.login),
    ("inventory", events.inventory),
    ("explain", events.explain),
    ("approve", approvals.approve),
    ("deny", approvals.deny),
    ("schema", files.schema),
):
    command(app, _verb)(_work)
command(app, "demo", reports=True)(demo.demo)
command(files.suite_app, "run", reports=True)(suite_run.suite_run)

for _noun in (
    repos.app,
    stacks.app,
    runs.app,
    files.suite_app,
    approvals.app,
    agents.app,
    events.app,
    files.policy_app,
):
    app.add_typer(_noun)


def run(argv: Sequence[str]) -> int:
    """One call. Shape: its exit."""
    try:
        ended = app(list(argv), prog_name="stackly", standalone_mode=False)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except typer.Abort:
        return Exit.INTERRUPTED
    except Exception as e:
        if not hasattr(e, "format_message"):  # what the parser raises, whichever click is in use
            raise
        return _misused(e, argv)
    return int(ended or 0)


def _misused(error: Any, argv: Sequence[str]) -> Exit:
    """A usage error in the form that was asked for."""
    Speech(_form(argv)).problem(
        {"type": "/problems/invalid", "title": "This is not how it is called.", "detail": error.format_message()}
    )
    if getattr(error, "ctx", None) is not None and _form(argv) == Format.TEXT:
        print(f"Try: {error.ctx.command_path} --help", file=sys.stderr)
    return Exit.USAGE


def _form(argv: Sequence[str]) -> Format:
    told = " ".join(argv)
    wants_json = "--json" in argv or "--output json" in told or "--output=json" in told or "-o json" in told
    return Format.JSON if wants_json else Format.TEXT


def main() -> None:
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
