"""What Temporal keeps is ciphertext, and an edge agent opens only its own workflow's."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from temporalio import activity, workflow
from temporalio.api.common.v1 import Payload
from temporalio.client import Client, WorkflowFailureError
from temporalio.converter import ActivitySerializationContext, WorkflowSerializationContext
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from stackly.ids import new_id
from stackly.secrets import Keyring, SealBroken, seal, unseal
from stackly.secrets import test_credentials as credentials_of
from stackly.temporal.codec import (
    AccountKeys,
    EncryptedPayloads,
    OneWorkflow,
    PayloadKey,
    PayloadUnreadable,
    held_keys,
    workflow_key,
)
from stackly.temporal.sealed import SealedPayloads, Unsealed, data_converter

PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=b'"needle"')
SECRET = "needle-in-the-history"


def of_workflow(codec: EncryptedPayloads, workflow_id: str) -> EncryptedPayloads:
    return codec.with_context(WorkflowSerializationContext(namespace="default", workflow_id=workflow_id))


def of_activity(codec: EncryptedPayloads, workflow_id: str) -> EncryptedPayloads:
    return codec.with_context(
        ActivitySerializationContext(
            namespace="default",
            activity_id="1",
            activity_type="a",
            activity_task_queue="q",
            workflow_id=workflow_id,
            workflow_type="w",
            is_local=False,
        )
    )


def edge(ring: Keyring, account: str, workflow_id: str) -> EncryptedPayloads:
    version, key = ring.key(account)
    return EncryptedPayloads(OneWorkflow(PayloadKey(account, version, workflow_id, workflow_key(key, workflow_id))))


async def opens(codec: EncryptedPayloads, payloads: list[Payload]) -> bool:
    """Nothing raises in a codec: what does not open comes out as what nobody can convert."""
    converter = SealedPayloads()
    try:
        for payload in await codec.decode(payloads):
            converter.from_payload(payload)
    except Unsealed:
        return False
    return True


@pytest.fixture
def ring(tmp_path: Path) -> Keyring:
    return Keyring(tmp_path / "keyring.json")


async def test_an_edge_agent_reads_its_inputs_and_answers_with_its_own_key(ring: Keyring) -> None:
    control = EncryptedPayloads(AccountKeys(ring, "acme"))
    mine = edge(ring, "acme", "test/r/oltp")
    sent = await of_activity(control, "test/r/oltp").encode([PLAIN])
    assert b"needle" not in sent[0].SerializeToString()
    assert await of_activity(mine, "test/r/oltp").decode(sent) == [PLAIN]
    for answering in (mine, of_activity(mine, "test/r/oltp")):
        assert await of_workflow(control, "test/r/oltp").decode(await answering.encode([PLAIN])) == [PLAIN]


async def test_an_edge_agent_reads_nothing_else(ring: Keyring) -> None:
    control = EncryptedPayloads(AccountKeys(ring, "acme"))
    mine = edge(ring, "acme", "test/r/oltp")
    for other in ("test/r/olap", "run/r", ""):
        theirs = await of_workflow(control, other).encode([PLAIN])
        assert not await opens(mine, theirs)
        assert not await opens(of_activity(mine, other), theirs)
    with pytest.raises(PayloadUnreadable):
        await of_workflow(mine, "run/r").encode([PLAIN])


async def test_rotation_keeps_the_old_readable_and_accounts_stay_apart(ring: Keyring) -> None:
    control = EncryptedPayloads(AccountKeys(ring, "acme"))
    old = await of_workflow(control, "run/r").encode([PLAIN])
    assert ring.rotate("acme") == 2
    new = await of_workflow(control, "run/r").encode([PLAIN])
    assert {p.metadata["key-version"] for p in (*old, *new)} == {b"1", b"2"}
    assert await of_workflow(control, "run/r").decode([*old, *new]) == [PLAIN, PLAIN]
    _, other = ring.key("other")
    site = EncryptedPayloads(AccountKeys(held_keys("other", {"1": "A" * 43 + "="}), "other"))
    assert not await opens(of_workflow(site, "run/r"), old)
    assert other != ring.key("acme", 1)[1]


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=2000), st.text(max_size=40), st.data())
async def test_what_was_changed_does_not_open(data: bytes, workflow_id: str, draw: st.DataObject) -> None:
    keys = AccountKeys(held_keys("acme", {"1": "A" * 43 + "="}), "acme")
    codec = of_workflow(EncryptedPayloads(keys), workflow_id)
    payload = Payload(metadata={"encoding": b"binary/plain"}, data=data)
    (sealed,) = await codec.encode([payload])
    assert await codec.decode([sealed]) == [payload]
    at = draw.draw(st.integers(0, len(sealed.data) - 1))
    broken = Payload()
    broken.CopyFrom(sealed)
    broken.data = sealed.data[:at] + bytes([sealed.data[at] ^ 1]) + sealed.data[at + 1 :]
    moved = Payload()
    moved.CopyFrom(sealed)
    moved.metadata["key-workflow"] = (workflow_id + "x").encode()
    for wrong in (broken, moved):
        assert not await opens(codec, [wrong])


async def test_what_nobody_sealed_does_not_open(ring: Keyring) -> None:
    codec = of_workflow(EncryptedPayloads(AccountKeys(ring, "acme")), "run/r")
    for payload in (PLAIN, Payload(), Payload(metadata={"encoding": b"stackly/unsealed"})):
        assert not await opens(codec, [payload])


async def test_what_was_sealed_for_one_workflow_opens_for_no_other(ring: Keyring) -> None:
    """A stranger who reads Temporal's store finds sealed messages, and may send them anywhere."""
    control = EncryptedPayloads(AccountKeys(ring, "acme"))
    sealed = await of_workflow(control, "run/r").encode([PLAIN])
    assert await opens(of_workflow(control, "run/r"), sealed)
    for other in ("run/s", "run/r/2", "run/", "", "run/r-x", "run/r-2026-11-28", "x-run/r-2026-11-28T18:00:00Z"):
        assert not await opens(of_workflow(control, other), sealed), other
        assert not await opens(of_activity(control, other), sealed), other
    second = EncryptedPayloads(AccountKeys(ring, "other"))
    assert not await opens(of_workflow(second, "run/r"), sealed)


async def test_a_schedules_workflow_opens_what_was_sealed_for_the_schedule(ring: Keyring) -> None:
    control = EncryptedPayloads(AccountKeys(ring, "acme"))
    sealed = await of_workflow(control, "sweep/a").encode([PLAIN])
    assert await opens(of_workflow(control, "sweep/a-2026-11-28T18:00:00Z"), sealed)
    assert not await opens(of_workflow(control, "sweep/ab-2026-11-28T18:00:00Z"), sealed)


def test_the_keyring_is_private_and_shared_by_processes(tmp_path: Path) -> None:
    path = tmp_path / "k" / "keyring.json"
    first, second = Keyring(path), Keyring(path)
    assert first.key("acme") == second.key("acme")
    assert path.stat().st_mode & 0o777 == 0o600
    first.rotate("acme")
    assert second.key("acme", 2) == first.key("acme")
    assert set(second.versions("acme")) == {1, 2}


def test_a_sealed_row_opens_in_its_own_place_only(ring: Keyring) -> None:
    sealed = seal(ring, "acme", b"hook secret", "hooks/1")
    ring.rotate("acme")
    assert unseal(ring, "acme", sealed, "hooks/1") == b"hook secret"
    for account, data, aad in (
        ("acme", sealed, "hooks/2"),
        ("acme", sealed[:-1] + bytes([sealed[-1] ^ 1]), "hooks/1"),
        ("acme", b"", "hooks/1"),
    ):
        with pytest.raises(SealBroken):
            unseal(ring, account, data, aad)


def test_credentials_come_out_the_same_and_differ_by_test() -> None:
    key = b"k" * 32
    one = credentials_of(key, "r", "oltp")
    assert one == credentials_of(key, "r", "oltp")
    others = [
        credentials_of(key, "r", "olap"),
        credentials_of(key, "s", "oltp"),
        credentials_of(b"l" * 32, "r", "oltp"),
    ]
    passwords = {c.superuser_password for c in (one, *others)} | {c.user_password for c in (one, *others)}
    assert len(passwords) == 8
    assert "password" not in repr(one)


@dataclass(frozen=True)
class Thing:
    text: str


@activity.defn(name="codec.echo")
async def echo(given: Thing) -> Thing:
    activity.heartbeat(given)
    if given.text.startswith("fail"):
        raise ApplicationError(f"failed with {given.text}", given, type="Told", non_retryable=True)
    return Thing(given.text + "!")


@workflow.defn(name="codec.flow")
class Flow:
    @workflow.run
    async def run(self, given: Thing) -> Thing:
        return await workflow.execute_activity(
            echo, given, task_queue=f"{workflow.info().task_queue}-edge", start_to_close_timeout=timedelta(seconds=20)
        )


async def _client(temporal: WorkflowEnvironment, codec: EncryptedPayloads) -> Client:
    config = temporal.client.config()
    config["data_converter"] = data_converter(codec)
    return Client(**config)


async def test_history_holds_no_plaintext(temporal: WorkflowEnvironment, ring: Keyring) -> None:
    """On a real server: the workflow with the account's key, its activity with the workflow's key only."""
    queue, flow = f"codec-{new_id()}", f"test/r/{new_id()}"
    control = await _client(temporal, EncryptedPayloads(AccountKeys(ring, "acme")))
    mine = await _client(temporal, edge(ring, "acme", flow))
    async with (
        Worker(control, task_queue=queue, workflows=[Flow], workflow_runner=UnsandboxedWorkflowRunner()),
        Worker(mine, task_queue=f"{queue}-edge", activities=[echo]),
    ):
        given = Thing(SECRET)
        assert await control.execute_workflow(Flow.run, given, id=flow, task_queue=queue) == Thing(SECRET + "!")
        failing = Thing(f"fail {SECRET}")
        with pytest.raises(WorkflowFailureError) as failed:
            await control.execute_workflow(Flow.run, failing, id=flow, task_queue=queue)
        told = failed.value.cause.__cause__
        assert isinstance(told, ApplicationError)
        assert told.type == "Told"
        assert SECRET in told.message
    handle = control.get_workflow_handle(flow)
    history = await handle.fetch_history()
    assert len(history.events) > 5
    for event in history.events:
        assert SECRET.encode() not in event.SerializeToString()
        assert b"Thing" not in event.SerializeToString()
