"""An account to have agents in."""

import pytest

from stackly.accounts import store
from stackly.db import Transactions


@pytest.fixture
async def account(transactions: Transactions) -> str:
    async with transactions() as session:
        return (await store.upsert_account(session, "acme")).id
