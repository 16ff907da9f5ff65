"""Repositories: what is connected, what GitHub sent for it, and how to ask again."""

from collections.abc import Callable

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.responses import Response

from stackly.accounts.model import Action, Actor
from stackly.api.auth import Administrator, Operator, Reader, Registrar
from stackly.api.once import Carried, OnlyOnce
from stackly.api.pages import Asked, Page
from stackly.api.parts import House, Parts
from stackly.api.references import RepoPath
from stackly.api.views import DeliveryView, DoneView, RepositoryView
from stackly.db import Json, Session
from stackly.errors import Conflict
from stackly.events import announced_store
from stackly.events import reads as events
from stackly.events import store as outbox
from stackly.events.model import Bell
from stackly.git.github_client import UpstreamRepo
from stackly.git.github_rest import UpstreamNotFound
from stackly.ids import AccountId, RepoId
from stackly.stacks import connections_store as connections
from stackly.stacks import reads, repos_store, store

router = APIRouter(prefix="/repos", tags=["repo"])


# Stands where GitHub's number of a repository's own webhook stands: the App's serves it.
APP = "app"


class RepositoryUnhooked(Conflict):
    title = "GitHub sends nothing for this repository yet."


class RepositoryAnother(Conflict):
    title = "This name belongs to another repository."


class RepositoryAdd(BaseModel):
    url: str = Field(min_length=3, max_length=500, description="The clone URL, or owner/name.")


class Redelivery(BaseModel):
    guid: str = Field(min_length=1, max_length=200, description="A delivery's GUID, or GitHub's id of it.")


def _view(row: Json) -> RepositoryView:
    return RepositoryView(**{**row, "hook_id": row["hook_id"] or None})


def _shown(house: Parts, actor: Actor) -> Callable[[Json], Json]:
    """For those who may push to the local hub, `git push` to the clone URL works as it is (INTERFACE: Objects)."""
    push_as = house.config.push_as if actor.may(Action.OPERATE) else None

    def show(repo: Json) -> Json:
        url = repo["clone_url"]
        ours = push_as is not None and url.startswith(f"{house.config.github_url}/")
        return {**repo, "clone_url": push_as.into(url)} if ours and push_as else repo

    return show


@router.get("")
async def list_repos(house: House, actor: Reader, asked: Asked) -> Page[RepositoryView]:
    key = asked.key()
    async with house.transactions() as session:
        found = await reads.list_repos(session, actor.account, limit=asked.limit, after=key[0] if key else None)
    show = _shown(house, actor)
    return asked.page(found, lambda r: _view(show(r)), lambda r: [r["full_name"]])


@router.post("", status_code=201, response_model=RepositoryView)
async def add_repo(body: RepositoryAdd, house: House, actor: Registrar, once: OnlyOnce) -> Response:
    """Connect a repository: its webhook is made, its branches are read at once. Adding it again is harmless."""

    async def carry_out(_: Carried) -> RepositoryView:
        return await _connected(body.url, house, actor)

    return await once.outside(actor, carry_out, status=201, show=_shown(house, actor))


async def _connected(url: str, house: Parts, actor: Actor) -> RepositoryView:
    """Every part of it may be done again."""
    name = house.github.full_name_of(url)
    installation = await house.github.installation_of(name)
    upstream = await _upstream(house, name, installation)
    async with house.transactions() as session:
        other = await connections.another_of(session, actor.account, upstream.full_name, upstream.github_id)
        if other is not None:
            raise RepositoryAnother(
                f"On GitHub {upstream.full_name} is repository {upstream.github_id} now, and another one is connected"
                f" under that name; if you mean the new one, first run: stackly repo sync {other}",
                repo=other,
            )
        known = await connections.find_repo(session, actor.account, upstream.github_id)
        if known is not None:  # out of reach until now, perhaps: it goes on where it stood
            await repos_store.set_repo_status(session, known, repos_store.ACTIVE, None)
        repo = await store.insert_repo(
            session,
            actor.account,
            github_id=upstream.github_id,
            full_name=upstream.full_name,
            clone_url=upstream.clone_url,
            default_branch=upstream.default_branch,
            hook="",
            owner_id=upstream.owner_id,
        )
        await connections.connect(session, actor.account, repo.id, installation)
        await announced_store.connected(session, actor.account, upstream.github_id, repo.id)
        hook, secret = await house.hooks.create(session, actor.account, repo.id)
    # An App hears of all its repositories at the account's one address: `stackly repo address`.
    upstream_hook = APP if installation is not None else await _tell(house, upstream.full_name, hook, secret)
    async with house.transactions() as session:
        await reads.set_repo_hook(session, repo.id, upstream_hook)
        await outbox.ring(session, Bell.REPO_SYNC, repo.id)
        return _view(await reads.get_repo(session, actor.account, repo.id))


async def _upstream(house: Parts, name: str, installation: int | None) -> UpstreamRepo:
    """Raises: UpstreamNotFound, with what was asked and how to make one."""
    try:
        return await house.github.repository(name, installation=installation)
    except UpstreamNotFound as e:
        where = house.config.github_url
        raise UpstreamNotFound(
            f"{where} was asked for repository {name}, and shows none. Make it there first; of the local hub: "
            f"`stackly repo create {name}`. A private one of GitHub needs a token or an App that reads it.",
            asked=f"{where}/{name}",
        ) from e


async def _tell(house: Parts, full_name: str, hook: str, secret: bytes, installation: int | None = None) -> str:
    """GitHub's webhook of a repository sends to ours, with our secret. Returns GitHub's number of it."""
    address = f"{house.config.public_url}/webhooks/github/{hook}"
    return await house.github.ensure_hook(full_name, url=address, secret=secret.decode(), installation=installation)


async def _named(house: Parts, account: AccountId, row: Json) -> tuple[str, int | None]:
    """What GitHub calls it now, by its number: the name we know may be a stranger's. Raises: Upstream errors."""
    async with house.transactions() as session:
        installation = (await connections.connection(session, account, row["id"])).installation
    upstream = await house.github.repository_by_id(row["github_id"], installation=installation)
    return upstream.full_name, installation


async def _repo(house: Parts, account: AccountId, repo: str) -> Json:
    async with house.transactions() as session:
        return await reads.get_repo(session, account, repo)


@router.get("/-/deliveries")
async def list_unconnected(house: House, actor: Reader, asked: Asked) -> Page[DeliveryView]:
    """What arrived about repositories that are not connected, newest first."""
    async with house.transactions() as session:
        found = await events.unconnected_deliveries(session, actor.account, limit=asked.limit, after=asked.time_key())
    return asked.page(found, lambda r: DeliveryView(**r), lambda r: [r["received_at"].isoformat(), r["guid"]])


@router.get("/{repo:path}/deliveries")
async def list_deliveries(repo: RepoPath, house: House, actor: Reader, asked: Asked) -> Page[DeliveryView]:
    """What arrived here, newest first. What never arrived is in GitHub's own log, which a sweep reads."""
    async with house.transactions() as session:
        row = await reads.get_repo(session, actor.account, repo)
        found = await events.list_deliveries(
            session, actor.account, row["id"], limit=asked.limit, after=asked.time_key()
        )
    return asked.page(found, lambda r: DeliveryView(**r), lambda r: [r["received_at"].isoformat(), r["guid"]])


@router.post("/{repo:path}/sync", status_code=202, response_model=DoneView)
async def sync_repo(repo: RepoPath, actor: Operator, once: OnlyOnce) -> Response:
    """Compare the repository with what was processed last, as if a webhook had come."""

    async def ring(session: Session) -> DoneView:
        row = await reads.get_repo(session, actor.account, repo)
        await outbox.ring(session, Bell.REPO_SYNC, RepoId(row["id"]))
        return DoneView(id=row["id"])

    return await once(actor, ring, status=202)


@router.post("/{repo:path}/rotate", status_code=200, response_model=DoneView)
async def rotate_secret(repo: RepoPath, house: House, actor: Administrator, once: OnlyOnce) -> Response:
    """A new webhook secret, here and on GitHub. What was signed with the present one is still taken."""
    row = await _repo(house, actor.account, repo)
    if not row["hook_id"] or row["hook_id"] == APP:
        raise RepositoryUnhooked("It has no webhook of its own; an App's is rotated by: stackly repo address --rotate")

    async def carry_out(carried: Carried) -> DoneView:
        # GitHub gets the present secret first: were it still at an older one, a rotation would part the two for good.
        hook = await _told_present(house, actor.account, row)
        await carried.once("rotated", lambda session: house.hooks.rotate(session, actor.account, hook))
        await _told_present(house, actor.account, row)
        return DoneView(id=hook)

    return await once.outside(actor, carry_out)


async def _told_present(house: Parts, account: AccountId, row: Json) -> str:
    """Give GitHub the secret that is the present one here. Returns the hook's id."""
    async with house.transactions() as session:
        hook, secret = await house.hooks.create(session, account, RepoId(row["id"]))
    name, installation = await _named(house, account, row)
    await _tell(house, name, hook, secret, installation)
    return hook


@router.post("/{repo:path}/redeliver", status_code=202, response_model=DoneView)
async def redeliver(body: Redelivery, repo: RepoPath, house: House, actor: Operator, once: OnlyOnce) -> Response:
    """Have GitHub send a delivery again. The same GUID counts one more attempt and starts nothing twice."""
    row = await _repo(house, actor.account, repo)
    if not row["hook_id"] or row["hook_id"] == APP:
        raise RepositoryUnhooked(f"Run: stackly repo add {row['clone_url']}", repo=row["id"])

    async def carry_out(_: Carried) -> DoneView:
        name, installation = await _named(house, actor.account, row)
        sent = await house.github.redeliver_guid(name, row["hook_id"], body.guid, installation=installation)
        return DoneView(id=sent)

    return await once.outside(actor, carry_out, status=202)


@router.get("/{repo:path}")
async def show_repo(repo: RepoPath, house: House, actor: Reader) -> RepositoryView:
    return _view(_shown(house, actor)(await _repo(house, actor.account, repo)))
