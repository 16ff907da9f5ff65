"""The two endpoints for agents: enrolment under server TLS, the gateway under mTLS."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import grpc

from stackly import log
from stackly.agents.authority import Authority
from stackly.api.grpc.callers import Callers
from stackly.api.grpc.enrolment import EnrolmentDoor
from stackly.api.grpc.gateway import Gateway
from stackly.api.grpc.places import Places
from stackly.api.grpc.polls import Polls
from stackly.api.grpc.refusals import Refusals
from stackly.api.grpc.relay import CHANNEL_OPTIONS, Relay
from stackly.api.grpc.tokens import TaskTokens
from stackly.db import Transactions
from stackly.errors import Unavailable
from stackly.secrets import KeySource
from stackly.storage import Store
from stackly.wire.gateway_pb2_grpc import add_AgentGatewayServicer_to_server

_log = log.get("gateway")
_UPLOADS = 32  # at once and each: a site agent's tests end together
_DRAIN_S = 75.0  # longer than a poll lasts
_TRIES, _TRY_S = 500, 0.01
# An open connection outlives its certificate; this bounds by how much.
_OPTIONS = (
    ("grpc.max_connection_age_ms", 600_000),
    ("grpc.max_connection_age_grace_ms", 75_000),  # longer than a poll lasts
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.keepalive_time_ms", 20_000),  # a machine that vanished ends its polls
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.so_reuseport", 0),
)


class Values(Protocol):
    """The part of the settings that this needs. Shape: host:port; port 0 takes a free one."""

    @property
    def gateway_address(self) -> str: ...
    @property
    def enrol_address(self) -> str: ...
    @property
    def temporal_address(self) -> str: ...
    @property
    def temporal_namespace(self) -> str: ...
    @property
    def mirrors(self) -> Path: ...


@dataclass(frozen=True, slots=True)
class Servers:
    """Shape: `places` holds the ports that were really taken."""

    gateway: grpc.aio.Server
    enrol: grpc.aio.Server
    places: Places
    polls: Polls
    temporal: grpc.aio.Channel
    uploads: Polls
    watch: asyncio.Future[Any]

    async def stop(self, grace_s: float = 2.0) -> None:
        """Calls under way may end; then open polls are cut, and asked anew by their agents."""
        await asyncio.gather(self.enrol.stop(grace_s), self.gateway.stop(grace_s))
        self.watch.cancel()
        await self.temporal.close(None)


def _credentials(authority: Authority, names: tuple[str, ...], *, mutual: bool) -> grpc.ServerCredentials:
    """One certificate for the server's life. gRPC's way to exchange it under way frees what a handshake still uses."""
    own = authority.server_identity(names)
    return grpc.ssl_server_credentials(
        [(own.key_pem, own.certificate_pem)], root_certificates=authority.ca_pem, require_client_auth=mutual
    )


def _bind(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials) -> str:
    try:
        port = server.add_secure_port(address, credentials)
    except RuntimeError as e:
        raise Unavailable(f"{address} cannot be bound: {e}") from e
    return f"{address.rpartition(':')[0]}:{port}"


async def start(
    values: Values, transactions: Transactions, store: Store, keys: KeySource, authority: Authority
) -> Servers:
    """Bind both endpoints and serve. Raises: Unavailable when an address is taken."""
    hosts = {a.rpartition(":")[0] for a in (values.gateway_address, values.enrol_address)}
    names = tuple(sorted({"localhost", "127.0.0.1", *(hosts - {"0.0.0.0", "[::]"})}))  # noqa: S104 - left out
    callers = Callers(transactions)
    polls, uploads = Polls(callers.still_count), Polls(callers.still_count, _UPLOADS)
    temporal = grpc.aio.insecure_channel(values.temporal_address, options=CHANNEL_OPTIONS)
    refusals = Refusals(transactions)
    relay = Relay(temporal, values.temporal_namespace, TaskTokens(keys), callers, polls, refusals)
    gateway, enrol = grpc.aio.server(handlers=[relay], options=_OPTIONS), grpc.aio.server(options=_OPTIONS)
    places = Places(
        gateway=_bind(gateway, values.gateway_address, _credentials(authority, names, mutual=True)),
        enrol=_bind(enrol, values.enrol_address, _credentials(authority, names, mutual=False)),
        namespace=values.temporal_namespace,
    )
    register: Callable[..., None] = add_AgentGatewayServicer_to_server  # generated code has no types
    register(Gateway(transactions, store, values.mirrors, authority, places, callers, refusals, uploads), gateway)
    register(EnrolmentDoor(transactions, keys, authority, places), enrol)
    await gateway.start()
    await enrol.start()
    watch = asyncio.ensure_future(asyncio.gather(polls.watch(), uploads.watch()))
    return Servers(gateway, enrol, places, polls, temporal, uploads, watch)


async def serve_until(
    stop: asyncio.Future[Any], renew_after: timedelta, start_one: Callable[[], Awaitable[Servers]]
) -> None:
    """Serve until `stop` is done; every `renew_after` others take the ports over, with a new certificate."""
    servers = await start_one()
    _log.info("gateway.started", gateway=servers.places.gateway, enrol=servers.places.enrol)
    draining: set[asyncio.Task[None]] = set()
    while not (await asyncio.wait([stop], timeout=renew_after.total_seconds()))[0]:
        older = asyncio.create_task(servers.stop(_DRAIN_S))
        draining.add(older)
        older.add_done_callback(draining.discard)
        servers = await _taken_over(start_one)
        _log.info("gateway.certificate_renewed")
    await asyncio.gather(servers.stop(), *(_cut(task) for task in draining))


async def _taken_over(start_one: Callable[[], Awaitable[Servers]]) -> Servers:
    """The older servers give their ports back in a moment. Raises: Unavailable when they do not."""
    for _ in range(_TRIES):
        try:
            return await start_one()
        except Unavailable:
            await asyncio.sleep(_TRY_S)
    return await start_one()


async def _cut(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
