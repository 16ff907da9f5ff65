"""Why a run is where it is: of a gate as of everything else."""

import json

import httpx
import pytest
from sqlalchemy import text

from stackly.db import Transactions
from tests.api import test_routes

seeded = test_routes.seeded


@pytest.mark.parametrize(
    ("gate", "said"),
    [
        (
            {"decision": "deny", "policy": "regression_gate", "reasons": ["worse in 1 test: tpcb", "not measured: c"]},
            "Its gate regression_gate blocks: worse in 1 test: tpcb; not measured: c.",
        ),
        (
            {"decision": "hold", "policy": "regression_gate", "reasons": ["inconclusive in 1 test: tpcb"]},
            "Its gate regression_gate holds: inconclusive in 1 test: tpcb.",
        ),
        ({"decision": "allow", "policy": "regression_gate", "reasons": []}, ""),
        (None, ""),
    ],
)
async def test_a_run_whose_gate_blocks_is_explained_by_the_gates_reasons(
    api: httpx.AsyncClient, seeded: test_routes.Seeded, transactions: Transactions, gate: object, said: str
) -> None:
    async with transactions() as session:
        await session.execute(
            text("UPDATE operations SET status = 'succeeded', gate = CAST(:gate AS jsonb) WHERE id = 'o1'"),
            {"gate": json.dumps(gate) if gate else None},
        )
    summary = (await api.get("/api/v1/explain/run/o1")).json()["summary"]
    assert ("Its gate" in summary) is bool(said)
    assert summary.endswith(f"dba. {said}" if said else "dba")
