"""A world per test: what it holds is described in world.py."""

from pathlib import Path

import pytest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from stackly.db import Transactions
from stackly.secrets import Keyring
from stackly.temporal.codec import AccountKeys, EncryptedPayloads
from stackly.temporal.sealed import data_converter
from tests.engine.rows import Rows, build_rows
from tests.engine.syncing import Syncing
from tests.engine.syncing import build as syncing_build
from tests.engine.world import World, build


@pytest.fixture
async def client(temporal: WorkflowEnvironment, tmp_path: Path) -> Client:
    """A client as every component has it: encrypted, real time."""
    plain = temporal.client
    codec = EncryptedPayloads(AccountKeys(Keyring(tmp_path / "keyring.json"), "default"))
    return await Client.connect(
        plain.service_client.config.target_host, namespace=plain.namespace, data_converter=data_converter(codec)
    )


@pytest.fixture
async def world(transactions: Transactions, client: Client) -> World:
    return await build(transactions, client)


@pytest.fixture
async def rows(transactions: Transactions) -> Rows:
    """A world of rows only; Temporal is heard, not there."""
    return await build_rows(transactions)


@pytest.fixture
async def syncing(transactions: Transactions, tmp_path: Path) -> Syncing:
    """A real repository and its registry, without Temporal."""
    return await syncing_build(transactions, tmp_path)
