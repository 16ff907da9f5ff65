"""What the routes stand on, built once when the API starts."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Protocol, cast
from urllib.parse import quote, urlsplit, urlunsplit

from fastapi import Depends, Request

from stackly.api.feed import RunFeed
from stackly.api.hooks import HookBook
from stackly.api.metrics import Metrics
from stackly.db import Transactions
from stackly.events.inbox import Inbox
from stackly.git.github_client import GitHub


class Objects(Protocol):
    """Objects in storage: artifacts and series. Raises: NotFound, for a stream before its first chunk."""

    async def get(self, key: str) -> bytes: ...

    def stream(self, key: str) -> AsyncIterator[bytes]: ...


@dataclass(frozen=True, slots=True)
class PushAs:
    """What a clone URL of the local hub carries for those who may push."""

    login: str
    token: str = field(repr=False)

    def into(self, clone_url: str) -> str:
        parts = urlsplit(clone_url)
        return urlunsplit(
            parts._replace(netloc=f"{quote(self.login, safe='')}:{quote(self.token, safe='')}@{parts.netloc}")
        )


@dataclass(frozen=True, slots=True)
class ApiConfig:
    """Shape: `public_url` is how browsers and GitHub reach this API, without a slash at its end."""

    database_url: str
    public_url: str
    github_url: str
    github_api_url: str
    github_token: str | None = None
    push_as: PushAs | None = None
    pool_size: int = 10
    web_dir: Path = Path(__file__).resolve().parent.parent / "web_dist"


@dataclass(frozen=True, slots=True)
class Parts:
    config: ApiConfig
    transactions: Transactions
    inbox: Inbox
    hooks: HookBook
    github: GitHub
    objects: Objects
    feed: RunFeed
    dispose: Callable[[], Awaitable[None]]
    metrics: Metrics


def _parts(request: Request) -> Parts:
    return cast("Parts", request.state.parts)


House = Annotated[Parts, Depends(_parts)]
