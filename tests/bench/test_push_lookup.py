"""The figures of tests/stacks/test_push_lookup.py, which asserts them every day."""

import pytest

from stackly.db import Transactions
from tests.bench.recording import record
from tests.engine.rows import build_rows
from tests.stacks.test_push_lookup import SIZES, buffers

pytestmark = [pytest.mark.bench, pytest.mark.timeout(120)]


async def test_buffers_of_the_push_lookup(transactions: Transactions) -> None:
    touched = await buffers(await build_rows(transactions))
    print(f"\nbuffers of the push lookup: {dict(zip(SIZES, touched, strict=True))}")  # noqa: T201 - a bench prints
    record(
        push_lookup_buffers_of_1000=touched[0],
        push_lookup_buffers_of_100000=touched[-1],
        push_lookup_buffers_100000_vs_1000=round(touched[-1] / touched[0], 3),
    )
