"""Texts that nothing keeps are refused at the API's door, by their place, and never by a database's words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from stackly import db
from stackly.db import TextRefused

if TYPE_CHECKING:
    from tests.api.conftest import World

BAD = [b'"a\\u0000b"', b'"\\ud800"', b'"x\\udfff"', b'["ok", "\\u0000"]', b'{"\\u0000": 1}']


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/api/v1/repos", "url"),
        ("/api/v1/repos/acme/shop/redeliver", "guid"),
        ("/api/v1/runs", "stack"),
        ("/api/v1/runs/o1/cancel", "reason"),
    ],
)
async def test_a_body_with_such_a_text_is_refused_at_its_place(
    world: World, path: str, field: str, value: bytes
) -> None:
    body = b'{"' + field.encode() + b'": ' + value + b"}"
    async with world.client() as client:
        answer = await client.post(path, content=body, headers={"content-type": "application/json"})
    told = answer.json()
    assert answer.status_code == 422, answer.text
    assert told["errors"][0]["pointer"].startswith(f"#/{field}")
    assert "sqlalchemy" not in answer.text.lower()
    assert "asyncpg" not in answer.text.lower()


@pytest.mark.parametrize("given", ["%00", "a%00b"])
async def test_a_nul_in_an_address_is_refused(world: World, given: str) -> None:
    async with world.client() as client:
        for path in (f"/api/v1/stacks/{given}", f"/api/v1/stacks?repo={given}", f"/api/v1/runs?status={given}"):
            answer = await client.get(path)
            assert answer.status_code == 422, path
            assert "NUL" in answer.json()["detail"]


@pytest.mark.parametrize("given", ["%ff", "%ed%a0%80", "%C2%85", "%E2%80%A8"])
async def test_any_other_address_is_answered(world: World, given: str) -> None:
    async with world.client() as client:
        for path in (f"/api/v1/stacks/{given}", f"/api/v1/stacks?repo={given}"):
            assert (await client.get(path)).status_code in {200, 404}, path


@pytest.mark.parametrize("value", ["a\0b", "\ud800"])
@pytest.mark.parametrize("sql", ["SELECT CAST(:v AS text)", "SELECT CAST(:v AS jsonb)"])
async def test_what_gets_as_far_as_the_database_is_refused_in_our_words(
    database_url: str, value: str, sql: str
) -> None:
    import json

    engine = db.engine(database_url, size=1)
    given = json.dumps(value) if "jsonb" in sql else value
    with pytest.raises(TextRefused, match=r"U\+0000"):
        async with db.transactions(engine)() as session:
            await session.execute(text(sql), {"v": given})
    await engine.dispose()
