"""What the platform asks of GitHub: repositories, their webhooks, what was sent to them, installations of its App."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from stackly import addresses, texts
from stackly.git.github_app import AppKey, AppTokens
from stackly.git.github_rest import (
    GitHubHost,
    RepositoryAddressInvalid,
    Rest,
    UpstreamFailed,
    UpstreamNotFound,
)

_DOTS = frozenset({".", ".."})  # no name, and an address with one leads elsewhere
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}/[A-Za-z0-9_.-]{1,100}\Z")
# What a hook of ours listens to: refs, and what becomes of the repository itself.
EVENTS = ["push", "repository"]


@dataclass(frozen=True, slots=True)
class UpstreamRepo:
    github_id: int
    full_name: str
    clone_url: str
    default_branch: str
    archived: bool = False
    owner_id: int | None = None

    @property
    def owner(self) -> str:
        return self.full_name.partition("/")[0]


@dataclass(frozen=True, slots=True)
class UpstreamInstallation:
    id: int
    owner: str
    suspended: bool


@dataclass(frozen=True, slots=True)
class UpstreamDelivery:
    """One attempt in GitHub's own log. Shape: `id` grows; `guid` is shared by all attempts of one event."""

    id: int
    guid: str
    event: str
    ok: bool
    redelivery: bool
    repo_github_id: int | None


class GitHub:
    """Acts with the App's installation tokens where there is an App, else with one given token, else as nobody."""

    def __init__(
        self,
        host: GitHubHost,
        token: str | None = None,
        app: AppKey | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        *,
        rest: Rest | None = None,
    ) -> None:
        self.host = host
        self._rest = rest or Rest(host, transport)
        self._token = token
        self._app = app
        self._tokens = AppTokens(self._rest, app) if app else None
        self._web = urlsplit(host.web)

    @property
    def has_app(self) -> bool:
        return self._tokens is not None

    async def close(self) -> None:
        await self._rest.close()

    def full_name_of(self, url: str) -> str:
        """`owner/name` of a clone URL, a page's address or the bare name.

        Only the configured host is ever asked: an address elsewhere is refused, not followed.
        Raises: RepositoryAddressInvalid.
        """
        if "://" in url:
            given = addresses.parsed(url)
            if given is None:
                raise RepositoryAddressInvalid("This is no URL; give the repository's clone URL, or owner/name.")
            given = given._replace(netloc=given.netloc.rpartition("@")[2])  # whose credential came along is not kept
            url = given.geturl()
            if given.netloc.lower() != self._web.netloc.lower():
                asked = f"{given.hostname} was not asked: repositories of {self._web.geturl()} alone are taken here."
                cure = "docs/github.md connects another server; `stackly repo create NAME` makes one on the local hub."
                raise RepositoryAddressInvalid(f"{asked} {cure}", url=url)
            url = given.path
        name = url.strip("/").removesuffix(".git")
        if not _NAME.match(name) or _DOTS.intersection(name.split("/")):
            raise RepositoryAddressInvalid("Give the repository's clone URL, or owner/name.", url=url)
        return name

    async def token(self, installation: int | None) -> str | None:
        """What git and REST present for a repository: its installation's token, or the one that was given."""
        if self._tokens is None or installation is None:
            return self._token
        return await self._tokens.of(installation)

    # repositories

    async def repository(self, full_name: str, *, installation: int | None = None) -> UpstreamRepo:
        return _repo(await self._rest.json("GET", f"repos/{full_name}", token=await self.token(installation)))

    async def repository_by_id(self, github_id: int, *, installation: int | None = None) -> UpstreamRepo:
        """By its number: the name may have become another's. Raises: UpstreamNotFound when it is not shown to us."""
        token = await self.token(installation)
        found = _repo(await self._rest.json("GET", f"repositories/{github_id}", token=token))
        if found.github_id != github_id:
            raise UpstreamFailed("GitHub answered with another repository.")
        return found

    async def installation_of(self, full_name: str) -> int | None:
        """GitHub's number of the App's installation that reaches a repository. None: no App, or not installed there."""
        if self._app is None:
            return None
        try:
            found = await self._rest.json("GET", f"repos/{full_name}/installation", token=self._app.jwt())
        except UpstreamNotFound:
            return None
        return _installation(found).id

    async def pusher_of(self, full_name: str, ref: str, commit: str, *, installation: int | None = None) -> str | None:
        """The login of who put a branch at a commit, by GitHub's activity of the newest hundred moves of that ref."""
        token = await self.token(installation)
        path = f"repos/{full_name}/activity?per_page=100&ref={quote(ref, safe='')}"
        found = await self._rest.json("GET", path, token=token)
        for row in found if isinstance(found, list) else []:
            actor = row.get("actor") if isinstance(row, dict) else None
            if isinstance(actor, dict) and (row.get("ref"), row.get("after")) == (ref, commit):
                login = actor.get("login")
                return login if isinstance(login, str) and login and not texts.flaw(login) else None
        return None

    # webhooks of a repository

    async def ensure_hook(self, full_name: str, *, url: str, secret: str, installation: int | None = None) -> str:
        """The id of the webhook that sends to `url`; made, or given this secret and these events."""
        token = await self.token(installation)
        config = {"url": url, "content_type": "json", "secret": secret, "insecure_ssl": "0"}
        async for page in self._rest.pages(f"repos/{full_name}/hooks?per_page=100", token=token):
            for hook in page:
                if hook.get("config", {}).get("url") == url:
                    change = {"active": True, "events": EVENTS, "config": config}
                    await self._rest.json("PATCH", f"repos/{full_name}/hooks/{hook['id']}", change, token=token)
                    return str(hook["id"])
        wanted = {"name": "web", "active": True, "events": EVENTS, "config": config}
        return str((await self._rest.json("POST", f"repos/{full_name}/hooks", wanted, token=token))["id"])

    def deliveries(
        self, full_name: str, hook: str, *, installation: int | None = None
    ) -> AsyncIterator[UpstreamDelivery]:
        """Newest first, as long as they are read: GitHub's own log of what it sent, three days of it."""
        return self._log(f"repos/{full_name}/hooks/{hook}/deliveries?per_page=100", installation)

    async def redeliver(self, full_name: str, hook: str, number: int, *, installation: int | None = None) -> None:
        path = f"repos/{full_name}/hooks/{hook}/deliveries/{number}/attempts"
        await self._rest.json("POST", path, {}, token=await self.token(installation))

    async def redeliver_guid(self, full_name: str, hook: str, guid: str, *, installation: int | None = None) -> str:
        """Ask for one more attempt of the newest delivery of that GUID. Returns the delivery's id."""
        async for delivery in self.deliveries(full_name, hook, installation=installation):
            if guid in {delivery.guid, str(delivery.id)}:
                await self.redeliver(full_name, hook, delivery.id, installation=installation)
                return str(delivery.id)
        raise UpstreamNotFound(f"GitHub's delivery log has no {guid}; it keeps three days.", guid=guid)

    # the App

    async def installation(self, number: int) -> UpstreamInstallation:
        """Raises: UpstreamNotFound when it was uninstalled."""
        found = _installation(await self._rest.json("GET", f"app/installations/{number}", token=self._jwt()))
        if found.suspended and self._tokens:
            self._tokens.forget(number)
        return found

    async def reachable(self, installation: int) -> frozenset[int]:
        """The numbers of the repositories an installation reaches."""
        token = await self.token(installation)
        found = [
            int(repo["id"])
            async for page in self._rest.pages("installation/repositories?per_page=100", token=token)
            for repo in page
        ]
        return frozenset(found)

    def app_deliveries(self) -> AsyncIterator[UpstreamDelivery]:
        return self._log("app/hook/deliveries?per_page=100", None, as_app=True)

    async def redeliver_of_app(self, number: int) -> None:
        await self._rest.json("POST", f"app/hook/deliveries/{number}/attempts", {}, token=self._jwt())

    async def set_app_hook(self, *, url: str, secret: str) -> None:
        config = {"url": url, "content_type": "json", "secret": secret, "insecure_ssl": "0"}
        await self._rest.json("PATCH", "app/hook/config", config, token=self._jwt())

    def _jwt(self) -> str:
        if self._app is None:
            raise UpstreamNotFound("No GitHub App is configured: set STACKLY_GITHUB_APP and STACKLY_GITHUB_APP_KEY.")
        return self._app.jwt()

    async def _log(
        self, path: str, installation: int | None, *, as_app: bool = False
    ) -> AsyncIterator[UpstreamDelivery]:
        token = self._jwt() if as_app else await self.token(installation)
        async for page in self._rest.pages(path, token=token):
            for row in page:
                if isinstance(row, dict):
                    yield _delivery(row)


def _repo(found: Any) -> UpstreamRepo:
    try:
        return UpstreamRepo(
            github_id=int(found["id"]),
            full_name=str(found["full_name"]),
            clone_url=str(found["clone_url"]),
            default_branch=str(found["default_branch"]),
            archived=bool(found.get("archived", False)),
            owner_id=_owner_id(found.get("owner")),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as e:
        raise UpstreamFailed("GitHub's answer describes no repository.") from e


def _owner_id(owner: Any) -> int | None:
    number = owner.get("id") if isinstance(owner, dict) else None
    return number if type(number) is int else None


def _installation(found: Any) -> UpstreamInstallation:
    try:
        owner = (found.get("account") or {}).get("login", "")
        return UpstreamInstallation(int(found["id"]), str(owner), found.get("suspended_at") is not None)
    except (AttributeError, KeyError, TypeError, ValueError) as e:
        raise UpstreamFailed("GitHub's answer describes no installation.") from e


def _delivery(row: dict[str, Any]) -> UpstreamDelivery:
    try:
        code, repo = row.get("status_code") or 0, row.get("repository_id")
        return UpstreamDelivery(
            id=int(row["id"]),
            guid=str(row["guid"]),
            event=str(row.get("event", "")),
            ok=200 <= int(code) < 300,
            redelivery=bool(row.get("redelivery", False)),
            repo_github_id=None if repo is None else int(repo),
        )
    except (KeyError, TypeError, ValueError) as e:
        raise UpstreamFailed("GitHub's answer lists no deliveries.") from e
