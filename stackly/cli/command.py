"""What every command shares: --output and --json, one way to fail, one place that turns failures into exits."""

import functools
import inspect
import os
import re
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from stackly.cli.exits import BY_KIND, CommandFailed, Exit
from stackly.cli.lean import LeanCommand, LeanGroup
from stackly.cli.place import Place
from stackly.cli.speech import Format, ReportFormat, Speech
from stackly.errors import FileInvalid, StacklyError, kind_of

if TYPE_CHECKING:
    from stackly.cli.server import Server

Work = Callable[..., int | None]

# A whole id means one thing, or nothing; that is the server's to say.
_WHOLE = re.compile(r"[0-9a-hjkmnp-tv-z]{18}")

Limit = Annotated[int, typer.Option(min=1, max=200, help="How many at most.")]
Cursor = Annotated[str | None, typer.Option(help="Where the page before ended.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def new_app(place: Callable[[str | None], Place]) -> typer.Typer:
    """The command without its parts; `place` is made of what --server said."""
    app = typer.Typer(
        name="stackly",
        add_completion=False,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        cls=LeanGroup,
    )

    @app.callback()
    def root(
        ctx: typer.Context,
        server: Annotated[
            str | None, typer.Option(envvar="STACKLY_SERVER", help="The server; this machine's own unless told.")
        ] = None,
    ) -> None:
        """Stackly: a git push becomes a benchmark verdict, and nothing is left behind."""
        ctx.obj = place(server)

    return app


def called(meant: dict[str, Any]) -> str:
    """A stack in full, for a question: its name alone may stand in many repositories."""
    return f"{meant['name']} ({place_of(meant)}, {meant['id']})"


def place_of(meant: dict[str, Any]) -> str:
    """Shape: OWNER/REPO:PATH@REF."""
    branch = str(meant["ref"]).removeprefix("refs/heads/")
    return f"{meant['repository']}:{meant['path'] or '.'}@{branch}"


class Invocation:
    """One call of the command: how it speaks, and whom it asks."""

    def __init__(self, say: Speech, place: Place) -> None:
        self.say = say
        self.place = place

    @functools.cached_property
    def server(self) -> "Server":
        from stackly.cli.server import Server  # late: httpx costs more than many a command

        return Server(self.place.server(), self.place.token())

    def meant(self, noun: str, reference: str, *, ref: str | None = None) -> dict[str, Any]:
        """What a reference of a person means. Shape: id kind name repository path ref status, test of an obligation.

        Raises: CommandFailed, with all candidates where it means more than one thing.
        """
        return self.server.get(f"/resolve/{noun}", reference=reference, ref=ref)

    def id_of(self, noun: str, reference: str, *, ref: str | None = None) -> str:
        """Its id, as addresses hold it: no verb asks the server by anything else. Raises: CommandFailed."""
        if _WHOLE.fullmatch(reference):
            return reference
        return quote(str(self.meant(noun, reference, ref=ref)["id"]), safe="")

    def confirm(self, question: str, *, yes: bool) -> None:
        """Raises: CommandFailed when the answer is no, or nobody can be asked."""
        if yes:
            return
        if not sys.stdin.isatty():
            raise CommandFailed(Exit.USAGE, "This cannot be undone.", f"{question} Say so with --yes.")
        print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
            raise CommandFailed(Exit.USAGE, "Nothing was done.")


def command(app: typer.Typer, name: str, *, reports: bool = False) -> Callable[[Work], Work]:
    """Register `work(call, …)` with --output and --json; it returns its exit, None for 0."""

    def register(work: Work) -> Work:
        app.command(name, cls=LeanCommand)(_with_output(work, ReportFormat if reports else Format))
        return work

    return register


def _with_output(work: Work, formats: type[Format] | type[ReportFormat]) -> Callable[..., None]:
    @functools.wraps(work)
    def run(ctx: typer.Context, **given: Any) -> None:
        form = Format.JSON.value if given.pop("as_json") else given.pop("output").value
        given.pop("output", None)
        say = Speech(form)
        raise typer.Exit(guarded(say, lambda: work(Invocation(say, ctx.obj), **given)))

    keyword = inspect.Parameter.KEYWORD_ONLY
    own = [p.replace(kind=keyword) for p in inspect.signature(work, eval_str=True).parameters.values()][1:]
    output = Annotated[formats, typer.Option("--output", "-o", help="How the result is written.")]  # type: ignore[valid-type]  # read at run time
    as_json = Annotated[bool, typer.Option("--json", help="The same as --output json.")]
    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # what typer reads
        [
            inspect.Parameter("ctx", keyword, annotation=typer.Context),
            *own,
            inspect.Parameter("output", keyword, default=formats.TEXT, annotation=output),
            inspect.Parameter("as_json", keyword, default=False, annotation=as_json),
        ]
    )
    return run


def guarded(say: Speech, work: Callable[[], int | None]) -> int:
    """Do it; whatever goes wrong is said once, on stderr, and becomes the exit."""
    try:
        return int(work() or 0)
    except CommandFailed as e:
        say.problem(e.problem)
        return e.code
    except StacklyError as e:
        say.problem(_problem_of(e))
        return BY_KIND[kind_of(e).slug()]
    except KeyboardInterrupt:
        say.problem({"title": "Interrupted.", "detail": "What was started goes on."})
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # The reader has seen enough; Python must not complain about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.OK
    except Exception as e:
        if os.environ.get("STACKLY_DEBUG"):
            raise
        detail = f"{type(e).__name__}: {e}. This is a defect; STACKLY_DEBUG=1 shows where."
        say.problem({"title": "Internal error.", "detail": detail})
        return Exit.INTERNAL


def _problem_of(error: StacklyError) -> dict[str, Any]:
    base = {"type": f"/problems/{error.slug()}", "title": error.title, "detail": error.detail}
    if isinstance(error, FileInvalid):
        base["detail"] = "\n".join(str(p) for p in error.problems)
    return {**base, "kind": kind_of(error).slug(), **error.fields}
