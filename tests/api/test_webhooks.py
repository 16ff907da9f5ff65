from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import httpx
import pytest
from sqlalchemy import text

from stackly import db
from stackly.errors import Unavailable
from stackly.events.inbox import Arrival, DeliveryRefused, Inbox
from stackly.events.reads import rows
from stackly.git.signatures import sign
from stackly.ids import RepoId

if TYPE_CHECKING:
    from tests.api.conftest import Hooked, World


async def _count(transactions: db.Transactions, table: str) -> int:
    async with transactions() as session:
        return int((await rows(session, f"SELECT count(*) AS n FROM {table}"))[0]["n"])


async def test_a_signed_push_is_stored_with_its_doorbell(
    api: httpx.AsyncClient, hooked: Hooked, push: bytes, transactions: db.Transactions
) -> None:
    answer = await api.post(hooked.path, content=push, headers=hooked.headers(push, guid="g-1"))
    assert answer.status_code == 202
    assert answer.json() == {"delivery": "g-1", "status": "received", "attempts": 1}
    async with transactions() as session:
        [delivery] = await rows(session, "SELECT * FROM deliveries")
        [bell] = await rows(session, "SELECT kind, key FROM outbox")
    assert bytes(delivery["body"]) == push
    assert (delivery["event"], delivery["status"]) == ("push", "received")
    assert bell == {"kind": "repo-sync", "key": hooked.repo}


async def test_the_same_guid_twenty_times_at_once_is_one_row_and_one_sync(
    api: httpx.AsyncClient, hooked: Hooked, push: bytes, transactions: db.Transactions
) -> None:
    headers = hooked.headers(push, guid="same")
    answers = await asyncio.gather(*(api.post(hooked.path, content=push, headers=headers) for _ in range(20)))
    assert {a.status_code for a in answers} == {202}
    async with transactions() as session:
        [delivery] = await rows(session, "SELECT guid, attempts FROM deliveries")
    assert delivery == {"guid": "same", "attempts": 20}
    assert await _count(transactions, "outbox") == 1


@pytest.mark.parametrize(
    "signature",
    ["", "sha256=" + "0" * 64, "sha1=" + "0" * 40, "sha256=é" + "0" * 63, "sha256=", "nonsense"],
)
async def test_a_bad_signature_is_401_and_leaves_no_row(
    api: httpx.AsyncClient, hooked: Hooked, push: bytes, transactions: db.Transactions, signature: str
) -> None:
    headers = {k.encode(): v.encode() for k, v in hooked.headers(push).items()}
    headers[b"X-Hub-Signature-256"] = signature.encode("latin-1")
    answer = await api.post(hooked.path, content=push, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert await _count(transactions, "deliveries") == 0


async def test_a_missing_signature_is_401(
    api: httpx.AsyncClient, hooked: Hooked, push: bytes, transactions: db.Transactions
) -> None:
    headers = hooked.headers(push)
    del headers["X-Hub-Signature-256"]
    assert (await api.post(hooked.path, content=push, headers=headers)).status_code == 401
    assert await _count(transactions, "deliveries") == 0


async def test_the_previous_secret_still_counts_after_a_rotation(
    world: World, api: httpx.AsyncClient, hooked: Hooked, push: bytes
) -> None:
    from stackly import secrets
    from stackly.events import inbox

    await world.parts.hooks.get(hooked.hook)  # warm: the rotation happens behind the cache
    async with world.parts.transactions() as session:
        sealed = secrets.seal(world.parts.hooks._keyring, world.account.id, b"newer", f"hooks/{hooked.hook}")
        await inbox.rotate_hook(session, hooked.hook, sealed)
    await world.parts.hooks.reload(hooked.hook)
    for secret in (hooked.secret, b"newer"):
        headers = hooked.headers(push) | {"X-Hub-Signature-256": sign(secret, push)}
        assert (await api.post(hooked.path, content=push, headers=headers)).status_code == 202


async def test_the_first_secret_is_dead_after_two_rotations_in_a_process_that_remembers_it(
    world: World, api: httpx.AsyncClient, hooked: Hooked, push: bytes, transactions: db.Transactions
) -> None:
    from stackly import secrets
    from stackly.events import inbox

    before = hooked.headers(push)
    assert (await api.post(hooked.path, content=push, headers=before)).status_code == 202  # it is remembered now
    async with world.parts.transactions() as session:  # by another process
        for secret in (b"second", b"third"):
            sealed = secrets.seal(world.parts.hooks._keyring, world.account.id, secret, f"hooks/{hooked.hook}")
            await inbox.rotate_hook(session, hooked.hook, sealed)
    for headers in (before, hooked.headers(push)):  # the same delivery again, and a new one
        answer = await api.post(hooked.path, content=push, headers=headers)
        assert (answer.status_code, answer.json()["type"]) == (401, "/problems/secret-replaced")
    assert await _count(transactions, "deliveries") == 1
    async with world.parts.transactions() as session:
        assert (await session.execute(text("SELECT attempts FROM deliveries"))).scalar_one() == 1
    await world.parts.hooks.reload(hooked.hook)
    for secret in (b"second", b"third"):
        headers = hooked.headers(push) | {"X-Hub-Signature-256": sign(secret, push)}
        assert (await api.post(hooked.path, content=push, headers=headers)).status_code == 202


async def test_26_mb_are_413_before_the_hmac(
    api: httpx.AsyncClient, hooked: Hooked, transactions: db.Transactions
) -> None:
    big = b"x" * (26 * 1024 * 1024)
    answer = await api.post(hooked.path, content=big, headers=hooked.headers(big))
    assert answer.status_code == 413

    async def dribble() -> AsyncIterator[bytes]:
        for _ in range(26):
            yield b"x" * (1024 * 1024)

    headers = hooked.headers(b"")
    assert (await api.post(hooked.path, content=dribble(), headers=headers)).status_code == 413
    assert await _count(transactions, "deliveries") == 0


@pytest.mark.parametrize(
    ("event", "body", "why"),
    [
        ("ping", None, "lacks"),
        ("push", b'{"zen": "z", "hook_id": 1}', "lacks"),
        ("push", b"[" * 100_000 + b"]" * 100_000, "nested"),
        ("push", b"\xff\xfe", "not JSON"),
        ("ping", b'{"zen": "z", "hook_id": 1, "hook": {}}', "starts no sync"),
    ],
)
async def test_what_is_no_push_is_recorded_with_why_and_rings_nothing(
    api: httpx.AsyncClient,
    hooked: Hooked,
    push: bytes,
    transactions: db.Transactions,
    event: str,
    body: bytes | None,
    why: str,
) -> None:
    sent = push if body is None else body
    answer = await api.post(hooked.path, content=sent, headers=hooked.headers(sent, event=event))
    assert answer.status_code == 202
    assert answer.json()["status"] == "ignored"
    async with transactions() as session:
        [delivery] = await rows(session, "SELECT reason, status FROM deliveries")
    assert why in delivery["reason"]
    assert await _count(transactions, "outbox") == 0


async def test_an_unknown_hook_is_404_and_a_get_is_405(api: httpx.AsyncClient, hooked: Hooked, push: bytes) -> None:
    assert (await api.post("/webhooks/github/nobody", content=push, headers=hooked.headers(push))).status_code == 404
    assert (await api.get(hooked.path)).status_code == 405


async def test_a_signature_of_one_hook_does_not_open_another(
    world: World, api: httpx.AsyncClient, hooked: Hooked, push: bytes
) -> None:
    async with world.parts.transactions() as session:
        other, _ = await world.parts.hooks.create(session, world.account.id, RepoId("another-repo"))
    answer = await api.post(f"/webhooks/github/{other}", content=push, headers=hooked.headers(push))
    assert answer.status_code == 401


def _arrival(guid: str, hook: str = "h") -> Arrival:
    return Arrival(hook, guid, "push", b"{}", "0" * 64, "received", None, "repo-1")  # type: ignore[arg-type]


async def test_a_poisoned_row_does_not_take_its_batch_with_it(database: str, transactions: db.Transactions) -> None:
    inbox = Inbox(database, slots=1)
    waiting = [asyncio.create_task(inbox.accept(_arrival(g))) for g in ("a", "b\x00", "c", "a")]
    await asyncio.sleep(0)  # all four are queued before the one slot starts
    await inbox.start()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    await inbox.close()
    assert isinstance(outcomes[1], DeliveryRefused)
    async with transactions() as session:
        found = await rows(session, "SELECT guid, attempts FROM deliveries ORDER BY guid")
    assert found == [{"guid": "a", "attempts": 2}, {"guid": "c", "attempts": 1}]


async def test_overlapping_batches_of_the_same_guids_never_deadlock(
    database: str, transactions: db.Transactions
) -> None:
    inbox = Inbox(database, slots=4, batch=8)
    await inbox.start()
    await asyncio.gather(*(inbox.accept(_arrival(f"g{(n * 7) % 23}")) for n in range(400)))
    await inbox.close()
    async with transactions() as session:
        [total] = await rows(session, "SELECT count(*) AS n, sum(attempts) AS s FROM deliveries")
    assert (total["n"], total["s"]) == (23, 400)
    assert 1 <= await _count(transactions, "outbox") <= 23  # a batch rings a repository once


async def test_the_dispatcher_is_rung_once_a_batch(database: str, transactions: db.Transactions) -> None:
    heard: list[str] = []
    ear = await db.listen(database, ["outbox"], lambda _c, p: heard.append(p))
    inbox = Inbox(database, slots=1)
    waiting = [asyncio.create_task(inbox.accept(_arrival(f"g{n}"))) for n in range(30)]
    await asyncio.sleep(0)
    await inbox.start()
    await asyncio.gather(*waiting)
    await inbox.close()
    for _ in range(50):
        if heard:
            break
        await asyncio.sleep(0.02)
    await ear.close()
    assert len(heard) == 1


@pytest.fixture
async def silent_server() -> AsyncIterator[int]:
    """Takes connections and never answers, as a stopped Postgres does."""
    server = await asyncio.start_server(lambda _r, _w: asyncio.sleep(60), "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def test_a_postgres_that_does_not_answer_is_unavailable_in_time(silent_server: int) -> None:
    inbox = Inbox(f"postgresql://x:y@127.0.0.1:{silent_server}/z", deadline_s=0.5)
    await inbox.start()
    with pytest.raises(Unavailable):
        async with asyncio.timeout(5):
            await inbox.accept(_arrival("a"))
    await inbox.close()


async def test_the_last_of_many_is_told_as_soon_as_the_first(silent_server: int) -> None:
    """One after the other, each after the patience of a connection, they would be told in eleven seconds."""
    inbox = Inbox(f"postgresql://x:y@127.0.0.1:{silent_server}/z", slots=1, batch=1, deadline_s=0.5)
    await inbox.start()
    async with asyncio.timeout(5):
        waiting = (inbox.accept(_arrival(f"g{n}")) for n in range(30))
        told = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(t) for t in told} == {Unavailable}
    await inbox.close()


async def test_the_inbox_recovers_when_its_connection_dies(database: str, transactions: db.Transactions) -> None:
    inbox = Inbox(database, slots=1)
    await inbox.start()
    await inbox.accept(_arrival("before"))
    async with transactions() as session:
        await rows(
            session,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'stackly-inbox'",
        )
    outcomes = []
    for n in range(5):
        outcomes.append((await asyncio.gather(inbox.accept(_arrival(f"after{n}")), return_exceptions=True))[0])
        await asyncio.sleep(0.05)
    await inbox.close()
    assert not isinstance(outcomes[-1], Exception)


class _Confused(Inbox):
    """A driver that loses its head once, on a connection that dies under it."""

    confused = False

    async def _store(self, connection: object, batch: object) -> None:
        if not self.confused:
            self.confused = True
            raise RuntimeError("the driver did not expect this")
        await super()._store(connection, batch)  # type: ignore[arg-type]


async def test_no_error_of_the_driver_ends_a_slot(database: str) -> None:
    inbox = _Confused(database, slots=1)
    await inbox.start()
    with pytest.raises(Unavailable):
        await inbox.accept(_arrival("first"))
    assert (await inbox.accept(_arrival("second"))).fresh
    await inbox.close()


async def test_a_connection_that_died_unused_costs_no_delivery(database: str, transactions: db.Transactions) -> None:
    inbox = Inbox(database, slots=1)
    await inbox.start()
    await inbox.accept(_arrival("before"))
    async with transactions() as session:
        await rows(
            session,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'stackly-inbox'",
        )
    await asyncio.sleep(0.5)  # the end of the connection arrives
    receipt = await inbox.accept(_arrival("after"))
    await inbox.close()
    assert receipt.fresh


async def test_without_postgres_the_answer_is_a_503_problem_that_says_when(
    world: World, hooked: Hooked, push: bytes, unused_tcp_url: str
) -> None:
    from stackly.api.webhooks import Webhooks

    inbox = Inbox(unused_tcp_url)
    await inbox.start()
    await world.parts.hooks.get(hooked.hook)
    world.app._door = Webhooks(inbox, world.parts.hooks, world.parts.metrics)
    async with world.client() as client:
        answer = await client.post(hooked.path, content=push, headers=hooked.headers(push))
    await inbox.close()
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert answer.json()["kind"] == "unavailable"


@pytest.fixture
async def unused_tcp_url() -> str:
    server = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return f"postgresql://x:y@127.0.0.1:{port}/z"


async def test_security_headers_and_a_request_id_are_on_every_answer(api: httpx.AsyncClient, hooked: Hooked) -> None:
    for path in ("/healthz", "/api/v1/nothing", hooked.path, "/"):
        answer = await api.get(path)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-request-id"]
    delivered = await api.post(hooked.path, content=b"{}")
    assert delivered.headers["x-content-type-options"] == "nosniff"
    assert delivered.headers["x-request-id"]


async def test_a_large_body_is_acknowledged_and_turns_no_small_one_away(
    api: httpx.AsyncClient, hooked: Hooked, push: bytes
) -> None:
    """Four of 24 MB at once, with small ones between them."""
    filled = json.loads(push) | {"filler": "x" * (24 * 1024 * 1024 - len(push) - 100)}
    large = json.dumps(filled).encode()

    async def sent(body: bytes) -> int:
        return (await api.post(hooked.path, content=body, headers=hooked.headers(body))).status_code

    codes = await asyncio.gather(*(sent(b) for b in [large, *[push] * 10, large, *[push] * 10]))
    assert codes == [202] * 22


async def test_a_large_body_that_postgres_does_not_take_yet_holds_up_no_small_one(
    api: httpx.AsyncClient, hooked: Hooked, push: bytes, transactions: db.Transactions
) -> None:
    large = json.dumps(json.loads(push) | {"filler": "x" * 2 * 1024 * 1024}).encode()
    columns = "hook, guid, event, body, body_sha256, status"
    row = f"INSERT INTO deliveries ({columns}) VALUES (:h, 'held', 'push', '', '', 'ignored')"
    async with transactions() as session:
        await session.execute(text(row), {"h": hooked.hook})
        waiting = [
            asyncio.create_task(api.post(hooked.path, content=large, headers=hooked.headers(large, guid="held")))
            for _ in range(2)
        ]
        await asyncio.sleep(0)
        small = [await api.post(hooked.path, content=push, headers=hooked.headers(push)) for _ in range(8)]
        assert [answer.status_code for answer in small] == [202] * 8
    assert {(await each).status_code for each in waiting} <= {202, 503}
