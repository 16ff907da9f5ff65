"""GitHub's REST API for an App: who it is, where it is installed, its tokens, its one webhook. And knobs for people."""

# ruff: noqa: FAST003 - the dependencies read these path parameters

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel

from stackly.local.hub.apps import App, Installation
from stackly.local.hub.hub import Hub
from stackly.local.hub.problems import Problem, missing
from stackly.local.hub.rest import PerPage, bearer, find_repo
from stackly.local.hub.rest_hooks import HookConfig, NewHook, merged, page_of_log
from stackly.local.hub.shapes import PERMISSIONS, delivery_detail, hook_config
from stackly.local.hub.store import Hook, Repo


class NewApp(BaseModel):
    slug: str = "stackly"


class Reach(BaseModel):
    """What an installation reaches: `repositories` by name, None for all of the owner's; and if it is suspended."""

    repositories: list[str] | None = None
    suspended: bool = False


def router(hub: Hub) -> APIRouter:  # noqa: C901, PLR0915 - a table of routes, each a few lines
    routes = APIRouter()

    async def signed(request: Request) -> App:
        app = hub.apps.app()
        if app is None or not hub.apps.signed_by_app(bearer(request)):
            raise Problem(401, "A JSON web token could not be decoded")
        return app

    async def with_token(request: Request) -> Installation:
        found = hub.apps.of_token(bearer(request))
        if found is None:
            raise Problem(401, "Bad credentials")
        return found

    async def numbered(number: int) -> Installation:
        found = hub.apps.installation(number)
        if found is None:
            raise missing()
        return found

    async def hooked() -> Hook:
        hook = hub.store.app_hook()
        if hook is None:
            raise missing()
        return hook

    AsApp = Annotated[App, Depends(signed)]  # noqa: N806 - a type
    Numbered = Annotated[Installation, Depends(numbered)]  # noqa: N806 - a type
    Hooked = Annotated[Hook, Depends(hooked)]  # noqa: N806 - a type

    @routes.get("/app")
    async def me(app: AsApp) -> dict[str, Any]:
        return hub.shapes.app(app)

    @routes.get("/app/installations")
    async def listed(app: AsApp) -> list[dict[str, Any]]:
        return [hub.shapes.installation(app, i) for i in hub.apps.installations()]

    @routes.get("/app/installations/{number}")
    async def show(app: AsApp, found: Numbered) -> dict[str, Any]:
        return hub.shapes.installation(app, found)

    @routes.post("/app/installations/{number}/access_tokens", status_code=201)
    async def token(_: AsApp, found: Numbered) -> dict[str, Any]:
        if found.suspended_at is not None:
            raise Problem(403, "This installation has been suspended")
        given, expires = hub.apps.give_token(found)
        chosen = "all" if found.everything else "selected"
        return {"token": given, "expires_at": expires, "permissions": PERMISSIONS, "repository_selection": chosen}

    @routes.get("/installation/repositories")
    async def reached(
        found: Annotated[Installation, Depends(with_token)],
        request: Request,
        response: Response,
        page: int = 1,
        per_page: PerPage = 30,
    ) -> dict[str, Any]:
        repos = [repo for repo in hub.store.repos() if hub.apps.reaches(found, repo)]
        start = (max(page, 1) - 1) * per_page
        if len(repos) > start + per_page:
            following = f"{hub.shapes.base_url}{request.url.path}?per_page={per_page}&page={page + 1}"
            response.headers["Link"] = f'<{following}>; rel="next"'
        shown = [hub.shapes.repository(repo) for repo in repos[start : start + per_page]]
        return {"total_count": len(repos), "repositories": shown}

    @routes.get("/repos/{owner}/{name}/installation")
    async def of_repo(app: AsApp, owner: str, name: str, request: Request) -> dict[str, Any]:
        found = hub.apps.of_repo(find_repo(hub, request, owner, name))
        if found is None:
            raise missing()
        return hub.shapes.installation(app, found)

    # the App's webhook

    @routes.get("/app/hook/config")
    async def config(_: AsApp, hook: Hooked) -> dict[str, str]:
        return hook_config(hook)

    @routes.patch("/app/hook/config")
    async def change_config(_: AsApp, body: HookConfig) -> dict[str, str]:
        known = hub.store.app_hook()
        config = merged(known.config if known else {"content_type": "json", "insecure_ssl": "0"}, body)
        if known is None:
            known = hub.store.add_hook(0, active=True, events=["*"], config=config)
        hub.store.change_hook(known.id, active=True, events=["*"], config=config)
        return hook_config(hub.store.hook(0, known.id) or known)

    @routes.get("/app/hook/deliveries")
    async def deliveries(
        _: AsApp, hook: Hooked, request: Request, response: Response, per_page: PerPage = 30, cursor: str | None = None
    ) -> list[dict[str, Any]]:
        return page_of_log(hub, hook, request, response, per_page, cursor)

    @routes.get("/app/hook/deliveries/{delivery_id}")
    async def one_delivery(_: AsApp, hook: Hooked, delivery_id: int) -> dict[str, Any]:
        item = hub.store.delivery(hook.id, delivery_id)
        if item is None or item.status is None:
            raise missing()
        return delivery_detail(item)

    @routes.post("/app/hook/deliveries/{delivery_id}/attempts", status_code=202)
    async def redeliver(_: AsApp, hook: Hooked, delivery_id: int) -> dict[str, Any]:
        item = hub.store.delivery(hook.id, delivery_id)
        if item is None:
            raise missing()
        hub.deliveries.redeliver(hook, item)
        return {}

    @routes.post("/orgs/{owner}/hooks", status_code=201)
    async def hook_of_owner(owner: str, body: NewHook) -> dict[str, Any]:
        config = merged({"content_type": "form", "insecure_ssl": "0"}, body.config)
        hook = hub.store.add_hook(0, body.active, body.events, config, owner=owner)
        return hub.shapes.hook(None, hook)

    # knobs

    @routes.post("/_app", status_code=201)
    async def register(body: NewApp) -> dict[str, Any]:
        app, pem = hub.apps.register(body.slug)
        return {**hub.shapes.app(app), "pem": pem}

    @routes.put("/_app/installations/{owner}")
    async def install(owner: str, body: Reach) -> dict[str, Any]:
        return _install(hub, _app(hub), owner, body)

    @routes.delete("/_app/installations/{owner}", status_code=204)
    async def uninstall(owner: str) -> Response:
        found = hub.apps.of_owner(owner)
        if found is None:
            raise missing()
        reached = _reached(hub, found)
        _tell(hub, found, "installation", "deleted", repositories=_listed(hub, reached))
        hub.apps.uninstall(found)
        return Response(status_code=204)

    return routes


def _app(hub: Hub) -> App:
    app = hub.apps.app()
    if app is None:
        raise Problem(409, "Register an App first: POST /_app")
    return app


def _install(hub: Hub, app: App, owner: str, body: Reach) -> dict[str, Any]:
    repos = [hub.store.repo(owner, name) for name in body.repositories or []]
    chosen = [repo.id for repo in repos if repo is not None]
    found, everything = hub.apps.of_owner(owner), body.repositories is None
    if found is None:
        found = hub.apps.install(owner, everything=everything, repos=chosen)
        _tell(hub, found, "installation", "created", repositories=_listed(hub, _reached(hub, found)), requester=None)
    else:
        _choose(hub, found, everything, chosen)
    if body.suspended != (found.suspended_at is not None):
        hub.apps.suspend(found, suspended=body.suspended)
        found = hub.apps.installation(found.id) or found
        what = "suspend" if body.suspended else "unsuspend"
        _tell(hub, found, "installation", what, repositories=_listed(hub, _reached(hub, found)))
    return hub.shapes.installation(app, hub.apps.installation(found.id) or found)


def _choose(hub: Hub, found: Installation, everything: bool, chosen: list[int]) -> None:
    before = _reached(hub, found)
    hub.apps.choose(found, everything=everything, repos=chosen)
    now = hub.apps.installation(found.id) or found
    after = _reached(hub, now)
    added = [r for r in after if r not in before]
    removed = [r for r in before if r not in after]
    for action, moved in (("added", added), ("removed", removed)):
        if moved:
            lists = {
                "repositories_added": [],
                "repositories_removed": [],
                f"repositories_{action}": _listed(hub, moved),
            }
            selection = "all" if everything else "selected"
            more = {"repository_selection": selection, **lists, "requester": None}
            _tell(hub, now, "installation_repositories", action, **more)


def _reached(hub: Hub, installation: Installation) -> list[Repo]:
    return [repo for repo in hub.store.repos() if hub.apps.reaches(installation, repo)]


def _listed(hub: Hub, repos: list[Repo]) -> list[dict[str, Any]]:
    return [hub.shapes.installed_repository(repo) for repo in repos]


def _tell(hub: Hub, installation: Installation, event: str, action: str, **more: Any) -> None:
    """Events of an installation go to the App, whatever it subscribes to, and to nobody else."""
    hook, app = hub.store.app_hook(), hub.apps.app()
    if hook is None or app is None:
        return
    said = {"action": action, "installation": hub.shapes.installation(app, installation), **more}
    hub.deliveries.announce_to(hook, event, said | {"sender": hub.shapes.user(hub.user)})
