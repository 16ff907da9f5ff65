"""What a busy Postgres means to who asked: another try, never a crash."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from stackly.db import Transactions
from stackly.errors import Unavailable


async def _say(transactions: Transactions, *statements: str) -> None:
    async with transactions() as session:
        for statement in statements:
            await session.execute(text(statement))


@pytest.mark.parametrize("setting", ["lock_timeout", "statement_timeout"])
async def test_waiting_too_long_for_a_lock_is_worth_another_try(transactions: Transactions, setting: str) -> None:
    async with transactions() as holder:
        await holder.execute(text("LOCK TABLE accounts IN ACCESS EXCLUSIVE MODE"))
        with pytest.raises(Unavailable, match="busy"):
            await _say(transactions, f"SET LOCAL {setting} = '50ms'", "SELECT 1 FROM accounts")


async def test_a_wrong_statement_is_not_retried(transactions: Transactions) -> None:
    with pytest.raises(DBAPIError, match="no_such_table"):
        await _say(transactions, "SELECT 1 FROM no_such_table")
