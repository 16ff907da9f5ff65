"""GitHub's REST API as far as the platform uses it: repositories and commit statuses."""

# ruff: noqa: FAST003 - the dependencies read these path parameters

import re
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, Field

from stackly.local.hub.git_http import pusher
from stackly.local.hub.hub import Hub
from stackly.local.hub.problems import Problem, missing, refused
from stackly.local.hub.store import Repo

_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}\Z")
_LOGIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,38}\Z")
_BRANCH = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}\Z")
_SHA = re.compile(r"[0-9a-f]{40}\Z")

PerPage = Annotated[int, Query(ge=1, le=100)]


class NewRepo(BaseModel):
    name: str
    description: str | None = None
    private: bool = False
    default_branch: str = "main"


class RepoChange(BaseModel):
    name: str | None = None
    archived: bool | None = None
    private: bool | None = None
    description: str | None = None
    default_branch: str | None = None


class Transfer(BaseModel):
    new_owner: str
    new_name: str | None = None


class NewStatus(BaseModel):
    state: Literal["error", "failure", "pending", "success"]
    target_url: str | None = None
    description: Annotated[str | None, Field(max_length=140)] = None
    context: Annotated[str, Field(min_length=1, max_length=255)] = "default"


def find_repo(hub: Hub, request: Request, owner: str, name: str) -> Repo:
    return visible(hub, request, hub.store.repo(owner, name))


def visible(hub: Hub, request: Request, repo: Repo | None) -> Repo:
    """The repository, if whoever asks may know of it: with an installation's token, of what it reaches only."""
    token = bearer(request)
    if token.startswith("ghs_"):
        installation = hub.apps.of_token(token)
        if installation is None:
            raise Problem(401, "Bad credentials")
        if repo is not None and not hub.apps.reaches(installation, repo):
            repo = None
    if repo is None:
        raise missing()
    return repo


def bearer(request: Request) -> str:
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() in {"bearer", "token"} else ""


def router(hub: Hub) -> APIRouter:  # noqa: C901 - a table of routes, each a few lines
    routes = APIRouter()

    async def named(owner: str, name: str, request: Request) -> Repo:
        return find_repo(hub, request, owner, name)

    Named = Annotated[Repo, Depends(named)]  # noqa: N806 - a type

    @routes.post("/user/repos", status_code=201)
    async def create(body: NewRepo, request: Request) -> dict[str, Any]:
        return await _create(hub, pusher(request, hub), body)

    @routes.post("/orgs/{owner}/repos", status_code=201)
    async def create_in(owner: str, body: NewRepo) -> dict[str, Any]:
        return await _create(hub, owner, body)

    @routes.get("/user/repos")
    async def listed(page: int = 1, per_page: PerPage = 30) -> list[dict[str, Any]]:
        start = (max(page, 1) - 1) * per_page
        return [hub.shapes.repository(repo) for repo in hub.store.repos()[start : start + per_page]]

    @routes.get("/repositories/{number}")
    async def by_id(number: int, request: Request) -> dict[str, Any]:
        return hub.shapes.repository(visible(hub, request, hub.store.repo_by_id(number)))

    @routes.get("/repos/{owner}/{name}")
    async def show(repo: Named) -> dict[str, Any]:
        return hub.shapes.repository(repo)

    @routes.patch("/repos/{owner}/{name}")
    async def change(repo: Named, body: RepoChange, request: Request) -> dict[str, Any]:
        return await _change(hub, repo, body, pusher(request, hub))

    @routes.delete("/repos/{owner}/{name}", status_code=204)
    async def remove(repo: Named, request: Request) -> Response:
        async with hub.repositories.lock(repo.id):
            announce(hub, repo, "deleted", pusher(request, hub))
            hub.store.remove_repo(repo.id)
            hub.repositories.remove(repo.id)
        return Response(status_code=204)

    @routes.post("/repos/{owner}/{name}/transfer", status_code=202)
    async def transfer(repo: Named, body: Transfer, request: Request) -> dict[str, Any]:
        return _transfer(hub, repo, body, pusher(request, hub))

    @routes.get("/repos/{owner}/{name}/activity")
    async def activity(
        repo: Named, ref: str | None = None, after: int | None = None, per_page: PerPage = 30
    ) -> list[dict[str, Any]]:
        full = ref if ref is None or ref.startswith("refs/") else f"refs/heads/{ref}"
        rows = hub.activities.listed(repo.id, ref=full, below=after, limit=per_page)
        return [hub.shapes.activity(row) for row in rows]

    @routes.post("/repos/{owner}/{name}/statuses/{sha}", status_code=201)
    async def add_status(repo: Named, sha: str, body: NewStatus, request: Request) -> dict[str, Any]:
        return await _add_status(hub, repo, sha, body, pusher(request, hub))

    @routes.get("/repos/{owner}/{name}/statuses/{sha}")
    @routes.get("/repos/{owner}/{name}/commits/{sha}/statuses")
    async def statuses(repo: Named, sha: str, page: int = 1, per_page: PerPage = 30) -> list[dict[str, Any]]:
        start = (max(page, 1) - 1) * per_page
        rows = hub.store.statuses(repo.id, sha, offset=start, limit=per_page)
        return [hub.shapes.status(repo, row) for row in rows]

    return routes


def is_login(text: str) -> bool:
    return _LOGIN.match(text) is not None


async def _create(hub: Hub, owner: str, body: NewRepo) -> dict[str, Any]:
    if not is_login(owner):
        raise missing()
    _check_name(body.name)
    _check_branch(body.default_branch)
    repo = hub.store.add_repo(owner, body.name, body.description, body.private, body.default_branch)
    if repo is None:
        raise refused("Repository", "name", "name already exists on this account")
    await hub.repositories.create(repo.id, repo.default_branch)
    return hub.shapes.repository(repo)


async def _change(hub: Hub, repo: Repo, body: RepoChange, who: str) -> dict[str, Any]:
    branch = body.default_branch or repo.default_branch
    if branch != repo.default_branch:
        if f"refs/heads/{branch}" not in await hub.repositories.refs(repo.id):
            raise refused("Repository", "default_branch", "The branch was not found.")
        await hub.repositories.point_head(repo.id, branch)
    description = body.description if "description" in body.model_fields_set else repo.description
    hub.store.change_repo(repo.id, default_branch=branch, description=description)
    if body.name is not None and body.name != repo.name:
        _check_name(body.name)
        if not hub.store.rename_repo(repo, body.name):
            raise refused("Repository", "name", "name already exists on this account")
        announce(hub, repo, "renamed", who, {"repository": {"name": {"from": repo.name}}})
    _mark(hub, repo, body, who)
    if branch != repo.default_branch:
        announce(hub, repo, "edited", who, {"default_branch": {"from": repo.default_branch}})
    return hub.shapes.repository(hub.store.repo_by_id(repo.id) or repo)


def _mark(hub: Hub, repo: Repo, body: RepoChange, who: str) -> None:
    archived = repo.archived if body.archived is None else body.archived
    private = repo.private if body.private is None else body.private
    hub.store.mark_repo(repo.id, archived=archived, private=private)
    if archived != repo.archived:
        announce(hub, repo, "archived" if archived else "unarchived", who)
    if private != repo.private:
        announce(hub, repo, "privatized" if private else "publicized", who)


def _transfer(hub: Hub, repo: Repo, body: Transfer, who: str) -> dict[str, Any]:
    """At once, where GitHub asks the new owner first. Hooks of the repository go along, installations do not."""
    if not is_login(body.new_owner):
        raise refused("Repository", "new_owner", "new_owner is not a login")
    name = body.new_name or repo.name
    _check_name(name)
    if not hub.store.rename_repo(repo, name, owner=body.new_owner):
        raise refused("Repository", "name", "name already exists on this account")
    former = hub.shapes.user(repo.owner)
    announce(hub, repo, "transferred", who, {"owner": {"from": {"user": former}}})
    return hub.shapes.repository(hub.store.repo_by_id(repo.id) or repo)


def announce(hub: Hub, former: Repo, action: str, who: str, changes: dict[str, Any] | None = None) -> None:
    """Tell what became of a repository. `former` is as it was; what is told is as it is now."""
    repo = hub.store.repo_by_id(former.id) or former
    payload = {
        "action": action,
        **({"changes": changes} if changes else {}),
        "repository": hub.shapes.repository(repo),
        "sender": hub.shapes.user(who),
    }
    hub.deliveries.announce(repo, "repository", payload)


async def _add_status(hub: Hub, repo: Repo, sha: str, body: NewStatus, who: str) -> dict[str, Any]:
    if not _SHA.match(sha) or not await hub.repositories.has_commit(repo.id, sha):
        raise refused("Status", "sha", f"No commit found for SHA: {sha[:40]}")
    if hub.store.count_statuses(repo.id, sha, body.context) >= hub.max_statuses:
        raise refused("Status", None, "This SHA and context has reached the maximum number of statuses.")
    row = hub.store.add_status(repo.id, sha, body.context, body.state, body.description, body.target_url, who)
    return hub.shapes.status(repo, row)


def _check_name(name: str) -> None:
    if not _NAME.match(name) or name in (".", "..") or name.lower().endswith((".git", ".wiki")):
        raise refused("Repository", "name", "name can only contain ASCII letters, digits, '.', '-' and '_'")


def _check_branch(name: str) -> None:
    bad = ("..", "//", "@{", "/.")
    if not _BRANCH.match(name) or name.endswith(("/", ".", ".lock")) or any(part in name for part in bad):
        raise refused("Repository", "default_branch", "is not a name for a branch")
