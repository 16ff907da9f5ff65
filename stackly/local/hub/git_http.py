"""git over HTTP: requests go to `git http-backend`, and a push is watched for what it changes."""

import asyncio
import base64
import binascii
import contextlib
import os
import tempfile
from collections.abc import AsyncIterator
from typing import IO

from fastapi import APIRouter, Request, Response
from starlette.responses import PlainTextResponse, StreamingResponse

from stackly import log
from stackly.local.hub.apps import Installation
from stackly.local.hub.hub import Hub
from stackly.local.hub.oauth import Person
from stackly.local.hub.pushes import announced
from stackly.local.hub.repositories import git_environment, ref_changes
from stackly.local.hub.store import Repo

_log = log.get("hub")
_CHUNK = 256 * 1024
_SERVICES = frozenset({"info/refs", "HEAD", "git-upload-pack", "git-receive-pack"})


def router(hub: Hub) -> APIRouter:
    routes = APIRouter()

    @routes.api_route("/{owner}/{name}.git/{rest:path}", methods=["GET", "POST"], include_in_schema=False)
    async def serve(owner: str, name: str, rest: str, request: Request) -> Response:
        repo = hub.store.repo(owner, name)
        if repo is None or (rest not in _SERVICES and not rest.startswith("objects/")):
            return PlainTextResponse("Repository not found.\n", 404)
        if not _allowed(hub, repo, request):
            return PlainTextResponse("Authentication required.\n", 401, {"WWW-Authenticate": 'Basic realm="hub"'})
        if rest == "git-receive-pack" and repo.archived:
            return PlainTextResponse("This repository was archived so it is read-only.\n", 403)
        with tempfile.TemporaryFile(dir=hub.spool) as body:
            await _spool(request, body)
            if rest != "git-receive-pack":
                return await _answer(await _start(hub, repo, rest, request, body))
            # What was received is announced, also when the pusher hangs up in the meantime.
            return await asyncio.shield(asyncio.create_task(_receive(hub, repo, request, body)))

    return routes


def pusher(request: Request, hub: Hub) -> str:
    """Whose key or token came. A user name is what somebody says of themselves, and is not looked at."""
    person: Person | None = getattr(request.state, "person", None)
    if person is not None:
        return person.login
    app = hub.apps.app()
    return f"{app.slug}[bot]" if app is not None and getattr(request.state, "installation", None) else hub.user


def basic(request: Request) -> tuple[str, str]:
    kind, _, value = request.headers.get("authorization", "").partition(" ")
    with contextlib.suppress(binascii.Error, ValueError):
        if kind.lower() == "basic":
            name, _, password = base64.b64decode(value, validate=True).decode().partition(":")
            return name, password
    return "", ""


def _allowed(hub: Hub, repo: Repo, request: Request) -> bool:
    """A person, for everything; an installation's token counts for what it reaches. Nobody else, public or not."""
    if getattr(request.state, "person", None) is not None:
        return True
    installation: Installation | None = getattr(request.state, "installation", None)
    return installation is not None and hub.apps.reaches(installation, repo)


async def _spool(request: Request, body: IO[bytes]) -> None:
    """The body onto disk: a push may be larger than memory. gzip is undone by the backend."""
    async for chunk in request.stream():
        body.write(chunk)
    body.flush()
    body.seek(0)


async def _receive(hub: Hub, repo: Repo, request: Request, body: IO[bytes]) -> Response:
    """Run a push under the repository's lock, and queue what it changed before the pusher hears of it."""
    async with hub.repositories.lock(repo.id):
        before = await hub.repositories.refs(repo.id)
        backend = await _start(hub, repo, "git-receive-pack", request, body)
        code, headers = await _head(backend)
        assert backend.stdout is not None
        answer = await backend.stdout.read()
        await backend.wait()
        changes = ref_changes(before, await hub.repositories.refs(repo.id))
        if changes:
            fresh = await hub.pushed(repo, changes)
            if hub.dice.faults.behind_s:
                await hub.repositories.fall_behind(repo.id, changes, hub.dice.faults.behind_s)
            who = pusher(request, hub)
            told = [(change, await hub.pushes.payload(fresh, change, before, who)) for change in announced(changes)]
            forced = {change.ref for change, payload in told if payload["forced"]}
            for each in changes:
                hub.activities.add(repo.id, each, who, is_forced=each.ref in forced)
            for _, payload in told:
                hub.deliveries.announce(fresh, "push", payload)
            _log.info("push.received", repo=repo.full_name, refs=len(changes))
    return Response(answer, code, headers)


async def _start(hub: Hub, repo: Repo, rest: str, request: Request, body: IO[bytes]) -> asyncio.subprocess.Process:
    size = os.fstat(body.fileno()).st_size
    env = git_environment(
        GIT_PROJECT_ROOT=str(hub.repositories.root),
        GIT_HTTP_EXPORT_ALL="1",
        PATH_INFO=f"/{repo.id}.git/{rest}",
        REQUEST_METHOD=request.method,
        QUERY_STRING=request.url.query,
        CONTENT_TYPE=request.headers.get("content-type", ""),
        CONTENT_LENGTH=str(size),
        REMOTE_USER=pusher(request, hub),
        REMOTE_ADDR="127.0.0.1",
        GIT_PROTOCOL=request.headers.get("git-protocol", ""),
        HTTP_CONTENT_ENCODING=request.headers.get("content-encoding", ""),
    )
    return await asyncio.create_subprocess_exec(
        "git",
        "http-backend",
        stdin=body,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=env,
        start_new_session=True,
    )


async def _head(backend: asyncio.subprocess.Process) -> tuple[int, dict[str, str]]:
    assert backend.stdout is not None
    headers: dict[str, str] = {}
    while line := (await backend.stdout.readline()).decode("latin-1").strip():
        name, _, value = line.partition(":")
        headers[name.strip()] = value.strip()
    code = int(headers.pop("Status", "200" if headers else "500").split()[0])
    return code, headers


async def _answer(backend: asyncio.subprocess.Process) -> Response:
    code, headers = await _head(backend)

    async def rest() -> AsyncIterator[bytes]:
        assert backend.stdout is not None
        try:
            while chunk := await backend.stdout.read(_CHUNK):
                yield chunk
        finally:
            with contextlib.suppress(ProcessLookupError):
                backend.kill()
            await backend.wait()

    return StreamingResponse(rest(), code, headers)
