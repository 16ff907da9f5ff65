"""What an agent may not do leaves an event, whichever call it is; what is open when it is revoked ends."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from stackly.agents import service as agents
from stackly.errors import Denied
from stackly.storage import ObjectNotFound
from stackly.wire import gateway_pb2 as wire
from stackly.wire.gateway_pb2_grpc import AgentGatewayStub
from tests.api.grpc.conftest import Connect, Doors
from tests.api.grpc.relaying import until
from tests.api.grpc.rows import World, make_world, sql, terraform_state


async def test_each_refused_call_is_an_event_once(doors: Doors, world: World, connect: Connect, tmp_path: Path) -> None:
    other = await make_world(doors.transactions, name="other")
    edge = await doors.edge(world)
    gateway = await connect(edge)
    artifact = tmp_path / "a"
    artifact.write_bytes(b"x")
    attempts = (
        lambda: gateway.renew_step(other.key("measure 1"), "i"),
        lambda: gateway.end_step(other.key("measure 1"), "i", "{}"),
        lambda: gateway.put_artifact(other.run, other.test, "x", artifact, "text/plain"),
        lambda: gateway.append(wire.AppendRequest(run=other.run, test=other.test)),
        lambda: gateway.write_state(world.run, world.test, 1, terraform_state(1)),
        lambda: gateway.read_state(world.key()),
        lambda: gateway.read_tree(world.key()),
        lambda: gateway.issue_enrolment(world.key(), "db"),
    )
    for attempt in attempts * 2:
        with pytest.raises(Denied):
            await attempt()
    recorded = "SELECT subject, payload->>'method' FROM events WHERE name = 'call_refused' ORDER BY id"
    names = ["RenewStep", "EndStep", "PutArtifact", "Append", "WriteState", "ReadState", "ReadTree", "IssueEnrolment"]
    about = f"agent/{edge.agent_id}"
    assert await sql(doors.transactions, recorded) == [(about, f"/stackly.gateway.v1.AgentGateway/{n}") for n in names]


async def test_an_upload_ends_when_its_agent_is_revoked(doors: Doors, world: World) -> None:
    edge = await doors.edge(world)
    credentials = grpc.ssl_channel_credentials(edge.ca_pem, edge.key_pem, edge.certificate_pem)
    revoked = asyncio.Event()
    about = {"run": world.run, "test": world.test}

    async def parts() -> AsyncIterator[wire.PutArtifactRequest]:
        yield wire.PutArtifactRequest(**about, name="x", data=b"x", sha256=hashlib.sha256(b"xy").hexdigest())
        await revoked.wait()
        yield wire.PutArtifactRequest(data=b"y")

    async with grpc.aio.secure_channel(edge.gateway, credentials) as channel:
        stub: Any = AgentGatewayStub(channel)  # type: ignore[no-untyped-call]  # generated
        upload = asyncio.ensure_future(stub.PutArtifact(parts(), timeout=60))
        await until(lambda: doors.servers.uploads.count == 1)
        async with doors.transactions() as session:
            await agents.revoke(session, edge.agent_id, account=world.account)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await upload
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
        revoked.set()
    with pytest.raises(ObjectNotFound):
        await doors.store.get(f"artifacts/{world.run}/{world.test}/x")
