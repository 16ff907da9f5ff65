"""Loose stacks from outside: what is shown, and the three ways that end it. What is refused changes nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from stackly.stacks import lifecycle, store
from stackly.stacks.config import Deregister, StackConfig
from stackly.stacks.model import FoundStack, StackCode, StackState
from tests.engine.standing import register

if TYPE_CHECKING:
    import httpx

    from stackly import db
    from stackly.db import Session
    from tests.api.conftest import World

REF = "refs/heads/main"


class Loose:
    """A deployed stack `db` at `old`, whose code went away, and its successor `db` at `new`."""

    def __init__(self, transactions: db.Transactions, account: str) -> None:
        self.transactions, self.account = transactions, account

    async def code(self, path: str, *, requires: tuple[str, ...] = (), kind: str = "plain", **more: Any) -> StackCode:
        config = StackConfig(name="db", **more).as_json()
        bad = ({"message": "no such policy", "file": f"{path}/stackly.hcl", "line": 1, "column": 1},)
        found = FoundStack(path, "db", "t", "t", kind, config, "code/x", None, "", requires=requires)
        if kind == "rejected":
            found = FoundStack(path, "db", "t", "t", "plain", config, "code/x", None, "", errors=bad, requires=())
        async with self.transactions() as session:
            return await register(session, await store.get_repo(session, "r1"), REF, "c" * 40, found)

    async def run(self, session: Session, code: StackCode, state: StackState, run: str, status: str) -> None:
        spec = {"stack": "db", "path": code.path, "bundle": "code/x", "variables": {"size": 1}, "plan": {"create": 1}}
        trigger = {"kind": "push", "actor": "ann", "subject": "make the database"}
        await session.execute(
            text(
                "INSERT INTO operations (id, account, code, state, kind, cause, generation, seq, priority, status,"
                " branch, commit, trigger, spec, epoch, changed, ended_at, created_at) VALUES (:id, :a, :c, :s,"
                " 'deploy', :id, 1, 1, 1, :status, 'main', :commit, CAST(:trigger AS jsonb), CAST(:spec AS jsonb), 1,"
                " true, clock_timestamp(), clock_timestamp())"
            ),
            {
                "id": run,
                "a": self.account,
                "c": code.id,
                "s": state.id,
                "status": status,
                "commit": code.commit,
                "trigger": json.dumps(trigger),
                "spec": json.dumps(spec),
            },
        )

    async def made(self, **more: Any) -> StackCode:
        code = await self.code("old", **more)
        async with self.transactions() as session:
            state = await store.ensure_state(session, code)
            await self.run(session, code, state, "first", "succeeded")
            await session.execute(
                text("UPDATE stack_states SET status = 'active', serial = 3, lineage = 'l' WHERE id = :s"),
                {"s": state.id},
            )
            await lifecycle.code_gone(session, code, reason="old went away in abc1234")
            return await store.get_code(session, code.id)

    async def successor(self, **more: Any) -> StackCode:
        code = await self.code("new", **more)
        async with self.transactions() as session:
            await self.run(session, code, await store.ensure_state(session, code, "other"), "second", "superseded")
        return code

    async def all(self) -> list[dict[str, Any]]:
        """Everything that an association could change."""
        async with self.transactions() as session:
            found = await session.execute(
                text(
                    "SELECT to_jsonb(s) AS row FROM stack_states s UNION ALL SELECT to_jsonb(c) FROM stack_codes c"
                    " UNION ALL SELECT to_jsonb(o) FROM operations o UNION ALL SELECT to_jsonb(e) FROM events e"
                )
            )
            return sorted((r.row for r in found), key=str)


@pytest.fixture
async def loose(world: World, transactions: db.Transactions) -> Loose:
    async with transactions() as session:
        await session.execute(
            text(
                "INSERT INTO repos (id, account, github_id, full_name, clone_url, default_branch)"
                " VALUES ('r1', :a, 7, 'acme/shop', 'https://hub.test/acme/shop.git', 'main')"
            ),
            {"a": world.account.id},
        )
    return Loose(transactions, world.account.id)


async def test_a_loose_stack_is_listed_with_its_reason(api: httpx.AsyncClient, loose: Loose) -> None:
    code = await loose.made()
    (shown,) = (await api.get("/api/v1/stacks", params={"status": "loose"})).json()["items"]
    assert (shown["id"], shown["status"]) == (code.id, "loose")
    assert shown["reason"].startswith("old went away in abc1234; `stackly stack associate ")
    (state,) = shown["states"]
    assert (state["status"], state["reason"], state["successor"], state["destroy_at"]) == (
        "loose",
        shown["reason"],
        None,
        None,
    )
    assert state["since"]


async def test_associated_it_is_deployed_through_the_queue(api: httpx.AsyncClient, loose: Loose) -> None:
    old, new = await loose.made(), await loose.successor(variables={"region": "eu"}, requires=("region",))
    key = {"Idempotency-Key": "once"}
    body = {"target": new.id, "reason": "it is the same database"}
    first = await api.post(f"/api/v1/stacks/{old.id}/associate", json=body, headers=key)
    again = await api.post(f"/api/v1/stacks/{old.id}/associate", json=body, headers=key)
    assert (first.status_code, again.json()) == (202, first.json()), first.text
    run = first.json()
    assert (run["kind"], run["status"], run["trigger"]["kind"]) == ("deploy", "queued", "associate")
    stack = (await api.get(f"/api/v1/stacks/{new.id}")).json()
    (state,) = [s for s in stack["states"] if s["name"] == "default"]
    assert (state["status"], state["last_run"], state["reason"]) == ("active", run["id"], None)
    assert (await api.get(f"/api/v1/stacks/{old.id}")).json()["status"] == "deregistered"
    async with loose.transactions() as session:
        spec = (await session.execute(text("SELECT spec FROM operations WHERE id = :r"), {"r": run["id"]})).scalar_one()
    assert spec["variables"] == {"region": "eu"}
    assert "plan" not in spec, "what another run planned stays with it"


async def test_a_loose_stack_and_its_successor_are_not_told_apart_by_their_name(
    api: httpx.AsyncClient, loose: Loose
) -> None:
    old, new = await loose.made(), await loose.successor()
    before = await loose.all()
    refused = await api.post("/api/v1/stacks/db/associate", json={"target": "db"})
    assert refused.status_code == 422
    assert {c["id"] for c in refused.json()["candidates"]} == {old.id, new.id}
    assert await loose.all() == before
    by_path = {"target": "acme/shop:new@main"}
    assert (await api.post(f"/api/v1/stacks/{old.id}/associate", json=by_path)).status_code == 202


async def test_every_problem_is_told_at_once_and_nothing_is_changed(api: httpx.AsyncClient, loose: Loose) -> None:
    old, new = await loose.made(), await loose.successor(requires=("region", "zone"))
    async with loose.transactions() as session:
        await session.execute(text("UPDATE stack_states SET serial = NULL WHERE code = :c"), {"c": old.id})
        taken = await store.ensure_state(session, new)
        await session.execute(text("UPDATE stack_states SET status = 'active' WHERE id = :s"), {"s": taken.id})
    before = await loose.all()
    refused = await api.post(f"/api/v1/stacks/{old.id}/associate", json={"target": new.id})
    assert refused.status_code == 409
    assert refused.json()["problems"] == [
        "no version of state default was ever stored, so nothing is known of what it holds",
        'variable "region" of new has no default, and its stackly.hcl gives none for state default',
        'variable "zone" of new has no default, and its stackly.hcl gives none for state default',
        "new has a state default of its own, which holds resources; choose another name",
    ]
    assert await loose.all() == before


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"kind": "ephemeral"}, "new is ephemeral: only a plain stack, one without a suite, has lasting states"),
        ({"kind": "rejected"}, "new is rejected: no such policy"),
    ],
)
async def test_a_target_that_does_not_suit_is_refused(
    api: httpx.AsyncClient, loose: Loose, more: dict[str, Any], why: str
) -> None:
    old, new = await loose.made(), await loose.successor(**more)
    before = await loose.all()
    refused = await api.post(f"/api/v1/stacks/{old.id}/associate", json={"target": new.id})
    assert refused.json()["problems"] == [why]
    assert await loose.all() == before


async def test_only_a_loose_state_is_associated(api: httpx.AsyncClient, loose: Loose) -> None:
    old, new = await loose.made(), await loose.successor()
    async with loose.transactions() as session:
        await lifecycle.code_back(session, await store.get_code(session, old.id))
    refused = await api.post(f"/api/v1/stacks/{old.id}/associate", json={"target": new.id})
    assert refused.json()["problems"] == [
        "state default is active, and only a loose state is associated with other code"
    ]


async def test_a_loose_state_is_destroyed_as_it_was_deployed(api: httpx.AsyncClient, loose: Loose) -> None:
    old = await loose.made()
    run = (await api.post(f"/api/v1/stacks/{old.id}/destroy", json={})).json()
    assert (run["kind"], run["status"]) == ("destroy", "queued")
    (state,) = (await api.get(f"/api/v1/stacks/{old.id}")).json()["states"]
    assert state["status"] == "destroying"


async def test_a_destroy_that_has_not_begun_is_called_off(api: httpx.AsyncClient, loose: Loose) -> None:
    """It was red: the state stayed `destroying` for ever when its queued destroy was cancelled."""
    old = await loose.made()
    run = (await api.post(f"/api/v1/stacks/{old.id}/destroy", json={})).json()
    kept = (await api.post(f"/api/v1/stacks/{old.id}/keep", json={})).json()
    assert kept["states"][0]["status"] == "loose"
    assert kept["states"][0]["reason"].startswith("its destroy was cancelled by admin; `stackly stack associate")
    assert (await api.get(f"/api/v1/runs/{run['id']}")).json()["status"] == "cancelled"


async def test_a_timer_is_called_off_with_one_command(api: httpx.AsyncClient, loose: Loose) -> None:
    old = await loose.made(deregister=Deregister("auto_destroy", 3600))
    (state,) = (await api.get(f"/api/v1/stacks/{old.id}")).json()["states"]
    assert state["destroy_at"]
    kept = (await api.post(f"/api/v1/stacks/{old.id}/keep", json={})).json()
    assert kept["states"][0]["destroy_at"] is None
    assert (await api.post(f"/api/v1/stacks/{old.id}/keep", json={})).status_code == 409
    names = [e["name"] for e in (await api.get("/api/v1/events")).json()["items"]]
    assert {"loose_destroy_scheduled", "loose_destroy_cancelled"} <= set(names)


async def test_a_named_person_waives_with_a_reason(api: httpx.AsyncClient, loose: Loose) -> None:
    old = await loose.made()
    assert (await api.post(f"/api/v1/stacks/{old.id}/waive", json={})).status_code == 422
    waived = (await api.post(f"/api/v1/stacks/{old.id}/waive", json={"reason": "kept by hand"})).json()
    (state,) = waived["states"]
    assert (state["status"], state["waived_by"], state["reason"]) == ("waived", "admin", "kept by hand")
    assert waived["status"] == "deregistered"


async def test_the_history_of_a_state_tells_from_to_who_why_and_how_it_ended(
    api: httpx.AsyncClient, loose: Loose
) -> None:
    """S5, across an association: what the state was before comes with it."""
    old, new = await loose.made(), await loose.successor()
    asked = await api.post(
        f"/api/v1/stacks/{old.id}/associate", json={"target": new.id, "reason": "it is the same database"}
    )
    told = (await api.get(f"/api/v1/stacks/{new.id}/history")).json()["items"]
    mine = [
        {k: h[k] for k in ("id", "from_commit", "to_commit", "actor", "why", "status")}
        for h in told
        if h["state"] == "default"
    ]
    assert mine == [
        {
            "id": asked.json()["id"],
            "from_commit": old.commit,
            "to_commit": new.commit,
            "actor": "admin",
            "why": "it is the same database",
            "status": "queued",
        },
        {
            "id": "first",
            "from_commit": None,
            "to_commit": old.commit,
            "actor": "ann",
            "why": "make the database",
            "status": "succeeded",
        },
    ]


async def test_an_obligation_is_waived_by_name(api: httpx.AsyncClient, loose: Loose) -> None:
    old = await loose.made()
    async with loose.transactions() as session:
        (state,) = await store.states_of(session, old.id)
        await session.execute(
            text(
                "INSERT INTO obligations (id, account, state, run, kit, due_at)"
                " VALUES ('ob1', :a, :s, 'first', '{}', clock_timestamp())"
            ),
            {"a": loose.account, "s": state.id},
        )
    assert (await api.post("/api/v1/obligations/ob1/waive", json={"reason": "gone by hand"})).status_code == 200
    (seen,) = (await api.get("/api/v1/obligations")).json()["items"]
    assert (seen["status"], seen["waived_by"], seen["reason"]) == ("waived", "admin", "gone by hand")
    assert (await api.post("/api/v1/obligations/ob1/waive", json={"reason": "again"})).status_code == 409
    assert (await api.post("/api/v1/obligations/nothing/waive", json={"reason": "x"})).status_code == 404
