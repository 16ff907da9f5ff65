"""Postgres frozen, or gone: every delivery is answered in time, with a 503; it returns, and so do the 202s.

Our promise is in seconds (a 503 within 4.5 s, the first 202 within 2 s): the bench checks it, on a machine that does
nothing else. Every day's check is GitHub's own limit, after which it takes a delivery for failed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import psutil
import pytest

from stackly import clock, db, ids
from stackly.events.reads import rows
from stackly.git.signatures import sign
from stackly.local import postgres as local_postgres
from stackly.local import schema
from stackly.local.scratch import answers, free_port
from tests.bench.accept_load import push_body
from tests.bench.connecting import connected

if TYPE_CHECKING:
    from tests.bench.conftest import Server

GITHUB_S = 10.0


@dataclass(frozen=True)
class Promise:
    """Units: seconds from a delivery to its answer, from Postgres's return to a 202, and of the absence."""

    answered: float
    back: float
    away: float


OURS = Promise(answered=4.5, back=2.0, away=10.0)
GITHUBS = Promise(answered=GITHUB_S, back=GITHUB_S, away=6.0)


@dataclass
class Own:
    """A Postgres of this test's own, which it may stop."""

    cluster: local_postgres.Cluster
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return self.cluster.url("postgres")

    def start(self) -> None:
        line = local_postgres.command(self.cluster)
        self.process = subprocess.Popen(
            line, cwd=self.cluster.directory, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def _all(self) -> list[psutil.Process]:
        assert self.process is not None
        parent = psutil.Process(self.process.pid)
        return [parent, *parent.children(recursive=True)]

    def freeze(self) -> None:
        for process in self._all():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        for process in self._all():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """At once, as a crash: SIGQUIT to the server itself, whoever started it under another uid."""
        if self.process is None:
            return
        self.thaw()
        server = int((self.cluster.data / "postmaster.pid").read_text().split()[0])
        os.kill(server, signal.SIGQUIT)
        self.process.wait(20)
        self.process = None


@pytest.fixture
def own() -> Iterator[Own]:
    place = Path(tempfile.mkdtemp(prefix="stackly-own-"))
    place.chmod(0o711)
    made = Own(local_postgres.Cluster(place / "pg", free_port(), ids.new_token()))
    try:
        local_postgres.prepare(made.cluster)
        made.start()
        until = clock.monotonic() + 30
        while not answers(made.cluster):
            assert clock.monotonic() < until, "postgres did not start"
        schema.upgrade(made.url)
        yield made
    finally:
        made.stop()
        shutil.rmtree(place, ignore_errors=True)


@dataclass
class Told:
    """What the sender saw. Shape: (begun, took, status) of each attempt, on the monotonic clock."""

    answers: list[tuple[float, float, int]] = field(default_factory=list)
    acked: list[str] = field(default_factory=list)

    def during(self, begin: float, end: float) -> list[tuple[float, float, int]]:
        return [a for a in self.answers if begin <= a[0] < end]


class Sending:
    """A delivery every tenth of a second, whatever becomes of those before it."""

    def __init__(self, port: int, path: str, secret: bytes) -> None:
        self.told = Told()
        self._client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30)
        self._path, self._secret, self._body = path, secret, push_body()
        self._tasks: set[asyncio.Task[None]] = set()

    async def one(self) -> int:
        guid, begun = ids.new_id(), clock.monotonic()
        headers = {
            "X-GitHub-Event": "push",
            "X-GitHub-Delivery": guid,
            "X-Hub-Signature-256": sign(self._secret, self._body),
        }
        answer = await self._client.post(self._path, content=self._body, headers=headers)
        self.told.answers.append((begun, clock.monotonic() - begun, answer.status_code))
        if answer.status_code == 202:
            self.told.acked.append(guid)
        return answer.status_code

    async def for_a_while(self, seconds: float) -> None:
        until = clock.monotonic() + seconds
        while clock.monotonic() < until:
            task = asyncio.create_task(self._quietly())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            await asyncio.sleep(0.1)

    async def _quietly(self) -> None:
        await self.one()

    async def ended(self) -> Told:
        await asyncio.gather(*self._tasks)
        await self._client.aclose()
        return self.told


@pytest.fixture
async def hook(own: Own) -> tuple[str, bytes]:
    engine = db.engine(own.url, application="tests")
    found = await connected(db.transactions(engine))
    await engine.dispose()
    return found


@pytest.fixture
def database(own: Own) -> str:
    """The accept servers of this file stand on the Postgres that is stopped."""
    return own.url


async def _lost(own: Own, acked: list[str]) -> set[str]:
    engine = db.engine(own.url, application="tests")
    async with db.transactions(engine)() as session:
        stored = {row["guid"] for row in await rows(session, "SELECT guid FROM deliveries")}
    await engine.dispose()
    return set(acked) - stored


def _frozen(own: Own) -> None:
    own.freeze()


def _thawed(own: Own) -> None:
    own.thaw()


def _stopped(own: Own) -> None:
    own.stop()


def _started(own: Own) -> None:
    own.start()
    until = clock.monotonic() + 30
    while not answers(own.cluster):
        assert clock.monotonic() < until


@pytest.mark.parametrize("promise", [pytest.param(OURS, marks=pytest.mark.bench, id="ours"), GITHUBS])
@pytest.mark.parametrize(("away", "back"), [(_frozen, _thawed), (_stopped, _started)], ids=["frozen", "stopped"])
async def test_an_outage_of_postgres_is_told_in_time_and_ends_with_it(
    serve: Callable[[str], Awaitable[Server]],
    hook: tuple[str, bytes],
    own: Own,
    away: Callable[[Own], None],
    back: Callable[[Own], None],
    promise: Promise,
) -> None:
    server = await serve("stackly")
    sending = Sending(server.port, *hook)
    try:
        assert await sending.one() == 202
        await sending.for_a_while(1)
        gone = clock.monotonic()
        await asyncio.to_thread(away, own)
        await sending.for_a_while(promise.away)
        returning = asyncio.create_task(asyncio.to_thread(back, own))
        while not returning.done():
            await sending.for_a_while(0.1)
        await returning
        here = clock.monotonic()
        while await sending.one() != 202:
            assert clock.monotonic() < here + promise.back
        await sending.for_a_while(1)
        told = await sending.ended()
    finally:
        await server.kill()
    # Those asked later may find it back before their time is over.
    during = told.during(gone + 0.2, gone + promise.away - OURS.answered)
    slowest = max(took for _, took, _ in told.answers)
    first = min(a + t for a, t, status in told.answers if status == 202 and a + t > here)
    print(f"\n{len(during)} while away, slowest {slowest:.2f} s, 202 again {first - here:.2f} s after")  # noqa: T201
    assert {status for _, _, status in during} == {503}
    assert {status for _, _, status in told.answers} == {202, 503}
    assert slowest < promise.answered
    assert first - here < promise.back
    assert {status for _, _, status in told.during(first, first + 60)} == {202}
    assert await _lost(own, told.acked) == set()
