"""The webhook inbox: deliveries of concurrent requests share one statement and one commit, acknowledged after it."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import asyncpg
from sqlalchemy import text
from sqlalchemy.engine import make_url

from stackly import clock, log
from stackly.db import Session
from stackly.errors import Invalid, Unauthenticated, Unavailable
from stackly.events.model import Bell
from stackly.ids import AccountId, RepoId

_log = log.get("events")

# The statement is the transaction: a delivery without its doorbell, or the other way round, cannot be.
# The secret that a delivery was verified with counts now: whoever verified it may have remembered a replaced one.
# `xmax = 0` holds for rows this statement inserted: a repeated GUID counts an attempt and rings nothing, unless what
# was ignored comes rightly now: headers are unsigned, and a repository may have been connected meanwhile.
_KEEP = """
WITH given AS (
  SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[], $5::text[], $6::int[],
                       $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::bigint[], $13::text[],
                       $14::text[], $15::text[], $16::bytea[])
    AS g(hook, guid, event, body, body_sha256, attempts, status, reason, repo, bell, key, about, about_name,
         subject, ref, signed_by)
), kept AS (
  INSERT INTO deliveries AS d (hook, guid, event, body, body_sha256, attempts, status, reason, repo, about, about_name)
  SELECT hook, guid, event, body, body_sha256, attempts, status, reason, repo, about, about_name FROM given
  WHERE signed_by IS NULL OR EXISTS
    (SELECT FROM hooks h WHERE h.id = given.hook AND signed_by IN (h.secret_sealed, h.previous_sealed))
  ON CONFLICT (hook, guid) DO UPDATE SET attempts = d.attempts + excluded.attempts,
    (event, body, body_sha256, status, reason, repo, about, about_name, received_at) =
      (SELECT CASE WHEN turns THEN excluded.event ELSE d.event END,
              CASE WHEN turns THEN excluded.body ELSE d.body END,
              CASE WHEN turns THEN excluded.body_sha256 ELSE d.body_sha256 END,
              CASE WHEN turns THEN excluded.status ELSE d.status END,
              CASE WHEN turns OR d.status = 'ignored' THEN excluded.reason ELSE d.reason END,
              CASE WHEN turns THEN excluded.repo ELSE coalesce(d.repo, excluded.repo) END,
              CASE WHEN turns THEN excluded.about ELSE coalesce(d.about, excluded.about) END,
              CASE WHEN turns THEN excluded.about_name ELSE coalesce(d.about_name, excluded.about_name) END,
              CASE WHEN turns THEN clock_timestamp() ELSE d.received_at END
       FROM (SELECT d.status = 'ignored' AND excluded.status = 'received' AS turns) AS t)
  RETURNING d.hook, d.guid, d.attempts, d.status, (d.xmax = 0 OR d.received_at > statement_timestamp()) AS fresh
), told AS (
  INSERT INTO events (account, subject, name, n, payload)
  SELECT h.account, given.subject, 'run_not_created', given.guid, jsonb_build_object('repo', given.about_name,
    'ref', given.ref, 'event', given.event, 'delivery', given.guid, 'reason', given.reason)
  FROM given JOIN kept USING (hook, guid) JOIN hooks h ON h.id = given.hook
  WHERE kept.fresh AND kept.status = 'ignored' AND given.subject IS NOT NULL
  ON CONFLICT (subject, name, n) DO NOTHING
), rung AS (
  INSERT INTO outbox (kind, key)
  SELECT DISTINCT given.bell, given.key FROM given JOIN kept USING (hook, guid)
  WHERE kept.fresh AND given.bell IS NOT NULL AND given.key IS NOT NULL
  RETURNING id
), woken AS (
  SELECT pg_notify('outbox', '') FROM (SELECT 1 FROM rung LIMIT 1) AS any_rung
)
SELECT hook, guid, attempts, status, fresh, (SELECT count(*) FROM woken) AS woken FROM kept
"""

# Bodies above this are large: GitHub's largest is 25 MB. Units: bytes, and bytes a second that are stored at least.
LARGE = 1024 * 1024
LARGEST = 25 * 1024 * 1024
_RATE = 5 * 1024 * 1024


def seconds_for(size: int) -> float:
    """What a body of that size may take longer."""
    return size / _RATE if size > LARGE else 0.0


# How exactly a deadline is kept. One timer for all: one for each costs more than storing it.
_TICK_S = 0.05

# Postgres refuses these rows for what is in them; another try would end alike.
_REFUSED = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, ValueError, TypeError)

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


class DeliveryRefused(Invalid):
    title = "This delivery cannot be stored."


class SecretReplaced(Unauthenticated):
    """Two rotations ended it, in every process. Give the sender the present one: `stackly repo rotate REPO`."""

    title = "The secret that signed this delivery was replaced."


@dataclass(frozen=True, slots=True)
class Arrival:
    """A verified delivery.

    Shape: `repo` is the repository it is about, where that is one of ours; `bell` is rung at `key`, the repository's id
    unless told otherwise. None rings nothing: it is only recorded. `about` is GitHub's number of the repository that
    its body names, and `subject` where people find an event that nothing came of it; None writes none. `signed_by` is
    the sealed secret that verified it; None where no signature was asked for.
    """

    hook: str
    guid: str
    event: str
    body: bytes
    body_sha256: str
    status: str  # received, ignored
    reason: str | None
    repo: RepoId | None
    bell: Bell | None = Bell.REPO_SYNC
    key: str | None = None
    about: int | None = None
    about_name: str | None = None
    subject: str | None = None
    ref: str | None = None
    signed_by: bytes | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """What is stored now.

    Shape: `attempts` counts every arrival of the GUID; `fresh` is true for the first, and the first not ignored.
    """

    guid: str
    status: str
    attempts: int
    fresh: bool


@dataclass(slots=True)
class _Waiting:
    """Units: `until` on the monotonic clock."""

    arrival: Arrival
    done: "asyncio.Future[Receipt]"
    until: float


class Inbox:
    """Micro-batches: each of `slots` connections takes what is waiting, up to `batch`, whenever it is free.

    Alone, a delivery is a batch of one and waits for nobody; under load batches grow by themselves. A large one has a
    connection of its own, and the time its size takes, so that no small one waits behind it.
    """

    def __init__(self, url: str, *, slots: int = 2, batch: int = 64, deadline_s: float = 3.4) -> None:
        self._url = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        self._slots = slots
        self._batch = batch
        self._deadline_s = deadline_s
        self._queue: deque[_Waiting] = deque()
        self._asked: deque[_Waiting] = deque()  # all of them, also those that are answered, until their time is over
        self._some = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._large: Inbox | None = None

    async def start(self) -> None:
        if self._batch > 1:
            self._large = Inbox(self._url, slots=1, batch=1, deadline_s=self._deadline_s + seconds_for(LARGEST))
            await self._large.start()
        self._tasks = [asyncio.create_task(self._serve(), name=f"inbox-{n}") for n in range(self._slots)]
        self._tasks.append(asyncio.create_task(self._watch(), name="inbox-deadlines"))

    async def close(self) -> None:
        if self._large is not None:
            await self._large.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        while self._queue:
            self._answer(self._queue.popleft(), Unavailable("The server is shutting down; send it again."))

    async def accept(self, arrival: Arrival) -> Receipt:
        """Store it; returns after the commit.

        Raises: Unavailable when Postgres did not answer in time (nothing, or all of it, is stored: sending it again is
        safe); DeliveryRefused when this very row cannot be stored.
        """
        if self._large is not None and len(arrival.body) > LARGE:
            return await self._large.accept(arrival)
        done: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        waiting = _Waiting(arrival, done, clock.monotonic() + self._deadline_s)
        self._queue.append(waiting)
        self._asked.append(waiting)
        self._some.set()
        return await done

    async def _watch(self) -> None:
        """Whoever waited for too long is told so, whatever the slots hang on."""
        while True:
            await asyncio.sleep(_TICK_S)
            now = clock.monotonic()
            while self._asked and (self._asked[0].until <= now or self._asked[0].done.done()):
                self._answer(self._asked.popleft(), Unavailable("Postgres does not answer; send the delivery again."))

    async def _serve(self) -> None:
        connection: Connection | None = None
        try:
            while True:
                await self._some.wait()
                batch = self._take()
                if batch:
                    connection = await self._carry(connection, batch)
        finally:
            if connection is not None:
                connection.terminate()

    def _take(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        while self._queue and len(batch) < self._batch:
            waiting = self._queue.popleft()
            if not waiting.done.done():  # its caller may have given up
                batch.append(waiting)
        if not self._queue:
            self._some.clear()
        return batch

    async def _carry(self, connection: "Connection | None", batch: list[_Waiting]) -> "Connection | None":
        """Store a batch and answer its callers. The connection to go on with, None when it is broken."""
        try:
            # One that died while nobody used it (Postgres was restarted) costs no delivery: GitHub sends each once.
            if connection is None or connection.is_closed():
                connection = await self._connect()
            await self._store(connection, batch)
        except Exception as e:  # noqa: BLE001 - asyncpg's own mistakes on a dying connection too: a slot must outlive all
            _log.warning("inbox.postgres_failed", error=type(e).__name__, waiting=len(batch))
            for waiting in batch:
                self._answer(waiting, Unavailable("Postgres is not reachable; send the delivery again."))
            if connection is not None:
                connection.terminate()
            return None
        except BaseException:
            for waiting in batch:
                self._answer(waiting, Unavailable("The server is shutting down; send it again."))
            if connection is not None:
                connection.terminate()
            raise
        return connection

    async def _connect(self) -> Connection:
        # A stuck server is noticed before the callers' deadline, so that the next batch gets a new connection.
        wait_s = self._deadline_s * 0.75
        return await asyncpg.connect(
            self._url,
            timeout=wait_s,
            command_timeout=wait_s,
            server_settings={"application_name": "stackly-inbox", "jit": "off", "lock_timeout": "3s"},
        )

    async def _store(self, connection: Connection, batch: Sequence[_Waiting]) -> None:
        try:
            receipts = await _keep(connection, [w.arrival for w in batch])
        except _REFUSED as e:
            if len(batch) == 1:
                _log.warning("delivery.refused", hook=batch[0].arrival.hook, error=type(e).__name__)
                self._answer(batch[0], DeliveryRefused(f"Postgres refuses this row: {type(e).__name__}."))
                return
            for waiting in batch:  # one bad row must not take the others with it
                await self._store(connection, [waiting])
            return
        for waiting in batch:
            receipt = receipts.get((waiting.arrival.hook, waiting.arrival.guid))
            self._answer(waiting, receipt or SecretReplaced("Sign it with the hook's present secret."))

    @staticmethod
    def _answer(waiting: _Waiting, answer: Receipt | Exception) -> None:
        if waiting.done.done():
            return
        if isinstance(answer, Exception):
            waiting.done.set_exception(answer)
        else:
            waiting.done.set_result(answer)


async def _keep(connection: Connection, arrivals: Sequence[Arrival]) -> dict[tuple[str, str], Receipt]:
    once: dict[tuple[str, str], tuple[Arrival, int]] = {}
    for arrival in arrivals:  # a row can be touched once a statement: count repeats here
        first, seen = once.get((arrival.hook, arrival.guid), (arrival, 0))
        once[arrival.hook, arrival.guid] = (first, seen + 1)
    rows = [once[key] for key in sorted(once)]  # one order of locks: two batches cannot deadlock
    found = await connection.fetch(
        _KEEP,
        [a.hook for a, _ in rows],
        [a.guid for a, _ in rows],
        [a.event for a, _ in rows],
        [a.body for a, _ in rows],
        [a.body_sha256 for a, _ in rows],
        [seen for _, seen in rows],
        [a.status for a, _ in rows],
        [a.reason for a, _ in rows],
        [a.repo for a, _ in rows],
        [a.bell.value if a.bell else None for a, _ in rows],
        [a.key or a.repo for a, _ in rows],
        [a.about for a, _ in rows],
        [a.about_name for a, _ in rows],
        [a.subject for a, _ in rows],
        [a.ref for a, _ in rows],
        [a.signed_by for a, _ in rows],
    )
    return {
        (row["hook"], row["guid"]): Receipt(row["guid"], row["status"], row["attempts"], row["fresh"]) for row in found
    }


@dataclass(frozen=True, slots=True)
class Hook:
    """A webhook's address and its sealed secrets. Shape: without `repo` it is an App's or an organisation's."""

    id: str
    account: AccountId
    repo: RepoId | None
    secret_sealed: bytes
    previous_sealed: bytes | None


async def insert_hook(session: Session, hook: Hook) -> None:
    await session.execute(
        text(
            "INSERT INTO hooks (id, account, repo, secret_sealed) VALUES (:id, :account, :repo, :secret)"
            " ON CONFLICT (id) DO NOTHING"
        ),
        {"id": hook.id, "account": hook.account, "repo": hook.repo, "secret": hook.secret_sealed},
    )


async def rotate_hook(session: Session, hook: str, secret_sealed: bytes) -> None:
    """The present secret becomes the previous one, which is good for deliveries signed before."""
    await session.execute(
        text("UPDATE hooks SET previous_sealed = secret_sealed, secret_sealed = :secret WHERE id = :id"),
        {"id": hook, "secret": secret_sealed},
    )


async def find_hook(session: Session, hook: str) -> Hook | None:
    return await _one_hook(session, "id = :hook", hook=hook)


async def find_hook_of(session: Session, account: str, repo: str | None) -> Hook | None:
    """A repository's own, or without one the account's."""
    return await _one_hook(
        session, "account = :account AND repo IS NOT DISTINCT FROM :repo", account=account, repo=repo
    )


async def _one_hook(session: Session, which: str, **given: str | None) -> Hook | None:
    statement = text(
        "SELECT id, account, repo, secret_sealed, previous_sealed FROM hooks"
        f" WHERE {which} ORDER BY created_at DESC LIMIT 1"
    )
    row = (await session.execute(statement, given)).mappings().one_or_none()
    return Hook(**row) if row else None


async def log_read_to(session: Session, hook: str) -> int:
    """GitHub's number of the newest delivery of its log that a sweep has seen; 0 before the first."""
    seen = await session.execute(text("SELECT coalesce(log_read_to, 0) FROM hooks WHERE id = :id"), {"id": hook})
    return int(seen.scalar_one())


async def set_log_read_to(session: Session, hook: str, number: int) -> None:
    await session.execute(
        text("UPDATE hooks SET log_read_to = greatest(log_read_to, :n) WHERE id = :id"), {"id": hook, "n": number}
    )


async def known_guids(session: Session, hook: str, guids: Sequence[str]) -> set[str]:
    """Which of these deliveries are stored here."""
    found = await session.execute(
        text("SELECT guid FROM deliveries WHERE hook = :hook AND guid = ANY(:guids)"),
        {"hook": hook, "guids": list(guids)},
    )
    return set(found.scalars())


async def prune(session: Session, *, days: int) -> int:
    """Forget deliveries of that age: GitHub sends none again after three days, and what they meant is long done.

    What told of a repository itself stays: its end counts for as long as GitHub does not show it.
    """
    gone = await session.execute(
        text(
            "DELETE FROM deliveries WHERE received_at < clock_timestamp() - make_interval(days => :days)"
            " AND event <> 'repository'"
        ),
        {"days": days},
    )
    return gone.rowcount
