"""The few calls of GitHub's REST API that the API makes for a person; the local hub answers them alike."""

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from stackly.errors import Denied, Faulty, Invalid, NotFound, Unavailable

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}/[A-Za-z0-9_.-]{1,100}\Z")
_TIMEOUT_S = 10.0


class RepositoryAddressInvalid(Invalid):
    title = "This is not the address of a repository on the connected GitHub."


class UpstreamRefused(Denied):
    title = "GitHub does not let us do this."


class UpstreamNotFound(NotFound):
    title = "GitHub does not know this."


class UpstreamUnavailable(Unavailable):
    title = "GitHub does not answer."


class UpstreamFailed(Faulty):
    title = "GitHub answered with an error."


@dataclass(frozen=True, slots=True)
class UpstreamRepo:
    github_id: int
    full_name: str
    clone_url: str
    default_branch: str


class GitHub:
    """Shape: `api_url` is https://api.github.com or the hub's; `web_url` is where repositories are cloned from."""

    def __init__(
        self, api_url: str, web_url: str, token: str | None, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._web = urlsplit(web_url)
        headers = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        self._client = httpx.AsyncClient(
            base_url=api_url.rstrip("/") + "/", headers=headers, timeout=_TIMEOUT_S, transport=transport
        )

    async def close(self) -> None:
        await self._client.aclose()

    def full_name_of(self, url: str) -> str:
        """`owner/name` of a clone URL, a page's address or the bare name.

        Only the configured host is ever asked: an address elsewhere is refused, not followed.
        Raises: RepositoryAddressInvalid.
        """
        if "://" in url:
            given = urlsplit(url)
            if given.netloc.rpartition("@")[2].lower() != self._web.netloc.lower():
                raise RepositoryAddressInvalid(f"Repositories live on {self._web.geturl()}.", url=url)
            url = given.path
        name = url.strip("/").removesuffix(".git")
        if not _NAME.match(name) or ".." in name:
            raise RepositoryAddressInvalid("Give the repository's clone URL, or owner/name.", url=url)
        return name

    async def repository(self, full_name: str) -> UpstreamRepo:
        found = await self._json("GET", f"repos/{full_name}")
        try:
            return UpstreamRepo(
                github_id=int(found["id"]),
                full_name=str(found["full_name"]),
                clone_url=str(found["clone_url"]),
                default_branch=str(found["default_branch"]),
            )
        except (KeyError, TypeError, ValueError) as e:
            raise UpstreamFailed("GitHub's answer describes no repository.") from e

    async def ensure_hook(self, full_name: str, *, url: str, secret: str) -> str:
        """The id of the webhook that sends pushes to `url`; made, or given this secret."""
        config = {"url": url, "content_type": "json", "secret": secret, "insecure_ssl": "0"}
        for hook in await self._json("GET", f"repos/{full_name}/hooks?per_page=100"):
            if hook.get("config", {}).get("url") == url:
                await self._json("PATCH", f"repos/{full_name}/hooks/{hook['id']}", {"active": True, "config": config})
                return str(hook["id"])
        wanted = {"name": "web", "active": True, "events": ["push"], "config": config}
        return str((await self._json("POST", f"repos/{full_name}/hooks", wanted))["id"])

    async def deliveries(self, full_name: str, hook: str) -> list[dict[str, Any]]:
        """Newest first, one page: what GitHub itself says it sent."""
        found = await self._json("GET", f"repos/{full_name}/hooks/{hook}/deliveries?per_page=100")
        return [d for d in found if isinstance(d, dict)]

    async def redeliver(self, full_name: str, hook: str, guid: str) -> str:
        """Ask for one more attempt of the newest delivery of that GUID. Returns the delivery's id."""
        for delivery in await self.deliveries(full_name, hook):
            if guid in {str(delivery.get("guid")), str(delivery.get("id"))}:
                await self._json("POST", f"repos/{full_name}/hooks/{hook}/deliveries/{delivery['id']}/attempts", {})
                return str(delivery["id"])
        raise UpstreamNotFound(f"GitHub's delivery log has no {guid}; it keeps three days.", guid=guid)

    async def _json(self, method: str, path: str, body: Any = None) -> Any:
        try:
            answer = await self._client.request(method, path, json=body)
        except httpx.HTTPError as e:
            raise UpstreamUnavailable(f"GitHub is not reachable: {type(e).__name__}.") from e
        if answer.status_code == 404:
            raise UpstreamNotFound("GitHub knows no such thing, or does not show it to us.")
        if answer.status_code in {401, 403}:
            raise UpstreamRefused(f"GitHub answered {answer.status_code}; check the token's rights.")
        if answer.status_code >= 500:
            raise UpstreamUnavailable(f"GitHub answered {answer.status_code}.")
        if answer.status_code >= 400:
            raise UpstreamFailed(f"GitHub answered {answer.status_code}: {answer.text[:200]}")
        try:
            return answer.json() if answer.content else None
        except ValueError as e:
            raise UpstreamFailed("GitHub's answer is not JSON.") from e
