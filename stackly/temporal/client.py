"""The one way to a Temporal client: with the codec, with our timings, closed without a crash."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from temporalio.client import Client
from temporalio.service import RPCError

from stackly.secrets import KeySource
from stackly.temporal.codec import AccountKeys, EncryptedPayloads
from stackly.temporal.sealed import data_converter

# A client that connects and ends at once aborts the process now and then: sdk-python issue 300. Half a breath helps.
_SETTLE_S = 0.3


async def connect(address: str, namespace: str, keys: KeySource, account: str) -> Client:
    """Payloads are encrypted with the account's key from the first one."""
    codec = EncryptedPayloads(AccountKeys(keys, account))
    return await Client.connect(address, namespace=namespace, data_converter=data_converter(codec))


async def connect_patiently(address: str, namespace: str, keys: KeySource, account: str) -> Client:
    """Tries until the server answers: components start side by side."""
    while True:
        try:
            return await connect(address, namespace, keys, account)
        except (RPCError, RuntimeError, OSError):
            await asyncio.sleep(_SETTLE_S)


@asynccontextmanager
async def client(address: str, namespace: str, keys: KeySource, account: str) -> AsyncIterator[Client]:
    try:
        yield await connect_patiently(address, namespace, keys, account)
    finally:
        await asyncio.sleep(_SETTLE_S)
