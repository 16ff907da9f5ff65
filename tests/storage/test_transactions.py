"""What a busy Postgres means to who asked: another try, never a crash."""

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from stackly import db
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


@pytest.mark.parametrize("state", ["53000", "53100", "53200", "53300", "53400", "58030", "57P01", "08006"])
async def test_what_the_server_runs_out_of_is_worth_another_try(transactions: Transactions, state: str) -> None:
    with pytest.raises(Unavailable):
        await _say(transactions, f"DO $$ BEGIN RAISE EXCEPTION 'short' USING ERRCODE = '{state}'; END $$")


async def test_no_connection_left_is_worth_another_try(transactions: Transactions, database_url: str) -> None:
    """The refusal comes while connecting, where the driver's own error is not wrapped."""
    await _say(transactions, "DROP ROLE IF EXISTS narrow", "CREATE ROLE narrow LOGIN PASSWORD 'x' CONNECTION LIMIT 1")
    url = make_url(database_url).set(username="narrow", password="x").render_as_string(hide_password=False)
    one, other = db.engine(url, size=1), db.engine(url, size=1)
    try:
        async with db.transactions(one)() as held:
            await db.now(held)
            with pytest.raises(Unavailable, match="no connection left"):
                async with db.transactions(other)() as session:
                    await db.now(session)
    finally:
        await one.dispose()
        await other.dispose()


async def test_a_wrong_statement_is_not_retried(transactions: Transactions) -> None:
    with pytest.raises(DBAPIError, match="no_such_table"):
        await _say(transactions, "SELECT 1 FROM no_such_table")
