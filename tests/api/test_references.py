"""What callers call a stack, run, repository or obligation by: one thing is meant, or the request is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

if TYPE_CHECKING:
    import httpx

    from stackly import db
    from tests.api.conftest import World

# Shape: id, repository, ref, path, name, status.
STACKS = [
    ("aa-one", "r1", "main", "orders", "orders", "active"),
    ("aa-two", "r2", "main", "orders", "orders", "active"),
    ("ab-side", "r2", "feature/x", "orders", "orders", "active"),
    ("ac-bad", "r1", "main", "bad", "bills", "rejected"),
    ("ad-gone", "r1", "main", "was", "bills", "deregistered"),
    ("ae-root", "r2", "main", "", "root", "active"),
    ("af-gone", "r2", "main", "old", "lost", "deregistered"),
]
RUNS = [
    ("b-first", "aa-one", None),
    ("b-second", "aa-two", None),
    ("b-third", "aa-two", None),
    ("b-child", "ae-root", "b-first"),
]
# Shape: id, run, code, test, status.
OBLIGATIONS = [
    ("o-one", "b-first", "aa-one", "tpcb", "open"),
    ("o-two", "b-second", "aa-two", "tpcb", "open"),
    ("o-twin", "b-second", "aa-two", "tpcc", "open"),
    ("o-met", "b-third", "aa-two", "tpcb", "met"),
]


@pytest.fixture
async def named(world: World, transactions: db.Transactions) -> None:
    """Two repositories with stacks of the same names, and their runs."""
    async with transactions() as session:
        for n, (repo, name) in enumerate([("r1", "acme/shop"), ("r2", "other/shop")]):
            await session.execute(
                text(
                    "INSERT INTO repos (id, account, github_id, full_name, clone_url, default_branch)"
                    " VALUES (:r, :a, :n, :name, 'https://hub.test/x.git', 'main')"
                ),
                {"r": repo, "a": world.account.id, "n": n, "name": name},
            )
        for id_, repo, ref, path, name, status in STACKS:
            await session.execute(
                text(
                    "INSERT INTO stack_codes (id, account, repo, ref, path, name, tree, commit, kind, config, status)"
                    " VALUES (:id, :a, :repo, :ref, :path, :name, 't', 'abc', 'plain', '{}', :status)"
                ),
                {
                    "id": id_,
                    "a": world.account.id,
                    "repo": repo,
                    "ref": f"refs/heads/{ref}",
                    "path": path,
                    "name": name,
                    "status": status,
                },
            )
            await session.execute(
                text("INSERT INTO stack_states (id, account, code, name, key) VALUES (:s, :a, :c, 'default', :s)"),
                {"s": f"s-{id_}", "a": world.account.id, "c": id_},
            )
        for n, (run, code, parent) in enumerate(RUNS):
            await session.execute(
                text(
                    "INSERT INTO operations (id, account, code, state, kind, cause, generation, seq, priority, status,"
                    " branch, commit, trigger, spec, parent, created_at) VALUES (:r, :a, :c, :s, 'deploy', :cause,"
                    " 1, CAST(:n AS int), 1, 'succeeded', 'main', 'abc', '{}', '{}', :p,"
                    " clock_timestamp() + CAST(:n AS int) * interval '1 s')"
                ),
                {
                    "r": run,
                    "a": world.account.id,
                    "c": code,
                    "s": f"s-{code}",
                    "cause": run,
                    "p": parent,
                    "n": n + 1,
                },
            )
        for owed, run, code, test, status in OBLIGATIONS:
            told = {"o": owed, "r": run, "c": code, "t": test, "status": status, "a": world.account.id}
            await session.execute(
                text(
                    "INSERT INTO stack_states (id, account, code, name, key, test, parent_operation, status)"
                    " VALUES ('s-' || :o, :a, :c, :r || '/' || :t, 's-' || :o, :t, :r, 'active')"
                ),
                told,
            )
            await session.execute(
                text(
                    "INSERT INTO obligations (id, account, state, run, kit, due_at, status)"
                    " VALUES (:o, :a, 's-' || :o, :r, '{}', clock_timestamp(), :status)"
                ),
                told,
            )


async def means(api: httpx.AsyncClient, noun: str, reference: str, **more: str) -> Any:
    """Shape: the id, or the candidates' ids, or the status."""
    answer = await api.get(f"/api/v1/resolve/{noun}", params={"reference": reference, **more})
    if answer.status_code == 422:
        assert answer.json()["kind"] == "invalid"
        return {c["id"] for c in answer.json()["candidates"]}
    return answer.json()["id"] if answer.status_code == 200 else answer.status_code


@pytest.mark.parametrize(
    ("reference", "meant"),
    [
        ("aa-one", "aa-one"),
        ("ac", "ac-bad"),
        ("aa", {"aa-one", "aa-two"}),
        ("orders", {"aa-one", "aa-two", "ab-side"}),
        ("acme/shop:orders", "aa-one"),
        ("acme/shop:orders@main", "aa-one"),
        ("acme/shop:orders@refs/heads/main", "aa-one"),
        ("other/shop:orders", {"aa-two", "ab-side"}),
        ("other/shop:orders@feature/x", "ab-side"),
        ("other/shop:.@main", "ae-root"),
        ("other/shop:@main", "ae-root"),
        ("acme/shop:orders@feature/x", 404),
        ("bills", "ac-bad"),  # what is deregistered is meant where nothing else is
        ("ad-gone", "ad-gone"),
        ("lost", "af-gone"),
        ("a%", 404),
        ("_______", 404),
    ],
)
async def test_a_stack(api: httpx.AsyncClient, named: None, reference: str, meant: Any) -> None:
    assert await means(api, "stack", reference) == meant


async def test_a_branch_tells_stacks_of_a_name_apart(api: httpx.AsyncClient, named: None) -> None:
    assert await means(api, "stack", "orders", ref="feature/x") == "ab-side"
    assert await means(api, "stack", "orders", ref="main") == {"aa-one", "aa-two"}


@pytest.mark.parametrize(
    ("reference", "meant"),
    [
        ("b-first", "b-first"),
        ("b-s", "b-second"),
        ("b-", {"b-first", "b-second", "b-third", "b-child"}),
        ("latest", "b-third"),
        ("acme/shop:orders", "b-first"),
        ("other/shop:orders@main", {"b-second", "b-third"}),
        ("orders", {"aa-one", "aa-two", "ab-side"}),
        ("root", 404),  # it has no run of its own
        ("nothing", 404),
    ],
)
async def test_a_run(api: httpx.AsyncClient, named: None, reference: str, meant: Any) -> None:
    assert await means(api, "run", reference) == meant


@pytest.mark.parametrize(
    ("reference", "meant"),
    [("r1", "r1"), ("r", {"r1", "r2"}), ("acme/shop", "r1"), ("shop", {"r1", "r2"}), ("acme", 404)],
)
async def test_a_repository(api: httpx.AsyncClient, named: None, reference: str, meant: Any) -> None:
    assert await means(api, "repo", reference) == meant


@pytest.mark.parametrize(
    ("reference", "meant"),
    [
        ("o-one", "o-one"),
        ("o-m", "o-met"),
        ("o-tw", {"o-two", "o-twin"}),
        ("o-", {"o-one", "o-two", "o-twin", "o-met"}),
        ("b-first", 404),
        ("orders", 404),
        ("%", 404),
    ],
)
async def test_an_obligation(api: httpx.AsyncClient, named: None, reference: str, meant: Any) -> None:
    assert await means(api, "obligation", reference) == meant


async def test_an_obligation_is_told_by_its_test(api: httpx.AsyncClient, named: None) -> None:
    """Those of one run have one stack: the test alone tells them apart."""
    meant = (await api.get("/api/v1/resolve/obligation", params={"reference": "o-o"})).json()
    where = {"repository": "acme/shop", "path": "orders", "ref": "refs/heads/main", "name": "orders"}
    assert meant == {"kind": "obligation", "id": "o-one", "status": "open", "test": "tpcb", **where}
    refused = (await api.get("/api/v1/resolve/obligation", params={"reference": "o-tw"})).json()
    assert {c["test"] for c in refused["candidates"]} == {"tpcb", "tpcc"}
    assert "o-twin  other/shop:orders@main  test tpcc  open" in refused["detail"]


async def test_nobody_else_s_obligation_is_meant(
    api: httpx.AsyncClient, transactions: db.Transactions, named: None
) -> None:
    async with transactions() as session:
        await session.execute(text("UPDATE obligations SET account = 'another' WHERE id = 'o-one'"))
    assert await means(api, "obligation", "o-o") == 404
    for answer in (
        await api.get("/api/v1/obligations/o-one"),
        await api.post("/api/v1/obligations/o-one/waive", json={"reason": "r"}),
    ):
        assert answer.status_code == 404
        assert "stackly obligation list" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/runs?stack=nothing", "/stacks?repo=nothing"])
async def test_a_list_of_what_nothing_bears_is_empty(api: httpx.AsyncClient, named: None, path: str) -> None:
    assert (await api.get(f"/api/v1{path}")).json()["items"] == []


async def test_a_refusal_lists_what_was_meant_with_where_it_is(api: httpx.AsyncClient, named: None) -> None:
    refused = (await api.get("/api/v1/resolve/stack", params={"reference": "orders"})).json()
    where = {"repository": "other/shop", "path": "orders", "ref": "refs/heads/feature/x", "status": "active"}
    assert {"id": "ab-side", **where} in refused["candidates"]
    assert "ab-side  other/shop:orders@feature/x  active" in refused["detail"]


STACK_VERBS: list[tuple[str, str, dict[str, Any]]] = [
    ("GET", "/stacks/orders", {}),
    ("GET", "/stacks/orders/history", {}),
    ("POST", "/stacks/orders/destroy", {}),
    ("POST", "/stacks/orders/associate", {"target": "acme/shop:orders"}),
    ("POST", "/stacks/aa-one/associate", {"target": "orders"}),
    ("POST", "/stacks/orders/keep", {}),
    ("POST", "/stacks/orders/waive", {"reason": "r"}),
    ("POST", "/runs", {"stack": "orders"}),
    ("GET", "/runs?stack=orders", {}),
    ("GET", "/explain/stack/orders", {}),
    ("GET", "/stacks?repo=shop", {}),
    ("GET", "/repos/shop", {}),
    ("GET", "/repos/shop/deliveries", {}),
    ("POST", "/repos/shop/sync", {}),
    ("POST", "/repos/shop/rotate", {}),
    ("POST", "/repos/shop/redeliver", {"guid": "g"}),
    ("GET", "/runs/b-", {}),
    ("GET", "/runs/b-/logs", {}),
    ("GET", "/runs/b-/stream", {}),
    ("GET", "/runs/b-/tests/t/series", {}),
    ("POST", "/runs/b-/cancel", {}),
    ("POST", "/runs/b-/rerun", {}),
    ("GET", "/approvals/b-", {}),
    ("POST", "/approvals/b-/approve", {"digest": "d"}),
    ("POST", "/approvals/b-/deny", {"reason": "r"}),
    ("GET", "/explain/run/b-", {}),
    ("GET", "/obligations/o-", {}),
    ("POST", "/obligations/o-tw/waive", {"reason": "r"}),
]


@pytest.mark.parametrize(("method", "path", "body"), STACK_VERBS)
async def test_no_route_chooses(
    api: httpx.AsyncClient, transactions: db.Transactions, named: None, method: str, path: str, body: dict[str, Any]
) -> None:
    answer = await api.request(method, f"/api/v1{path}", json=body if method == "POST" else None)
    assert answer.status_code == 422, answer.text
    assert len(answer.json()["candidates"]) > 1
    async with transactions() as session:
        changed = await session.execute(text("SELECT count(*) FROM events WHERE subject NOT LIKE 'account/%'"))
        runs = await session.execute(text("SELECT count(*) FROM operations"))
        assert (changed.scalar_one(), runs.scalar_one()) == (0, len(RUNS))
