"""Every read, the run with every field that is promised, votes, keys of idempotency, roles: over a seeded registry."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from unittest import mock

import httpx
import pytest
from sqlalchemy import text

from stackly import db
from stackly.accounts import service as accounts
from stackly.api import stream
from stackly.api.openapi import openapi_text
from stackly.events import troubles_store

if TYPE_CHECKING:
    from tests.api.conftest import FakeGitHub, World

READS = sorted(
    path
    for path, methods in json.loads(openapi_text())["paths"].items()
    if "get" in methods and path != "/api/v1/version"
)
WRITES = sorted(path for path, methods in json.loads(openapi_text())["paths"].items() if "post" in methods)


@dataclass(frozen=True)
class Seeded:
    """Ids that fill the templates of paths."""

    repo: str = "r1"
    stack: str = "c1"
    run: str = "o1"
    test: str = "tpcb"
    agent: str = "a1"
    event: str = "0"
    decision: str = "d1"
    token: str = "none"
    side: str = "candidate"
    n: str = "1"
    name: str = "raw.log"
    noun: str = "stack"
    obligation: str = "b1"

    def fill(self, path: str) -> str:
        for key, value in vars(self).items():
            path = path.replace("{" + key + "}", value)
        return f"{path}?reference={self.stack}" if path.startswith("/api/v1/resolve/") else path


_ROWS = """
INSERT INTO repos (id, account, github_id, full_name, clone_url, default_branch, hook)
VALUES ('r1', :a, 7, 'acme/shop', 'https://hub.test/acme/shop.git', 'main', '1');
INSERT INTO repo_refs (repo, ref, last_processed, generation) VALUES ('r1', 'refs/heads/main', 'abc', 1);
INSERT INTO stack_codes (id, account, repo, ref, path, name, tree, commit, kind, config, status, errors)
VALUES ('c1', :a, 'r1', 'refs/heads/main', 'shop', 'shop', 't', 'abc', 'ephemeral', '{}', 'active',
        '[{"file": "shop/stackly.hcl", "line": 3, "column": 2, "message": "no such policy"}]');
INSERT INTO stack_states (id, account, code, name, key) VALUES ('s1', :a, 'c1', 'default', 'k1');
INSERT INTO operations (id, account, code, state, kind, cause, generation, seq, priority, status, branch, commit,
  trigger, spec, blocker, waiting_reason, deadline, digest, epoch)
VALUES ('o1', :a, 'c1', 's1', 'benchmark', 'push:refs/heads/main', 1, 1, 2, 'running', 'main', 'abc',
  '{"kind": "push", "actor": "ann"}', '{"budget": {"max_machine_hours": 2.5}, "suite": {"tests": []}}',
  'approval', 'two approvals of dba', clock_timestamp() + interval '1 hour', 'dig-1', 1);
INSERT INTO obligations (id, account, state, run, kit, status, due_at)
VALUES ('b1', :a, 's1', 'o1', '{}', 'met', clock_timestamp());
INSERT INTO tests (operation, test, name, spec, status, verdict)
VALUES ('o1', 'tpcb', 'tpcb', '{"workload": {"driver": "pgbench"}}', 'running', 'pass'),
       ('o1', 'tpcc', 'tpcc', '{}', 'running', NULL);
INSERT INTO phases (operation, test, name, status, started_at, ended_at) VALUES
 ('o1', 'tpcb', 'provision', 'succeeded', '2026-01-01T00:00:05Z', '2026-01-01T00:00:09Z'),
 ('o1', 'tpcc', 'provision', 'failed', '2026-01-01T00:00:03Z', '2026-01-01T00:00:20Z'),
 ('o1', 'tpcb', 'reserve', 'succeeded', '2026-01-01T00:00:01Z', '2026-01-01T00:00:02Z'),
 ('o1', 'tpcb', 'measure', 'running', '2026-01-01T00:00:30Z', NULL);
INSERT INTO results (id, operation, test, side, n, "order", valid, result, artifacts)
VALUES ('x1', 'o1', 'tpcb', 'candidate', 1, 1, true, '{"tps": 100.5, "errors": 0, "driver_version": "18"}',
        '{"raw.log": "blob/1"}');
INSERT INTO log_chunks (run, test, source, n, at, level, text)
SELECT 'o1', 'tpcb', 'a1/measure', n, clock_timestamp(), 'info', 'line ' || n FROM generate_series(1, 5) n;
INSERT INTO series_points (run, test, sample, second, tps)
SELECT 'o1', 'tpcb', 1, n, n * 10 FROM generate_series(1, 3) n;
INSERT INTO agents (id, account, role, name, status) VALUES ('a1', :a, 'site', 'local', 'online');
INSERT INTO approvals (id, account, operation, digest, needed, groups, policy, expires)
VALUES ('p1', :a, 'o1', 'dig-1', 2, '{dba}', 'two_people', clock_timestamp() + interval '1 day');
INSERT INTO decisions (id, account, subject, generation, question, digest, operation, inputs, tzdata, at,
  decision, tree)
VALUES ('d1', :a, 'run/o1', 1, 'admit', 'x', 'o1', '{}', '2026a', clock_timestamp(), 'hold',
        '[{"policy": "two_people", "text": "two approvals of dba"}]');
INSERT INTO events (account, subject, name, n, payload) VALUES (:a, 'run/o1', 'run_created', '', '{"run": "o1"}');
INSERT INTO inventory (target, resource, kind, agent, run, test, last_seen) VALUES
 ('local@a1', 'p1', 'process', 'a1', 'o1', 'tpcb', clock_timestamp()),
 ('local@a1', 'p2', 'process', 'a1', 'gone-run', 'tpcb', clock_timestamp());
"""


@pytest.fixture
async def seeded(world: World, transactions: db.Transactions) -> Seeded:
    async with transactions() as session:
        for statement in _ROWS.split(";\n"):
            if statement.strip():
                given = {"a": world.account.id} if ":a" in statement else {}
                await session.execute(text(statement), given)
        event = (await session.execute(text("SELECT id FROM events"))).scalar_one()
    world.shelf.kept["blob/1"] = b"raw output"
    return Seeded(event=str(event))


@pytest.mark.parametrize("path", [p for p in READS if not p.endswith("/stream")])
async def test_every_read_answers_a_viewer(world: World, seeded: Seeded, path: str) -> None:
    async with world.client("admin" if path.endswith("/tokens") else "viewer") as client:
        answer = await client.get(seeded.fill(path))
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("path", READS)
async def test_nothing_is_read_without_a_key(world: World, seeded: Seeded, path: str) -> None:
    async with world.client(None) as client:
        answer = await client.get(seeded.fill(path))
        wrong = await client.get(seeded.fill(path), headers={"Authorization": "Bearer stk_token_wrong"})
    assert {answer.status_code, wrong.status_code} == {401}
    assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("path", [p for p in WRITES if not p.endswith("/logout")])
async def test_a_viewer_writes_nothing(world: World, seeded: Seeded, path: str) -> None:
    body = {
        "url": "acme/shop",
        "guid": "g",
        "stack": "shop",
        "digest": "dig-1",
        "reason": "because",
        "name": "n",
    }
    async with world.client("viewer") as client:
        answer = await client.post(seeded.fill(path), json=body)
    assert answer.status_code == 403, answer.text
    assert answer.json()["kind"] == "denied"


async def test_a_run_is_shown_as_the_interface_says(api: httpx.AsyncClient, seeded: Seeded) -> None:
    run = (await api.get("/api/v1/runs/o1")).json()
    wanted = "id parent kind status changed stack state branch commit trigger baseline digest created_at started_at"
    wanted += " ended_at waiting phases tests gate cost verdict decision_id url"
    assert set(wanted.split()) <= set(run)
    assert run["waiting"]["blocker"] == "approval"
    assert [p["name"] for p in run["phases"]] == ["reserve", "provision", "measure"]
    provision = run["phases"][1]
    assert provision["status"] == "failed"
    assert (provision["started_at"], provision["ended_at"]) == ("2026-01-01T00:00:03.000Z", "2026-01-01T00:00:20.000Z")
    assert run["phases"][2]["ended_at"] is None
    tpcb, tpcc = run["tests"]
    assert (tpcb["driver"], tpcb["driver_version"], tpcb["result"]["tps"]) == ("pgbench", "18", 100.5)
    assert tpcc["result"] is None
    raw = await api.get(tpcb["result"]["artifacts"][0]["url"])
    assert raw.content == b"raw output"
    series = (await api.get(tpcb["result"]["series_url"])).json()
    assert [p["tps"] for p in series["points"]] == [10, 20, 30]


async def test_a_test_that_is_invalid_links_what_it_left_and_counts_its_thresholds_as_unjudged(
    api: httpx.AsyncClient, seeded: Seeded, transactions: db.Transactions
) -> None:
    async with transactions() as session:
        await session.execute(text("UPDATE results SET valid = false, reason = 'it broke'"))
        await session.execute(
            text("""UPDATE tests SET verdict = 'invalid', spec = '{"thresholds": [{"metric": "tps", "min": 5}]}'""")
        )
    test = (await api.get("/api/v1/runs/o1")).json()["tests"][0]
    assert test["result"] is None
    (artifact,) = test["artifacts"]
    assert artifact["name"] == "raw.log"
    assert (await api.get(artifact["url"])).content == b"raw output"
    assert test["samples"][0]["artifacts"] == [artifact]
    (threshold,) = test["thresholds"]
    assert (threshold["metric"], threshold["min"], threshold["verdict"]) == ("tps", 5, None)


async def test_decisions_of_other_stacks_do_not_stand_on_a_stacks_page(
    world: World, api: httpx.AsyncClient, seeded: Seeded, transactions: db.Transactions
) -> None:
    async with transactions() as session:
        for id_, subject in (("d2", "push/r1/refs/heads/main"), ("d3", "stack/other"), ("d4", "stack/c1")):
            await session.execute(
                text(
                    "INSERT INTO decisions (id, account, subject, generation, question, digest, inputs, tzdata, at,"
                    " decision, tree) VALUES (:id, :a, :s, 1, 'push', :id, '{}', '', clock_timestamp(), 'no_run', '[]')"
                ),
                {"id": id_, "a": world.account.id, "s": subject},
            )
    told = (await api.get("/api/v1/explain/stack/c1")).json()["decisions"]
    assert [d["id"] for d in told] == ["d1", "d4"], "its run's, and its own"
    told = (await api.get("/api/v1/explain/run/o1")).json()["decisions"]
    assert [d["id"] for d in told] == ["d1"]


async def test_a_stack_shows_where_its_files_are_wrong(api: httpx.AsyncClient, seeded: Seeded) -> None:
    stack = (await api.get("/api/v1/stacks/shop")).json()
    assert stack["errors"] == [{"file": "shop/stackly.hcl", "line": 3, "column": 2, "message": "no such policy"}]
    assert stack["states"][0]["last_run"] == "o1"


async def test_inventory_counts_what_nobody_should_hold(
    api: httpx.AsyncClient, seeded: Seeded, transactions: db.Transactions
) -> None:
    seen = (await api.get("/api/v1/inventory")).json()
    assert seen["leftovers"] == 1
    assert {i["id"]: i["class"] for i in seen["items"]} == {"p1": "managed", "p2": "orphan"}
    async with transactions() as session:
        await session.execute(text("UPDATE operations SET status = 'failed'"))
    assert (await api.get("/api/v1/inventory")).json()["leftovers"] == 2


async def test_pages_join_without_gap_or_repeat(api: httpx.AsyncClient, seeded: Seeded) -> None:
    found: list[str] = []
    address = "/api/v1/runs/o1/logs?limit=2"
    cursor = ""
    while True:
        page = (await api.get(f"{address}{cursor}")).json()
        found += [line["text"] for line in page["items"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert found == [f"line {n}" for n in range(1, 6)]


@pytest.mark.parametrize("query", ["cursor=nonsense", "cursor=WyJ4Il0", "limit=0", "limit=x", "cursor=%00", "kind=%00"])
async def test_odd_queries_are_422_problems(api: httpx.AsyncClient, seeded: Seeded, query: str) -> None:
    answer = await api.get(f"/api/v1/runs?{query}")
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


async def test_validation_errors_name_the_field_by_pointer(api: httpx.AsyncClient, seeded: Seeded) -> None:
    answer = await api.post("/api/v1/repos", json={})
    assert answer.json()["errors"][0]["pointer"] == "#/url"
    assert (
        await api.post("/api/v1/repos", content=b"{", headers={"Content-Type": "application/json"})
    ).status_code == 400
    assert (await api.put("/api/v1/repos", json={})).status_code == 405


async def test_a_vote_on_a_moved_digest_is_a_conflict(world: World, seeded: Seeded) -> None:
    async with world.client("approver") as client:
        moved = await client.post("/api/v1/approvals/o1/approve", json={"digest": "other"})
        voted = await client.post("/api/v1/approvals/o1/approve", json={"digest": "dig-1"})
    assert moved.status_code == 409
    assert moved.json()["digest"] == "dig-1"
    assert voted.json()["approved"] == 1


async def test_one_key_does_the_work_once_however_often_it_is_sent(
    api: httpx.AsyncClient, seeded: Seeded, transactions: db.Transactions
) -> None:
    headers = {"Idempotency-Key": "k1"}
    answers = await asyncio.gather(*(api.post("/api/v1/repos/acme%2Fshop/sync", headers=headers) for _ in range(8)))
    assert {a.status_code for a in answers} == {202}
    assert sum("idempotency-replayed" in a.headers for a in answers) == 7
    async with transactions() as session:
        assert (await session.execute(text("SELECT count(*) FROM outbox"))).scalar_one() == 1
    other = await api.post("/api/v1/runs/o1/cancel", headers=headers)
    assert other.status_code == 422
    failed = await api.post("/api/v1/runs/nobody/cancel", headers={"Idempotency-Key": "k2"})
    assert failed.status_code == 404


async def _images(transactions: db.Transactions, run: str) -> object:
    async with transactions() as session:
        found = text("SELECT spec->'images' FROM operations WHERE id = :run")
        return (await session.execute(found, {"run": run})).scalar_one()


async def test_cancel_and_rerun(api: httpx.AsyncClient, seeded: Seeded, transactions: db.Transactions) -> None:
    assert (await api.post("/api/v1/runs/o1/rerun")).status_code == 409
    assert (await api.post("/api/v1/runs/o1/cancel")).json()["cancel_requested"] is True
    async with transactions() as session:
        await session.execute(
            text('UPDATE operations SET status = \'cancelled\', spec = spec || \'{"images": {"pg:1": "pg@sha256:a"}}\'')
        )
    again = (await api.post("/api/v1/runs/o1/rerun")).json()
    assert (again["status"], again["commit"], again["trigger"]["kind"]) == ("queued", "abc", "rerun")
    assert await _images(transactions, again["id"]) == {"pg:1": "pg@sha256:a"}
    dry = await api.post("/api/v1/runs", json={"stack": "shop", "dry_run": True})
    assert dry.status_code == 200
    started = await api.post("/api/v1/runs", json={"stack": "shop"})
    assert (started.status_code, started.json()["kind"]) == (202, "benchmark")
    assert await _images(transactions, started.json()["id"]) is None, "a new start asks what names mean now"
    unsuited = await api.post("/api/v1/runs", json={"stack": "shop", "kind": "deploy"})
    assert unsuited.status_code == 422


async def test_an_unknown_repository_is_refused_with_what_was_asked_and_how_to_make_one(api: httpx.AsyncClient) -> None:
    refused = await api.post("/api/v1/repos", json={"url": "acme/nothing"})
    assert refused.status_code == 404
    assert "https://hub.test was asked for repository acme/nothing" in refused.json()["detail"]
    assert "`stackly repo create acme/nothing`" in refused.json()["detail"]


async def test_adding_a_repository_makes_its_hook_and_rings_a_sync(
    world: World, api: httpx.AsyncClient, transactions: db.Transactions
) -> None:
    github: FakeGitHub = world.github
    github.add("acme/shop", 7)
    made = await api.post("/api/v1/repos", json={"url": "https://hub.test/acme/shop.git"})
    assert made.status_code == 201
    config = github.hooks[0]["config"]
    assert config["url"].startswith("http://stackly.test/webhooks/github/")
    assert made.json()["hook_id"] == "1"
    assert (await api.post("/api/v1/repos", json={"url": "acme/shop"})).status_code == 201
    assert len(github.hooks) == 1
    elsewhere = await api.post("/api/v1/repos", json={"url": "http://169.254.169.254/acme/shop"})
    assert elsewhere.status_code == 422
    github.deliveries = [{"id": 5, "guid": "g-9"}]
    assert (await api.post("/api/v1/repos/acme/shop/redeliver", json={"guid": "g-9"})).status_code == 202
    assert github.attempts == ["5"]
    async with transactions() as session:
        sealed = (await session.execute(text("SELECT secret_sealed FROM hooks"))).scalar_one()
    assert config["secret"].encode() not in bytes(sealed)


def _events(stream: str) -> list[tuple[str, Any]]:
    found = []
    for block in stream.split("\n\n"):
        said = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and not line.startswith(":"))
        if "event" in said:
            found.append((said["event"], {"id": said["id"], **json.loads(said["data"])}))
    return found


async def test_a_stream_tells_everything_and_ends_with_the_run(
    api: httpx.AsyncClient, seeded: Seeded, transactions: db.Transactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = mock.AsyncMock(wraps=stream._look)
    monkeypatch.setattr(stream, "_look", look)
    reading = asyncio.create_task(api.get("/api/v1/runs/o1/stream"))
    while not (look.await_count or reading.done()):  # noqa: ASYNC110 - a call is awaited
        await asyncio.sleep(0.01)
    async with transactions() as session:
        await session.execute(text("UPDATE operations SET status = 'failed', ended_at = clock_timestamp()"))
        await session.execute(text("SELECT pg_notify('run', 'o1')"))
    told = _events((await asyncio.wait_for(reading, 20)).text)
    names = [name for name, _ in told]
    assert {"run", "phase", "progress", "point", "log", "end"} == set(names)
    assert names[-1] == "end"
    assert [said["text"] for name, said in told if name == "log"] == [f"line {n}" for n in range(1, 6)]


async def test_a_revoked_token_ends_the_streams_that_it_opened(world: World, seeded: Seeded) -> None:
    """Nothing rings: the key alone is what ends it."""
    async with world.parts.transactions() as session:
        operator = await accounts.find_person(session, world.account.id, "operator")
        token = await accounts.issue_key(session, operator.id, name="short")
    async with world.client(None) as client:
        reading = asyncio.create_task(
            client.get("/api/v1/runs/o1/stream", headers={"Authorization": f"Bearer {token}"})
        )
        async with world.client() as admin:
            while not any(  # noqa: ASYNC110 - a row is awaited
                t["used_at"] and t["name"] == "short" for t in (await admin.get("/api/v1/tokens")).json()["items"]
            ):
                await asyncio.sleep(0.05)
            await admin.post(f"/api/v1/tokens/{accounts.digest_of(token)[:12]}/revoke")
        told = _events((await asyncio.wait_for(reading, 30)).text)
    assert "end" not in [name for name, _ in told]


async def test_a_stream_goes_on_after_the_last_event_id(
    api: httpx.AsyncClient, seeded: Seeded, transactions: db.Transactions
) -> None:
    async with transactions() as session:
        await session.execute(text("UPDATE operations SET status = 'failed', ended_at = clock_timestamp()"))
        log = (await session.execute(text("SELECT min(id) + 2 FROM log_chunks"))).scalar_one()
    answer = await api.get("/api/v1/runs/o1/stream", headers={"Last-Event-ID": f"{log}.0"})
    told = _events(answer.text)
    assert [said["text"] for name, said in told if name == "log"] == ["line 4", "line 5"]
    bad = await api.get("/api/v1/runs/o1/stream", headers={"Last-Event-ID": "x"})
    assert bad.status_code == 422


async def test_health_readiness_metrics_and_the_page(world: World, seeded: Seeded) -> None:
    async with world.client(None) as client:
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/readyz")).json()["ready"] is True
        async with world.parts.transactions() as session:
            for _ in range(2):
                await troubles_store.note(session, "loop tick", "", "unforeseen")
            await session.execute(
                text("INSERT INTO outbox (kind, key, reason) VALUES ('of a stranger\"', 'x', 'unknown')")
            )
        metrics = (await client.get("/metrics")).text
        assert "stackly_http_requests_total{" in metrics
        assert 'stackly_runs_open{status="running"} 1' in metrics
        assert 'stackly_failures_total{act="loop tick"} 2' in metrics
        assert 'stackly_doorbells_put_off{kind="unknown"} 1' in metrics
        assert (await client.get("/metrics", headers={"X-Forwarded-For": "1.2.3.4"})).status_code == 401
        assert "text/html" in (await client.get("/runs/o1")).headers["content-type"]
        assert (await client.get("/api/v1/nothing")).status_code == 404
