"""What a push looks up is found by index: what Postgres touches for it does not grow with the stacks there are."""

import json
from collections.abc import Mapping
from typing import Any, cast

import pytest
from sqlalchemy import text
from sqlalchemy.sql.elements import TextClause

from stackly.db import Session
from stackly.stacks import refs_store, registry_store
from tests.engine.rows import Rows

SIZES = (1_000, 10_000, 100_000)
MAIN = "refs/heads/main"
FLAT = 1.5

# Postgres' own pages: a count, the same on a busy machine as on an idle one.
_MAKE = """
INSERT INTO stack_codes (id, account, repo, ref, path, name, tree, commit, kind, config, errors, status)
SELECT 'n' || n, :account, :repo, :ref, 'stacks/s' || n, 's' || n, md5(n::text), md5((n / 50)::text), 'plain',
       '{"name": "s", "trigger": {"branches": [], "paths": []}}', '[]', 'active'
FROM generate_series(CAST(:first AS int), CAST(:last AS int)) AS n
"""


class Explained:
    """A session that has each statement explained as it is carried out. Shape: `buffers` by its first words."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.buffers: dict[str, int] = {}

    async def execute(self, statement: TextClause, given: Mapping[str, Any]) -> Any:
        told = text(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement.text}")
        for _ in range(2):  # the second finds catalogs read and hint bits set
            plan = (await self._session.execute(told, given)).scalar_one()
        root = (json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]
        self.buffers[statement.text[:90]] = root["Shared Hit Blocks"] + root["Shared Read Blocks"]
        return await self._session.execute(statement, given)


async def _looked_up(rows: Rows, last: int) -> dict[str, int]:
    """As a sync asks for a push that changed three stacks, one of them new."""
    paths = [f"stacks/s{last // 2}", f"stacks/s{last}", "stacks/new"]
    async with rows.transactions() as session:
        explained = Explained(session)
        asked = cast("Session", explained)
        assert not await refs_store.has_marks(asked, rows.repo_id, MAIN)
        assert len(await registry_store.places(asked, rows.repo_id, MAIN, paths)) == 2
        live = await registry_store.codes_at(asked, rows.repo_id, MAIN, paths)
        assert len(live) == 2
        assert not await registry_store.loose_at(asked, rows.repo_id, MAIN, paths, leaving=[])
        return explained.buffers


@pytest.mark.timeout(120)
async def test_what_a_push_looks_up_touches_as_much_of_100000_stacks_as_of_1000(rows: Rows) -> None:
    touched = await buffers(rows)
    assert touched[-1] <= FLAT * touched[0], touched


async def buffers(rows: Rows) -> list[int]:
    """What one push's questions touch beside that many stacks, all of them in one ref of one repository.

    Nothing but the paths tells them apart, which is the hardest case for an index.
    """
    before, found = 0, []
    for size in SIZES:
        given = {"account": rows.account, "repo": rows.repo_id, "ref": MAIN, "first": before + 1, "last": size}
        await rows.execute(_MAKE, **given)
        await rows.execute("ANALYZE stack_codes")
        found.append(sum((await _looked_up(rows, size)).values()))
        before = size
    return found
