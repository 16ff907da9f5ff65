"""The one service an agent speaks to: AgentGateway over mTLS."""

import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import grpc
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from stackly import clock
from stackly.errors import (
    Conflict,
    Denied,
    Exhausted,
    Faulty,
    Invalid,
    NotFound,
    StacklyError,
    Unauthenticated,
    Unavailable,
)
from stackly.temporal.steps import StepKey
from stackly.wire import gateway_pb2 as wire
from stackly.wire.gateway_pb2_grpc import AgentGatewayStub

CHUNK_BYTES = 1024 * 1024
_TRANSFER_S = 120.0
_KINDS: dict[grpc.StatusCode, type[StacklyError]] = {
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: Unavailable,
    grpc.StatusCode.CANCELLED: Unavailable,
    grpc.StatusCode.PERMISSION_DENIED: Denied,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.INVALID_ARGUMENT: Invalid,
    grpc.StatusCode.FAILED_PRECONDITION: Conflict,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Exhausted,
}
_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 200),
    # In spite of its name also how long one attempt, with its TLS handshake, may take.
    ("grpc.min_reconnect_backoff_ms", 10_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.enable_http_proxy", 0),
)

T = TypeVar("T")


def _as_ours(e: grpc.RpcError) -> StacklyError:
    code = e.code() if isinstance(e, grpc.aio.AioRpcError) else grpc.StatusCode.UNKNOWN
    details = e.details() if isinstance(e, grpc.aio.AioRpcError) else ""
    return _KINDS.get(code, Faulty)(f"Gateway: {details or code.name}")


def key_message(key: StepKey) -> wire.StepKey:
    return wire.StepKey(run=key.run, test=key.test, step=key.step, attempt=key.attempt, epoch=key.epoch)


@dataclass(frozen=True, slots=True)
class Credentials:
    """Memory only."""

    superuser: str
    superuser_password: str = field(repr=False)
    user: str
    user_password: str = field(repr=False)
    database: str


@dataclass(frozen=True, slots=True)
class Identity:
    """What enrolment gave. Shape: `told` is the reply as JSON; certificate and keys are PEM."""

    agent_id: str
    role: str
    account: str
    key_pem: bytes = field(repr=False)
    certificate_pem: bytes
    ca_pem: bytes
    gateway: str
    namespace: str
    keys: Mapping[str, Any] = field(repr=False)
    credentials: Credentials | None
    run: str
    test: str
    machine: str
    deadline: datetime | None


def new_key() -> tuple[bytes, bytes]:
    """(private, public) PEM of a fresh key."""
    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private, public


async def enrol(
    address: str, ca_pem: bytes, token: str, *, version: str, capabilities: Mapping[str, object]
) -> Identity:
    """Exchange a one-time token for an identity. Raises: Unauthenticated when it was used; Unavailable."""
    private, public = new_key()
    request = wire.EnrolRequest(
        token=token, public_key_pem=public, version=version, capabilities_json=json.dumps(capabilities)
    )
    credentials = grpc.ssl_channel_credentials(ca_pem)
    async with grpc.aio.secure_channel(address, credentials, options=_OPTIONS) as channel:
        try:
            reply: wire.EnrolReply = await AgentGatewayStub(channel).Enrol(request, timeout=10)  # type: ignore[no-untyped-call]  # generated
        except grpc.RpcError as e:
            raise _as_ours(e) from e
    given = json.loads(reply.credentials_json or "{}")
    return Identity(
        agent_id=reply.agent_id,
        role=reply.role,
        account=reply.account_id,
        key_pem=private,
        certificate_pem=reply.certificate_pem,
        ca_pem=reply.ca_pem,
        gateway=reply.gateway_address,
        namespace=reply.namespace,
        keys=json.loads(reply.keys_json),
        credentials=Credentials(**given) if given else None,
        run=reply.run,
        test=reply.test,
        machine=reply.machine,
        deadline=clock.parse(reply.deadline) if reply.deadline else None,
    )


@dataclass(frozen=True, slots=True)
class Begun:
    """Shape: `verdict` and `refusal` are names of the wire's StepVerdict and Refusal; `given` is what to carry out."""

    verdict: str
    given: Mapping[str, Any] | None
    reason: str
    refusal: str = "REFUSAL_UNSPECIFIED"


@dataclass(frozen=True, slots=True)
class Enrolment:
    token: str = field(repr=False)
    agent_id: str
    enrol_address: str
    ca_pem: bytes


class Gateway:
    """One channel, reconnecting by itself. Raises everywhere: Unavailable when it does not answer in time."""

    def __init__(self, identity: Identity, *, call_s: float = 5.0) -> None:
        credentials = grpc.ssl_channel_credentials(identity.ca_pem, identity.key_pem, identity.certificate_pem)
        self._channel = grpc.aio.secure_channel(identity.gateway, credentials, options=_OPTIONS)
        self._stub: Any = AgentGatewayStub(self._channel)  # type: ignore[no-untyped-call]  # generated
        self._call_s = call_s

    async def close(self) -> None:
        await self._channel.close(grace=None)

    async def _ask(self, call: Callable[[float], Awaitable[T]], timeout: float | None = None) -> T:
        try:
            return await call(timeout or self._call_s)
        except grpc.RpcError as e:
            raise _as_ours(e) from e

    async def heartbeat(
        self,
        incarnation: str,
        version: str,
        capabilities: Mapping[str, object],
        *,
        polling: bool,
        inventory: Mapping[str, object] | None = None,
    ) -> tuple[bool, bool]:
        """(revoked, test_over). `inventory` None: it was not looked at this time."""
        request = wire.HeartbeatRequest(
            incarnation=incarnation,
            version=version,
            capabilities_json=json.dumps(capabilities),
            polling=polling,
            inventory_json="" if inventory is None else json.dumps(inventory),
        )
        reply = await self._ask(lambda t: self._stub.Heartbeat(request, timeout=t))
        return reply.revoked, reply.test_over

    async def begin_step(self, key: StepKey, incarnation: str) -> Begun:
        request = wire.BeginStepRequest(key=key_message(key), incarnation=incarnation)
        reply = await self._ask(lambda t: self._stub.BeginStep(request, timeout=t))
        given = json.loads(reply.input_json) if reply.input_json else None
        return Begun(wire.StepVerdict.Name(reply.verdict), given, reply.reason, wire.Refusal.Name(reply.refusal))

    async def renew_step(self, key: StepKey, incarnation: str, *, timeout: float | None = None) -> tuple[bool, bool]:
        """(held, cancel_requested)"""
        request = wire.RenewStepRequest(key=key_message(key), incarnation=incarnation)
        reply = await self._ask(lambda t: self._stub.RenewStep(request, timeout=t), timeout)
        return reply.held, reply.cancel_requested

    async def end_step(self, key: StepKey, incarnation: str, outcome_json: str) -> bool:
        interruption = json.loads(outcome_json).get("interruption", "INTERRUPTION_UNSPECIFIED")
        request = wire.EndStepRequest(
            key=key_message(key), incarnation=incarnation, outcome_json=outcome_json, interruption=interruption
        )
        stored: bool = (await self._ask(lambda t: self._stub.EndStep(request, timeout=t))).stored
        return stored

    async def report_gone(self, incarnation: str) -> list[tuple[str, str, int]]:
        """(run, test, epoch) of what must not be reaped."""
        request = wire.ReportGoneRequest(incarnation=incarnation)
        reply = await self._ask(lambda t: self._stub.ReportGone(request, timeout=t))
        return [(o.run, o.test, o.epoch) for o in reply.current]

    async def list_owners(self) -> dict[tuple[str, str], bool]:
        """What must not be reaped, as it is now. Shape: (run, test) -> whether it has ended, and its state has not."""
        reply = await self._ask(lambda t: self._stub.ListOwners(wire.ListOwnersRequest(), timeout=t))
        return {(o.run, o.test): o.ended for o in reply.current}

    async def issue_enrolment(self, key: StepKey, machine: str) -> Enrolment:
        request = wire.IssueEnrolmentRequest(run=key.run, test=key.test, epoch=key.epoch, machine=machine)
        reply = await self._ask(lambda t: self._stub.IssueEnrolment(request, timeout=t))
        return Enrolment(reply.token, reply.agent_id, reply.enrol_address, reply.ca_pem)

    async def append(self, request: wire.AppendRequest) -> None:
        await self._ask(lambda t: self._stub.Append(request, timeout=t))

    async def read_tree(self, key: StepKey) -> bytes:
        request = wire.ReadTreeRequest(run=key.run, test=key.test, epoch=key.epoch)
        return await self._ask(lambda t: _joined(self._stub.ReadTree(request, timeout=t)), _TRANSFER_S)

    async def read_state(self, key: StepKey) -> bytes:
        request = wire.ReadStateRequest(run=key.run, test=key.test, epoch=key.epoch)
        return await self._ask(lambda t: _joined(self._stub.ReadState(request, timeout=t)), _TRANSFER_S)

    async def write_state(self, run: str, test: str, epoch: int, state: bytes) -> tuple[bool, bool, str]:
        """(accepted, rescued, reason)"""

        async def parts() -> AsyncIterator[wire.WriteStateRequest]:
            yield wire.WriteStateRequest(run=run, test=test, epoch=epoch, data=state[:CHUNK_BYTES])
            for at in range(CHUNK_BYTES, len(state), CHUNK_BYTES):
                yield wire.WriteStateRequest(data=state[at : at + CHUNK_BYTES])

        reply = await self._ask(lambda t: self._stub.WriteState(parts(), timeout=t), _TRANSFER_S)
        return reply.accepted, reply.rescued, reply.reason

    async def put_artifact(self, run: str, test: str, name: str, path: Path, media_type: str) -> str:
        """The storage key. The file must not change meanwhile."""
        sha256 = hashlib.sha256()
        with path.open("rb") as file:
            while data := file.read(CHUNK_BYTES):
                sha256.update(data)

        async def parts() -> AsyncIterator[wire.PutArtifactRequest]:
            yield wire.PutArtifactRequest(
                run=run, test=test, name=name, sha256=sha256.hexdigest(), media_type=media_type
            )
            with path.open("rb") as file:
                while data := file.read(CHUNK_BYTES):
                    yield wire.PutArtifactRequest(data=data)

        reply = await self._ask(lambda t: self._stub.PutArtifact(parts(), timeout=t), _TRANSFER_S)
        return str(reply.key)


async def _joined(chunks: AsyncIterator[wire.Chunk]) -> bytes:
    content = bytearray()
    async for chunk in chunks:
        content += chunk.data
    return bytes(content)
