"""GitHub's REST API for webhooks and their deliveries."""

# ruff: noqa: FAST003 - the dependencies read these path parameters

import base64
import binascii
from typing import Annotated, Any, Literal
from urllib.parse import urlencode, urlsplit

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from stackly.local.hub.hub import Hub
from stackly.local.hub.problems import Problem, missing, refused
from stackly.local.hub.rest import PerPage, find_repo
from stackly.local.hub.shapes import delivery, delivery_detail, hook_config
from stackly.local.hub.store import Hook, Repo

MAX_HOOKS = 20
_ZEN = "Keep it logically awesome."


class HookConfig(BaseModel):
    model_config = ConfigDict(extra="ignore", coerce_numbers_to_str=True)

    url: str | None = None
    content_type: Literal["json", "form"] | None = None
    secret: str | None = None
    insecure_ssl: str | None = None


class NewHook(BaseModel):
    name: Literal["web"] = "web"
    active: bool = True
    events: Annotated[list[str], Field(min_length=1)] = ["push"]
    config: HookConfig


class HookChange(BaseModel):
    active: bool | None = None
    events: Annotated[list[str], Field(min_length=1)] | None = None
    config: HookConfig | None = None


def router(hub: Hub) -> APIRouter:  # noqa: C901 - a table of routes, each a few lines
    routes = APIRouter(prefix="/repos/{owner}/{name}/hooks")

    async def named(owner: str, name: str, request: Request) -> Repo:
        return find_repo(hub, request, owner, name)

    Named = Annotated[Repo, Depends(named)]  # noqa: N806 - a type

    async def hooked(repo: Named, number: int) -> Hook:
        hook = hub.store.hook(repo.id, number)
        if hook is None:
            raise missing()
        return hook

    Hooked = Annotated[Hook, Depends(hooked)]  # noqa: N806 - a type

    @routes.post("", status_code=201)
    async def create(repo: Named, body: NewHook) -> dict[str, Any]:
        hook = _create(hub, repo, body)
        _ping(hub, repo, hook)
        return hub.shapes.hook(repo, hook)

    @routes.get("")
    async def listed(repo: Named) -> list[dict[str, Any]]:
        return [hub.shapes.hook(repo, hook) for hook in hub.store.hooks(repo.id)]

    @routes.get("/{number}")
    async def show(repo: Named, hook: Hooked) -> dict[str, Any]:
        return hub.shapes.hook(repo, hook)

    @routes.patch("/{number}")
    async def change(repo: Named, hook: Hooked, body: HookChange) -> dict[str, Any]:
        return hub.shapes.hook(repo, _change(hub, repo, hook, body))

    @routes.delete("/{number}", status_code=204)
    async def remove(hook: Hooked) -> Response:
        hub.store.remove_hook(hook.id)
        return Response(status_code=204)

    @routes.post("/{number}/pings", status_code=204)
    async def ping(repo: Named, hook: Hooked) -> Response:
        _ping(hub, repo, hook)
        return Response(status_code=204)

    @routes.get("/{number}/config")
    async def config(hook: Hooked) -> dict[str, str]:
        return hook_config(hook)

    @routes.patch("/{number}/config")
    async def change_config(repo: Named, hook: Hooked, body: HookConfig) -> dict[str, str]:
        return hook_config(_change(hub, repo, hook, HookChange(config=body)))

    @routes.get("/{number}/deliveries")
    async def deliveries(
        hook: Hooked, request: Request, response: Response, per_page: PerPage = 30, cursor: str | None = None
    ) -> list[dict[str, Any]]:
        return page_of_log(hub, hook, request, response, per_page, cursor)

    @routes.get("/{number}/deliveries/{delivery_id}")
    async def one_delivery(hook: Hooked, delivery_id: int) -> dict[str, Any]:
        item = hub.store.delivery(hook.id, delivery_id)
        if item is None or item.status is None:
            raise missing()
        return delivery_detail(item)

    @routes.post("/{number}/deliveries/{delivery_id}/attempts", status_code=202)
    async def redeliver(hook: Hooked, delivery_id: int) -> dict[str, Any]:
        item = hub.store.delivery(hook.id, delivery_id)
        if item is None:
            raise missing()
        hub.deliveries.redeliver(hook, item)
        return {}

    return routes


def page_of_log(
    hub: Hub, hook: Hook, request: Request, response: Response, per_page: int, cursor: str | None
) -> list[dict[str, Any]]:
    """A page of a hook's deliveries; `Link` says where the next one is."""
    found = hub.store.deliveries(hook.id, below=_below(cursor), limit=per_page + 1)
    if len(found) > per_page:
        following = urlencode({"per_page": per_page, "cursor": _cursor(found[per_page - 1].id)})
        response.headers["Link"] = f'<{hub.shapes.base_url}{request.url.path}?{following}>; rel="next"'
    return [delivery(item) for item in found[:per_page]]


def _create(hub: Hub, repo: Repo, body: NewHook) -> Hook:
    config = merged({"content_type": "form", "insecure_ssl": "0"}, body.config)
    known = hub.store.hooks(repo.id)
    if any(h.config["url"] == config["url"] and set(h.events) & set(body.events) for h in known):
        raise refused("Hook", None, "Hook already exists on this repository")
    if len(known) >= MAX_HOOKS:
        raise refused("Hook", None, f'The "push" event cannot have more than {MAX_HOOKS} hooks')
    return hub.store.add_hook(repo.id, body.active, body.events, config)


def _change(hub: Hub, repo: Repo, hook: Hook, body: HookChange) -> Hook:
    config = merged(hook.config, body.config or HookConfig())
    active = hook.active if body.active is None else body.active
    hub.store.change_hook(hook.id, active, list(body.events or hook.events), config)
    return hub.store.hook(repo.id, hook.id) or hook


def merged(config: dict[str, str], change: HookConfig) -> dict[str, str]:
    merged = config | change.model_dump(exclude_none=True)
    try:
        parts = urlsplit(merged.get("url", ""))
        good = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        good = False
    if not good:
        raise refused("Hook", "url", "url must be an http or https URL")
    return merged


def _ping(hub: Hub, repo: Repo, hook: Hook) -> None:
    payload = {
        "zen": _ZEN,
        "hook_id": hook.id,
        "hook": hub.shapes.hook(repo, hook),
        "repository": hub.shapes.repository(repo),
        "sender": hub.shapes.user(hub.user),
    }
    hub.deliveries.announce_to(hook, "ping", payload)


def _cursor(number: int) -> str:
    return base64.urlsafe_b64encode(f"v1:{number}".encode()).decode().rstrip("=")


def _below(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        return int(text.removeprefix("v1:"))
    except (binascii.Error, ValueError):
        raise Problem(422, "The cursor is not one of ours.") from None
