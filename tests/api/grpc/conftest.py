"""A control plane's doors for agents, on real parts."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from agent import gateway as client
from agent.gateway import Gateway, Identity
from stackly.agents import service as agents
from stackly.agents.authority import Authority
from stackly.api.grpc import server
from stackly.db import Transactions
from stackly.secrets import Keyring
from stackly.settings import S3
from stackly.storage import Store
from tests.api.grpc.rows import World, make_world


@dataclass(frozen=True, slots=True)
class Told:
    gateway_address: str = "127.0.0.1:0"
    enrol_address: str = "127.0.0.1:0"
    temporal_address: str = "127.0.0.1:1"
    temporal_namespace: str = "default"
    mirrors: Path = Path()


@dataclass(frozen=True, slots=True)
class Doors:
    servers: server.Servers
    authority: Authority
    keys: Keyring
    store: Store
    transactions: Transactions

    async def enrol(self, token: str) -> Identity:
        return await client.enrol(
            self.servers.places.enrol, self.authority.ca_pem, token, version="1", capabilities={"targets": ["local"]}
        )

    async def edge(self, world: World, machine: str = "db", test: str | None = None) -> Identity:
        async with self.transactions() as session:
            issued = await agents.issue_enrolment(
                session, world.account, run=world.run, test=test or world.test, machine=machine
            )
        return await self.enrol(issued.token)


Connect = Callable[[Identity], Awaitable[Gateway]]


@pytest.fixture
def store(s3: S3) -> Store:
    return Store(s3.endpoint, s3.bucket, s3.access_key, s3.secret_key.get_secret_value(), region=s3.region)


@pytest.fixture
async def doors(transactions: Transactions, store: Store, tmp_path: Path) -> AsyncIterator[Doors]:
    authority = Authority.open(tmp_path / "ca")
    keys = Keyring(tmp_path / "keyring.json")
    servers = await server.start(Told(mirrors=tmp_path / "mirrors"), transactions, store, keys, authority)
    yield Doors(servers, authority, keys, store, transactions)
    await servers.stop(0)


@pytest.fixture
async def world(transactions: Transactions) -> World:
    return await make_world(transactions)


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    opened: list[Gateway] = []

    async def make(identity: Identity) -> Gateway:
        opened.append(Gateway(identity))
        return opened[-1]

    yield make
    for gateway in opened:
        await gateway.close()


@pytest.fixture
async def relayed(
    transactions: Transactions, store: Store, temporal: WorkflowEnvironment, tmp_path: Path
) -> AsyncIterator[Doors]:
    """The endpoints, with a real Temporal behind them."""
    authority, keys = Authority.open(tmp_path / "ca"), Keyring(tmp_path / "keyring.json")
    told = Told(temporal_address=temporal.client.service_client.config.target_host)
    servers = await server.start(told, transactions, store, keys, authority)
    yield Doors(servers, authority, keys, store, transactions)
    await servers.stop(0)


@pytest.fixture
async def edge(relayed: Doors, world: World) -> Identity:
    return await relayed.edge(world, "db")


@pytest.fixture
async def direct(temporal: WorkflowEnvironment) -> AsyncIterator[Client]:
    """As the control plane asks Temporal, on a clock that skips nothing."""
    with temporal.with_time_skipping_disabled():
        yield await Client.connect(temporal.client.service_client.config.target_host)
