"""Rows of a platform, as the engine's tests have them."""

import pytest

from stackly.db import Transactions
from tests.engine.rows import Rows, build_rows


@pytest.fixture
async def rows(transactions: Transactions) -> Rows:
    return await build_rows(transactions)
