"""`stackly repo`: what is connected, and what GitHub sent for it."""

import re
from typing import Annotated, Any

import typer

from stackly.cli.command import Cursor, Invocation, Limit, command
from stackly.cli.exits import CommandFailed, Exit
from stackly.cli.lean import group
from stackly.cli.speech import facts, field, short, without_credential

Json = dict[str, Any]
_OWNER = "stackly"
# Text shows no credential: the shell takes it from the JSON of operators.
_URL_OF = "'import json,sys;print(json.load(sys.stdin)[\"clone_url\"])'"
app = group("repo", "Repositories.")
Repo = Annotated[str, typer.Argument(help="An id, a unique beginning of it, owner/name, or name.")]


def show(repo: Json) -> str:
    heads = ", ".join(f"{ref.removeprefix('refs/heads/')} {short(c)}" for ref, c in repo["last_processed"].items())
    return facts(
        [
            ("repository", repo["full_name"]),
            ("id", repo["id"]),
            ("status", repo["status"]),
            ("reason", repo.get("reason")),
            ("default branch", repo["default_branch"]),
            ("clone url", without_credential(repo["clone_url"])),
            ("hook", repo["hook_id"]),
            ("processed", heads),
        ]
    )


@command(app, "add")
def add(call: Invocation, url: Annotated[str, typer.Argument(help="The clone URL, or owner/name.")]) -> None:
    """Connect a repository; adding it again is harmless."""
    call.say.one(call.server.post("/repos", {"url": url}), show)


@command(app, "create")
def create(call: Invocation, name: Annotated[str, typer.Argument(help="NAME, or OWNER/NAME.")]) -> None:
    """Make a repository of the local hub, and connect it; one that is there is left as it is."""
    from stackly.cli import pushing  # late: it speaks to the hub, which other commands here do not

    if not re.fullmatch(r"([A-Za-z0-9_.-]{1,100}/)?[A-Za-z0-9_.-]{1,100}", name) or ".." in name:
        said = f"{name!r} is no repository's name; write letters, digits, - and _, with an owner before / if you like."
        raise CommandFailed(Exit.USAGE, "This name cannot be used.", said)
    full_name = name if "/" in name else f"{_OWNER}/{name}"
    pushing.ensure_repository(call, full_name)
    call.say.one(call.server.get(f"/repos/{full_name}"), _created)


def _created(repo: Json) -> str:
    url = f"$(stackly repo show {repo['full_name']} --json | python3 -c {_URL_OF})"
    return f'{show(repo)}\n\npush to it: git push "{url}" HEAD:{repo["default_branch"]}'


@command(app, "list")
def list_(call: Invocation, limit: Limit = 50, cursor: Cursor = None) -> None:
    """The connected repositories."""
    columns = [
        field("id"),
        ("REPOSITORY", lambda r: r["full_name"]),
        field("status"),
        ("BRANCH", lambda r: r["default_branch"]),
        ("URL", lambda r: without_credential(r["clone_url"])),
    ]
    call.say.page(
        call.server.get("/repos", limit=limit, cursor=cursor), columns, empty="none; add one: stackly repo add URL"
    )


@command(app, "show")
def show_(call: Invocation, repo: Repo) -> None:
    """One repository, and how far it was processed."""
    call.say.one(call.server.get(f"/repos/{call.id_of('repo', repo)}"), show)


@command(app, "sync")
def sync(call: Invocation, repo: Repo) -> None:
    """Compare a repository with what was processed last, as if a webhook had come."""
    call.say.one(call.server.post(f"/repos/{call.id_of('repo', repo)}/sync"), lambda _: f"{repo} is looked at")


@command(app, "deliveries")
def deliveries(
    call: Invocation,
    repo: Annotated[str | None, typer.Argument(help="An id, a unique beginning of it, owner/name, or name.")] = None,
    *,
    unconnected: Annotated[bool, typer.Option("--unconnected", help="Of repositories that are not connected.")] = False,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> None:
    """What arrived for a repository, newest first; or what arrived for those that are not connected."""
    if (repo is None) is not unconnected:
        raise CommandFailed(Exit.USAGE, "Which deliveries?", "Name a repository, or give --unconnected.")
    if repo is None:
        page = call.server.get("/repos/-/deliveries", limit=limit, cursor=cursor)
        named = "repository", "repository_id"
    else:
        page = call.server.get(f"/repos/{call.id_of('repo', repo)}/deliveries", limit=limit, cursor=cursor)
        named = "status", "attempts"
    call.say.page(page, [field(n) for n in ("guid", "event", *named, "received_at", "reason")])


@command(app, "rotate")
def rotate(call: Invocation, repo: Repo) -> None:
    """A new webhook secret, here and on GitHub; what was signed with the present one is still taken."""
    call.say.one(call.server.post(f"/repos/{call.id_of('repo', repo)}/rotate"), lambda _: f"{repo} has a new secret")


@command(app, "address")
def address(
    call: Invocation, *, rotate: Annotated[bool, typer.Option("--rotate", help="Make a new secret.")] = False
) -> None:
    """The one webhook address for a GitHub App, or for an organisation, and the secret to paste beside it."""
    call.say.one(
        call.server.post("/github/hook", {"rotate": rotate}),
        lambda told: facts([("url", told["url"]), ("secret", told["secret"]), ("content type", "application/json")]),
    )


@command(app, "redeliver")
def redeliver(
    call: Invocation, repo: Repo, guid: Annotated[str, typer.Argument(help="A delivery's GUID, or GitHub's id.")]
) -> None:
    """Have GitHub send a delivery again; it starts nothing twice."""
    call.say.one(
        call.server.post(f"/repos/{call.id_of('repo', repo)}/redeliver", {"guid": guid}),
        lambda _: f"{guid} is sent again",
    )
