"""A world per test: what it holds is described in world.py."""

import importlib.util
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from stackly.db import Transactions
from stackly.engine.codec import AccountKeys, EncryptedPayloads, data_converter
from stackly.secrets import Keyring

_spec = importlib.util.spec_from_file_location("engine_world", Path(__file__).with_name("world.py"))
assert _spec is not None
assert _spec.loader is not None
world_module = importlib.util.module_from_spec(_spec)
sys.modules["engine_world"] = world_module
_spec.loader.exec_module(world_module)


@pytest.fixture
async def client(temporal: WorkflowEnvironment, tmp_path: Path) -> Client:
    """A client as every component has it: encrypted, real time."""
    plain = temporal.client
    codec = EncryptedPayloads(AccountKeys(Keyring(tmp_path / "keyring.json"), "default"))
    return await Client.connect(
        plain.service_client.config.target_host, namespace=plain.namespace, data_converter=data_converter(codec)
    )


@pytest.fixture
async def world(transactions: Transactions, client: Client) -> "AsyncIterator[world_module.World]":
    yield await world_module.build(transactions, client)
