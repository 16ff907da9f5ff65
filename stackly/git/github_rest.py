"""GitHub's REST API, thinly: one door for credentials, rate limits, retries, conditional requests and pages.

Source: github.md section 3. A limit that GitHub announced is kept without asking again: whoever goes on is banned.
"""

import asyncio
import random
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx

from stackly import clock, log
from stackly.errors import Denied, Exhausted, Faulty, Invalid, NotFound, Unavailable

_log = log.get("github")

VERSION = "2022-11-28"
TIMEOUT_S = 10.0
TRIES = 3
PAGES_MOST = 100
# GitHub names no time for a secondary limit without Retry-After: a minute at least, then twice that, and so on.
SECONDARY_S = 60.0
_ANSWERS_KEPT = 2000
_ANSWER_BYTES = 32 * 1024  # one object, not a page of a log that is never the same again
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
# A repeated call of these ends in the same state: only they are tried again after a failure whose effect is unknown.
_IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "PATCH", "DELETE"})


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


class UpstreamLimited(Exhausted):
    title = "GitHub's rate limit is used up."


@dataclass(frozen=True, slots=True)
class GitHubHost:
    """Shape: `web` is where repositories are cloned from, `api` what REST paths follow; no slash at their ends."""

    web: str
    api: str

    @classmethod
    def of(cls, web: str) -> "GitHubHost":
        """github.com, SUBDOMAIN.ghe.com, or an Enterprise server. A local hub has one address for both."""
        web = web.rstrip("/")
        parts = urlsplit(web)
        if parts.netloc == "github.com":
            return cls(web, "https://api.github.com")
        if parts.netloc.endswith(".ghe.com"):
            return cls(web, f"{parts.scheme}://api.{parts.netloc}")
        return cls(web, f"{web}/api/v3")


@dataclass(slots=True)
class _Budget:
    """What GitHub told one credential. Units: `until` on the monotonic clock; `strikes` secondary limits in a row."""

    until: float = 0.0
    strikes: int = 0


@dataclass
class Rest:
    """Shape: `patience_s` is how long a call may wait for a limit to pass; beyond it the call fails at once."""

    host: GitHubHost
    transport: httpx.AsyncBaseTransport | None = None
    patience_s: float = 5.0
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    _budgets: dict[str, _Budget] = field(default_factory=dict, repr=False)
    _kept: OrderedDict[tuple[str, str], tuple[str, httpx.Response]] = field(default_factory=OrderedDict, repr=False)

    def __post_init__(self) -> None:
        self._client = httpx.AsyncClient(
            base_url=f"{self.host.api}/",
            transport=self.transport,
            timeout=TIMEOUT_S,
            follow_redirects=False,
            trust_env=urlsplit(self.host.api).hostname
            not in _LOOPBACK,  # a proxy of the environment, but not to ourselves
            headers={"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": VERSION, "User-Agent": "stackly"},
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def json(self, method: str, path: str, body: Any = None, *, token: str | None = None) -> Any:
        """Raises: the Upstream errors above."""
        return _parsed(await self._call(method, path, body, token))

    async def pages(self, path: str, *, token: str | None = None) -> AsyncIterator[list[Any]]:
        """Every page of a list, as `Link` says where the next one is. A link to another host is not followed."""
        following: str | None = path
        for _ in range(PAGES_MOST):
            if following is None:
                return
            answer = await self._call("GET", following, None, token)
            found = _parsed(answer)
            # Some lists stand below a name: {"total_count": …, "repositories": […]}.
            rows = found if isinstance(found, list) else next((v for v in found.values() if isinstance(v, list)), [])
            yield rows
            following = self._next(answer)

    def _next(self, answer: httpx.Response) -> str | None:
        url = answer.links.get("next", {}).get("url")
        if url is None:
            return None
        if not url.startswith(f"{self.host.api}/"):
            raise UpstreamFailed("GitHub's next page is on another host; it is not asked for.")
        return str(url)

    async def _call(self, method: str, path: str, body: Any, token: str | None) -> httpx.Response:
        budget = self._budget(token)
        for attempt in range(TRIES):
            await self._wait(budget)
            last = attempt == TRIES - 1
            try:
                answer = await self._send(method, path, body, token)
            except httpx.HTTPError as e:
                if last or method not in _IDEMPOTENT:
                    raise UpstreamUnavailable(f"GitHub is not reachable: {type(e).__name__}.") from None
                await self._pause(attempt)
                continue
            if _note(budget, answer):  # refused for its number: nothing was done, whatever the method was
                continue
            if answer.status_code >= 500 and not last and method in _IDEMPOTENT:
                await self._pause(attempt)
                continue
            moved = answer.headers.get("location", "") if 300 <= answer.status_code < 400 else ""
            if moved.startswith(f"{self.host.api}/") and moved != path:  # a renamed repository, by its number
                path = moved
                continue
            return _checked(answer)
        await self._wait(budget)
        raise UpstreamLimited("GitHub goes on refusing for its rate limit.")

    def _budget(self, token: str | None) -> _Budget:
        if len(self._budgets) > _ANSWERS_KEPT:  # installation tokens live an hour, their budgets no longer
            now = clock.monotonic()
            self._budgets = {name: b for name, b in self._budgets.items() if b.until > now}
        return self._budgets.setdefault(_name(token), _Budget())

    async def _wait(self, budget: _Budget) -> None:
        left = budget.until - clock.monotonic()
        if left <= 0:
            return
        if left > self.patience_s:
            raise UpstreamLimited(f"GitHub's rate limit lasts another {left:.0f} s.", retry_after_s=round(left))
        await self.sleep(left)

    async def _pause(self, attempt: int) -> None:
        await self.sleep(0.2 * 2**attempt * (1 + random.random()))  # noqa: S311 - spreads retries, decides nothing

    async def _send(self, method: str, path: str, body: Any, token: str | None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        key = (_name(token), path)
        known = self._kept.get(key) if method == "GET" else None
        if known:
            headers["If-None-Match"] = known[0]
        answer = await self._client.request(method, path, json=body, headers=headers)
        if answer.status_code == 304 and known:
            self._kept.move_to_end(key)
            return known[1]
        etag = answer.headers.get("etag")
        if method == "GET" and answer.status_code == 200 and etag and len(answer.content) <= _ANSWER_BYTES:
            self._kept[key] = (etag, answer)
            while len(self._kept) > _ANSWERS_KEPT:
                self._kept.popitem(last=False)
        return answer


def _name(token: str | None) -> str:
    """Budgets and answers belong to a credential; which one, nobody needs to read."""
    return str(hash(token))


def _note(budget: _Budget, answer: httpx.Response) -> bool:
    """Keep what an answer says about limits. True when it was refused for one."""
    headers, now = answer.headers, clock.monotonic()
    if answer.status_code not in {403, 429}:
        budget.strikes = 0
        return False
    after, reset = _number(headers.get("retry-after")), _number(headers.get("x-ratelimit-reset"))
    if after is not None:
        wait = after
    elif headers.get("x-ratelimit-remaining") == "0" and reset is not None:
        wait = reset - clock.now().timestamp()
    elif answer.status_code == 429 or "rate limit" in answer.text[:2000].lower():
        wait = SECONDARY_S * 2 ** min(budget.strikes, 5)
        budget.strikes += 1
    else:
        return False
    budget.until = max(budget.until, now + max(wait, 1.0))
    _log.warning("github.limited", seconds=round(max(wait, 1.0)), path=answer.request.url.path)
    return True


def _number(text: str | None) -> float | None:
    return float(text) if text is not None and text.isdigit() else None


def _checked(answer: httpx.Response) -> httpx.Response:
    code = answer.status_code
    if code == 404:
        raise UpstreamNotFound("GitHub knows no such thing, or does not show it to us.")
    if code in {401, 403}:
        raise UpstreamRefused(f"GitHub answered {code}; check the token's rights.")
    if code >= 500:
        raise UpstreamUnavailable(f"GitHub answered {code}.")
    if code >= 300:
        raise UpstreamFailed(f"GitHub answered {code}: {answer.text[:200]}")
    return answer


def _parsed(answer: httpx.Response) -> Any:
    try:
        return answer.json() if answer.content else None
    except ValueError:
        raise UpstreamFailed("GitHub's answer is not JSON.") from None
